"""Names that have several spellings, and names that are longer than what a pattern looks at."""

from __future__ import annotations

from tests.vm.attacks import REFUSED, Row, by

_LONG = "0123456789abcdef" * 4
#: A directory that ignores case: tmpfs, since 6.13. Where there is none the attack says so.
_FOLDED = """
mkdir f && mount -t tmpfs -o casefold,mode=777 none f 2>/dev/null && mkdir -m 777 f/d && chattr +F f/d &&
mkdir f/d/.ssh && echo hidden >f/d/.ssh/a.key && chmod -R a+rX f || true
"""
_OLD = ("5.10", "6.1", "6.12", "6.1-override")


def _folded(what: str, pattern: str, name: str) -> Row:
    attack = f"[ -d f/d/.ssh ] || exit 77; cat f/d/{name} || exit 1"
    return Row(what, ("--deny-path", f"r:HERE/f/{pattern}"), attack, by(REFUSED), setup=_FOLDED, untried=_OLD)


ROWS = (
    _folded("another case of letters beside a star", "**/*.key", ".ssh/A.KEY"),
    _folded("another case of a name below a pattern", "*/.ssh/**", ".SSH/a.key"),
    Row(
        "another case of a plain name that is not there yet",
        ("--deny-path", "w:HERE/f/d/config"),
        "[ -d f/d/.ssh ] || exit 77; echo evil >f/d/CONFIG && cat f/d/config || exit 1",
        by(REFUSED),
        setup=_FOLDED,
        untried=_OLD,
    ),
    Row(
        "what a rule's path leads through is told to ignore case",
        ("--deny-path", "w:HERE/f/e/config"),
        "[ -d f/d/.ssh ] || exit 77; chattr +F f/e && echo evil >f/e/CONFIG && cat f/e/config || exit 1",
        by(REFUSED),
        setup=f"{_FOLDED}mkdir -p f/e && chown 65534 f/e",
        untried=_OLD,
    ),
    Row(
        "a name that is too long to look at",
        ("--deny-path", "r:HERE/long/**/0*.d/**"),
        f"cat long/{_LONG}.d/secret || exit 1",
        by(REFUSED),
        setup=f"mkdir -p long/{_LONG}.d; echo hidden >long/{_LONG}.d/secret; chmod -R a+rX long",
    ),
)
