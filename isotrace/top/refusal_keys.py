"""The keys d, D and u: from the row under the cursor to a question, from its answer to a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from textual.app import App
from textual.screen import Screen

from isotrace.catalog.rings import PREFIX
from isotrace.top import views
from isotrace.top.dialogs import Calls, Listing, Question
from isotrace.top.model import GROUPS, Snapshot
from isotrace.top.refusing import Answer, Proposal, Refusing, Status, Wanted
from isotrace.trace.plan import all_calls


@dataclass
class RefusalKeys:
    """``say`` shows a line in the footer; ``title`` is the table's target in words.

    ``doing`` is what the footer shows while an answer is waited for.
    """

    app: App[None]
    refusing: Refusing
    title: str
    say: Callable[[str], None]
    doing: str = ""
    status: Status = field(default_factory=Status)
    _screen: Screen[object] | None = None

    @property
    def summary(self) -> str:
        """For the head: how many are in force."""
        count = sum(not refusal.ended for refusal in self.status.refusals)
        return f"{count} denied" if count else ""

    def begin(self, tell: Callable[[Answer], object]) -> None:
        """Answers come from now on."""
        self._screen = self.app.screen
        self.refusing.begin(tell)

    def see(self, snapshot: Snapshot) -> None:
        """Who descends from whom by now."""
        self.refusing.view_state.processes = snapshot.processes

    # ---- d --------------------------------------------------------------------------------------------------------

    def refuse(self, snapshot: Snapshot, owner: int | None, slot: int | None) -> None:
        """d on a row that stands for a process, a call, or both. ``snapshot`` is the latest, not one that is paused."""
        if owner is not None and (owner >= GROUPS or owner not in snapshot.processes):
            self.say("it has ended: choose a process that runs")
        elif slot is not None:
            self._explain(snapshot, owner, slot)
        elif owner is not None:
            self._choose(snapshot, owner)
        else:
            self.say("this row is no call: go to the calls (1), a process (2) or the errors (4)")

    def _choose(self, snapshot: Snapshot, owner: int) -> None:
        found = views.calls_of(snapshot, owner)
        if not found:
            self.say("it has made no call yet")
            return

        def chosen(index: int | None) -> None:
            if index is not None:
                self._explain(snapshot, owner, found[index][0])

        calls = [(views.call_name(slot), calls) for slot, calls in found]
        self.app.push_screen(Calls(self._whom(snapshot, owner), calls), chosen)

    def _whom(self, snapshot: Snapshot, owner: int | None) -> str:
        return self.title if owner is None else f"{views.owner_name(snapshot, owner)} and its descendants"

    def _explain(self, snapshot: Snapshot, owner: int | None, slot: int) -> None:
        call = all_calls().get(slot)
        if call is None:
            self.say(f"{views.call_name(slot)} has no name that a rule could have")
            return
        if call.name.startswith(PREFIX):
            self.say(f"{call.name} is no call: who may not set up a ring (io_uring_setup) cannot ask for it")
            return
        self.doing = f"looking how this kernel can deny {call.name} …"
        self.say("")
        self.refusing.explain(Wanted(call.name, owner, self._whom(snapshot, owner)))

    # ---- answers --------------------------------------------------------------------------------------------------

    def proposed(self, proposal: Proposal, elsewhere: bool) -> None:
        """Ask, unless the user is ``elsewhere`` by now: keys meant for that are no answer to this."""
        self.doing = ""
        call = proposal.wanted.call
        if not proposal.possible:
            self.say(proposal.why)
        elif elsewhere or self.app.screen is not self._screen:
            self.say(f"{call} can be denied: press d on it again")
            return
        else:
            self.say("")
        if proposal.lines and not elsewhere and self.app.screen is self._screen:
            self.app.push_screen(Question(proposal), lambda yes: self._answered(proposal, yes))

    def _answered(self, proposal: Proposal, yes: bool | None) -> None:
        if yes:
            self.doing = f"denying {proposal.wanted.call} …"
            self.say("")
            self.refusing.refuse(proposal)

    def told(self, status: Status) -> None:
        """Something has changed."""
        self.status, self.doing = status, status.doing
        if isinstance(self.app.screen, Listing):
            self.app.screen.show(status)
        if status.note:
            self.say(status.note)

    # ---- D, u -----------------------------------------------------------------------------------------------------

    def list(self) -> None:
        """D."""
        if self.status.refusals:
            self.app.push_screen(Listing(self.status, self.refusing.lift))
        else:
            self.say("nothing is denied: d denies the call of a row")

    def lift(self) -> None:
        """u: the only one there is, or one of the list."""
        refusals = self.status.refusals
        if len(refusals) == 1:
            self.doing = f"lifting {refusals[0].wanted.call} …"
            self.say("")
            self.refusing.lift(refusals[0].number)
        else:
            self.list()
