"""Code that runs although a rule on ``x`` forbids it."""

from tests.vm.attacks import REFUSED, Open, Row, by

_CODE = r"""
mkdir x
printf '\270\052\000\000\000\303' >x/code
truncate -s 4096 x/code
chmod 755 x x/code
"""
_ALLOWED = ("--deny-path", "x:/**", "--allow-path", "x:/usr/**", "--allow-path", "x:HERE/usr/**")

ROWS = (
    Row(
        "memory for reading that READ_IMPLIES_EXEC makes executable",
        ("--deny-path", "x:HERE/x/**"),
        ("execution", "implied", "HERE/x/code"),
        by(Open("the protection that was asked for is judged, not the final one")),
        setup=_CODE, quick=True,
    ),
    Row(
        "a file mapped for reading and made executable later",
        ("--deny-path", "x:HERE/x/**"),
        ("execution", "protected_later", "HERE/x/code"),
        by(REFUSED),
        setup=_CODE, quick=True,
    ),
    Row(
        "a program in memory under an allow-list of programs",
        _ALLOWED,
        "usr/execution memfd usr/execution ran",
        by(Open("a file that no path has is on no list")),
        setup="mkdir usr; cp BIN/execution usr/execution; chmod 755 usr usr/execution",
    ),
)  # fmt: skip
