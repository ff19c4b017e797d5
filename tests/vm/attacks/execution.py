"""Code that runs although a rule on ``x`` forbids it."""

from tests.vm.attacks import REFUSED, Announced, Expected, Row, by

_CODE = r"""
mkdir x
printf '\270\052\000\000\000\303' >x/code
truncate -s 4096 x/code
chmod 755 x x/code
"""
_ALLOWED = ("--deny-path", "x:/**", "--allow-path", "x:/usr/**", "--allow-path", "x:HERE/usr/**")


def _code(name: str, attack: str, expected: Expected = REFUSED, setup: str = _CODE) -> Row:
    """On code in a file that may not be executed."""
    return Row(name, ("--deny-path", "x:HERE/x/**"), tuple(attack.split()), by(expected), setup=setup, quick=True)


ROWS = (
    _code("memory for reading that READ_IMPLIES_EXEC makes executable", "execution implied HERE/x/code"),
    _code("a file mapped for reading and made executable later", "execution protected_later HERE/x/code"),
    Row(
        "a program in memory under an allow-list of programs",
        _ALLOWED,
        "usr/execution memfd usr/execution ran",
        by(REFUSED),
        setup="mkdir usr; cp BIN/execution usr/execution; chmod 755 usr usr/execution",
    ),
    _code(
        "pages of a file that are mapped again where reading implies executing",
        "mappings remapped HERE/x/code",
        setup=f"{_CODE}chown 65534 x/code",
    ),
    _code("mprotect to reading, which implies executing", "mappings read_again HERE/x/code"),
    Row(
        "a program that may be executed and not be read",
        ("--deny-path", "r:HERE/programs/**"),
        ("execution", "traced", "HERE/programs/true"),
        by(Announced("a program that may be executed is read by who executes and traces it")),
        setup="mkdir programs; cp /bin/true programs/true; chmod 755 programs",
    ),
    _code(
        "code in memory that no file is behind",
        "mappings no_file",
        Announced("memory that no file is behind is not met"),
    ),
    Row(
        "a file mapped for reading on the overlay that is the root, made executable later",
        ("--deny-path", "x:/srv/isotrace-code/**"),
        ("execution", "protected_later", "/srv/isotrace-code/x/code"),
        by(REFUSED),
        setup=f"cd /srv; rm -rf isotrace-code; mkdir isotrace-code; cd isotrace-code; {_CODE.strip()}; chmod 755 .",
    ),
    *(
        Row(
            f"{what} under an allow-list of programs",
            _ALLOWED,
            f"usr/mappings {attack}",
            by(REFUSED),
            setup="mkdir -p usr; cp BIN/mappings usr/mappings; chmod 755 usr usr/mappings", user=user,
        )
        for what, attack, user in (
            ("a memfd that is mapped", "memfd_mapped", "nobody"),
            ("shared memory that is attached for executing", "attached", "nobody"),
            ("a program on a file system that is mounted nowhere", "detached usr/mappings ran", "root"),
        )
    ),
)  # fmt: skip
