"""Names that differ from run to run, as patterns: process numbers, temporary names, hashes, versions."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from functools import lru_cache

from isotrace.policy.patterns import MAX_COMPONENTS, Component, Pattern

#: Letters that are no word, of some length: followed by {n}.
_RANDOM = r"(?=[A-Za-z0-9_]*[0-9A-Z_])(?=[A-Za-z0-9_]*[A-Za-z])[A-Za-z0-9_]"
_TEMPORARY = r"(/var)?/tmp(/.*)?|/dev/shm(/.*)?"
#: What a name looks like, and in which directories; the two groups stay, and what is between them varies.
_ROWS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(name), re.compile(where, re.DOTALL))
    for name, where in (
        (r"()\d+()", r"/proc|/proc/\w+/task|/dev/pts|/run/user"),
        (r"()[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(.*)", ".*"),  # a UUID
        (r"(.*?)(?<![0-9A-Za-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}((?:\.\w+)*)", ".*"),  # a hash
        (r"()\d{4,}()", ".*"),
        (r"(.*\.)\d{5,}()", ".*"),  # x.pyc.140234
        (r"(tmp\.)[A-Za-z0-9]{6,}()", ".*"),  # mktemp
        (r"(tmp_(?:obj|pack|idx)_)[A-Za-z0-9]{6}()", ".*"),  # git
        (rf"(t){_RANDOM}{{6}}()", r".*/\.git"),
        (rf"(tmp){_RANDOM}{{8}}((?:\.\w+)*)", ".*"),  # Python's tempfile
        (rf"(.*?){_RANDOM}{{8}}(\.tmp)", ".*"),
        (r"(cc)[A-Za-z0-9]{6}((?:\.\w+)*)", _TEMPORARY),  # gcc
        (r"(.*-)[a-z0-9_]{8}()", _TEMPORARY),  # pip-unpack-k3_x9a2f
        (rf"([A-Za-z][\w.]*(?:-[A-Za-z]\w*)*[-_.]){_RANDOM}{{6,12}}((?:\.\w+)*)", _TEMPORARY),
        (rf"(){_RANDOM}{{8}}()", _TEMPORARY),  # Python's tempfile, where it looks for a directory to write in
        (r"(.*[A-Za-z_]-v?)\d+(?:\.\d+)+(?:[a-z]+\d*)?((?:[.-][A-Za-z]\w*)*)", ".*"),  # name-1.2.3.dist-info
    )
)
#: What is said of a star that stands for what a rule cannot name.
UNWRITABLE = "a * stands for characters that no rule can have in it: control characters, bytes that are no UTF-8"
#: Directories whose entries are made by everybody for a moment.
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


def pattern(path: str, made_for_a_moment: Container[str] = ()) -> Pattern:
    """A path with what varies of its names as stars; what no pattern can have in it is a star, too.

    ``made_for_a_moment`` are files that a run made and removed: in a directory for that their names vary.
    """
    parts = [part for part in path.split("/") if part][:MAX_COMPONENTS]
    if os.path.dirname(path) in TEMPORARY and path in made_for_a_moment:
        return Pattern((*exact(os.path.dirname(path)).components, Component(("", ""))))
    return Pattern(tuple(_component(part, "/" + "/".join(parts[:at])) for at, part in enumerate(parts)))


def exact(path: str) -> Pattern:
    """A path as the pattern of itself, but for what no pattern can have in it."""
    return Pattern(tuple(Component(_printable(part)) for part in path.split("/") if part))


@lru_cache(maxsize=65536)
def _component(name: str, directory: str) -> Component:
    for row, where in _ROWS:
        if (match := row.fullmatch(name)) and where.fullmatch(directory):
            return Component((*_printable(match[1]), *_printable(match[2])))
    return Component(_printable(name))


def _printable(name: str) -> tuple[str, ...]:
    """The pieces of a name around what a pattern cannot have."""
    pieces = "".join(letter if letter.isprintable() else "\0" for letter in name)
    return tuple(re.sub("\0+", "\0", pieces).split("\0"))
