"""What fanotify's permission events can truthfully ask about. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from isotrace.enforce import Findings, Guarantees, Note, Unsupported
from isotrace.enforce.mechanisms import NOT_OPEN_YET, lacks
from isotrace.enforce.opens.places import Place, place
from isotrace.policy.model import HELD, PathRule, Rule, asks, is_answer

_MARKED = Note(
    "whoever else opens what is named waits about 0.1 ms",
    "marks what the rules name and, of directories, what is in them, never a mount: whoever else opens that waits "
    "about "
    "0.1 ms for isotrace to look",
)
_ONLY_OPENS = Note(
    "what is open already, or received, goes on being used; pipes, sockets and devices are not asked about",
    "asks when a file or directory is opened or executed: what is already open, or received, goes on being "
    "used; isotrace does not ask about pipes, sockets and devices",
)
_LETTERS = Note(
    "openat2 and io_uring are asked about as reading and writing",
    "the call's registers tell whether an open reads or writes; for openat2 and io_uring this is unknown, so "
    "isotrace asks about both",
)
_MADE = Note(
    "what is denied leaves a file that it has made, empty",
    "an open that makes a file has made it before it is asked about: what is denied leaves it there, empty",
)
_PLACES = Note(
    "a file that takes the place of a named one is met a tenth of a second later; what another file system shows of a "
    "file is another file",
    "a file that takes the place of a named one is covered a tenth of a second later; one that is moved away "
    "stays covered, but not one that was in a named directory; a file as another file system shows it (an "
    "overlay) is another file",
)

_DEEPER = "only what is in {} itself: what is deeper is not asked about"
_ELSEWHERE = (
    "files in {} are covered only there: one that has a hard link elsewhere is not asked about by that name, "
    "nor one that is moved out of it"
)
_WRITES = (
    "of writing only opens: removing, renaming, linking, making directories, links and sockets, truncate, chmod, chown "
    "and "
    "their like are not asked about"
)
_EXECUTES = "of executing only execve: a file whose code is mapped, such as a library, is not asked about"
_ENDS = "when isotrace is killed, what waits is denied, and later opens happen"
_ORPHANED = "denied, and allowed from then on"
_ERROR = "what is denied fails with EPERM, whatever error was asked for"


@dataclass(frozen=True)
class Fanotify:
    """Opens that wait for an answer, of files and directories that are named literally, for whatever runs already."""

    name: str = "fanotify"
    commands_only: bool = False
    cannot_ask: str = ""

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """Rules on paths, by what they name literally."""
        if not isinstance(rule, PathRule):
            return Unsupported("knows files and directories alone")
        if lack := lacks(findings, "fanotify"):
            return lack
        if rule.allow:
            return Guarantees(True, "judged", True, notes=(_MARKED,))
        where = place(rule.pattern)
        if where is None:
            hint = "name each directory: r:/home/me/.ssh/*"
            return Unsupported("a wildcard stands for directories, and only what is named literally is marked", hint)
        notes = (_MARKED, _ONLY_OPENS, _LETTERS, _PLACES, *((_MADE,) if "w" in rule.access else ()))
        found = Guarantees(True, "judged", True, notes=notes, short=_short(rule, where))
        return replace(found, waits="thread", orphaned=_ORPHANED) if asks(rule) else found


def _short(rule: PathRule, where: Place) -> tuple[str, ...]:
    found = {
        _DEEPER.format(where.path): where.deeper,
        _ELSEWHERE.format(where.path): where.children,
        _WRITES: "w" in rule.access,
        _EXECUTES: "x" in rule.access,
        _PLACES: not asks(rule) and not is_answer(rule),
        NOT_OPEN_YET: HELD in rule.access,
        _ENDS: rule.action.kept,
        _ERROR: rule.action.kind in ("errno", "ask") and rule.action.errno != errno.EPERM,
    }
    return tuple(words for words, applies in found.items() if applies)
