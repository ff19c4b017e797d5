"""What a question is about, and so what an answer to it covers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from isotrace.enforce import Question

#: Directories whose content is asked about as one thing, however deep it is.
CONTAINERS = frozenset(
    (
        "node_modules",
        "site-packages",
        "dist-packages",
        "__pycache__",
        ".git",
        ".svn",
        ".cache",
        ".cargo",
        ".rustup",
        ".m2",
    )
)
#: Calls that give a socket an address of its own.
_INWARD = frozenset(("bind", "listen", "accept", "accept4"))


@dataclass(frozen=True)
class Thing:
    """A file, the files in a directory, all below one, an address, or a call by its name, whatever its arguments.

    ``name`` is the path or address, of a call its name; ``access`` the letters of what is asked of a path.
    """

    kind: Literal["file", "files", "tree", "address", "own address", "call"]
    name: str
    access: str = ""

    def covers(self, question: Question) -> bool:
        """Whether a question is about it, and nothing else. One about a file that has no path is covered by nothing."""
        return all(not has_no_path(one) and self._covers(one) for one in parts(question))

    def _covers(self, question: Question) -> bool:
        if self.kind == "call":
            return question.call == self.name and not question.what
        if self.kind in ("address", "own address"):
            return (
                not question.access and question.what == self.name and is_inward(question) == (self.kind != "address")
            )
        if not question.access or not set(question.access) <= set(self.access):
            return False
        if self.kind == "file":
            return question.what == self.name
        below = question.what.removeprefix(self.name.rstrip("/") + "/")
        return below != question.what and (self.kind == "tree" or "/" not in below)


def parts(question: Question) -> tuple[Question, ...]:
    """A question for each path and address that it is about."""
    others = (replace(question, what=what, access=access, more=()) for what, access in question.more)
    return (replace(question, more=()), *others) if question.more else (question,)


def has_no_path(question: Question) -> bool:
    """Whether it is about a file of which only the end of a path is known: others may have the same."""
    return bool(question.access and question.what) and not question.what.startswith("/")


def is_inward(question: Question) -> bool:
    """Whether the address is the socket's own, not its peer's."""
    return question.call in _INWARD


def single(question: Question) -> Thing:
    """What the question alone is about."""
    if question.access:
        return Thing("file", question.what, question.access)
    if question.what:
        return Thing("own address" if is_inward(question) else "address", question.what)
    return Thing("call", question.call)


def shared(question: Question) -> Thing:
    """What it has in common with others that are asked about together with it."""
    if not question.access:
        return single(question)
    parts = question.what.split("/")
    for at, part in enumerate(parts[:-1]):
        if part in CONTAINERS:
            return Thing("tree", "/".join(parts[: at + 1]), question.access)
    if "x" in question.access:
        return single(question)  # a program is a question of its own
    return Thing("files", "/".join(parts[:-1]) or "/", question.access)


#: What equal questions share: those with one key are one question to a person.
Key = tuple[object, ...]


def key(question: Question, program: str) -> Key:
    """``program`` is the file that the process runs. Calls without an object are alike where their registers are."""
    thing = shared(question)
    registers = question.args if thing.kind == "call" else ()
    if has_no_path(question):
        registers = (question.id,)
    return program, question.rule, thing, question.call if thing.kind == "call" else "", registers
