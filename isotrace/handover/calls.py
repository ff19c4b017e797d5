"""What a policy says of every system call, for enforcers that judge by number and registers. Shared by their forms."""

from __future__ import annotations

from dataclasses import dataclass

from isotrace import catalog
from isotrace.catalog import refuse
from isotrace.policy import names
from isotrace.policy.decide import strictness
from isotrace.policy.model import CallRule, Policy

#: Calls whose destination address is in memory, where no register tells whether there is one.
ADDRESS_IN_MEMORY = frozenset(("sendmsg", "sendmmsg"))


@dataclass(frozen=True)
class Judged:
    """The rule that decides about a call without a destination address, and about one with it; None: it is allowed."""

    plain: CallRule | None
    addressed: CallRule | None

    @property
    def conditional(self) -> bool:
        """Whether it depends on the address."""
        return self.plain is not self.addressed


def judged(policy: Policy) -> dict[str, Judged]:
    """Every call of the catalogue that the kernel has code for. What a rule closes io_uring by counts as refused by it."""
    rules = [(at, rule) for at, rule in enumerate(policy.rules) if isinstance(rule, CallRule)]
    turns = sorted(
        ((strictness(rule), closing, at, rule) for at, rule in rules for closing in (False, True)),
        key=lambda turn: turn[:3],
    )
    closed = {at: names.closes(rule.calls) for at, rule in rules}

    def first(call: str, address: bool) -> CallRule | None:
        for _, closing, at, rule in turns:
            if call in (closed[at] if closing else rule.calls) and (closing or address or call not in rule.addressed):
                return rule
        return None

    return {call: Judged(first(call, False), first(call, True)) for call in sorted(catalog.names() - refuse.NO_CODE)}


def by_register(policy: Policy) -> dict[str, Judged]:
    """The same where only registers are seen: what an address in memory decides is decided as if there were one."""
    return {
        call: Judged(one.addressed, one.addressed) if call in ADDRESS_IN_MEMORY else one
        for call, one in judged(policy).items()
    }
