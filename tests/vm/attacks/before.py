"""What the target had before the rules were there."""

from tests.vm.attacks import REFUSED, Announced, Row, by

_FILE = "mkdir secret; echo secret >secret/file; chmod 777 secret; chmod 666 secret/file"
_RULE = ("--deny-path", "HERE/secret/**")
_FREE = Announced("goes on being read and written")


def _row(name: str, expect: object, *attack: str, **more: object) -> Row:
    given = {"rules": _RULE, "setup": _FILE, "ready": True, **more}
    return Row(name, attack=attack, expect=expect, **given)  # type: ignore[arg-type]


_GIVER = (
    f"{_FILE}; BIN/before gives HERE/giver HERE/secret/file >/dev/null 2>&1 & "
    "while ! test -S HERE/giver; do sleep 0.1; done"
)

ROWS = (
    _row("a file that is open already", by(_FREE), "before", "descriptor", "HERE/secret/file"),
    _row(
        "a file that is open already, under a rule on the call",
        by(_FREE, _FREE),
        *("before", "descriptor", "HERE/secret/file"),
        rules=("--deny", "open"),
    ),
    _row("an O_PATH descriptor from before", by(REFUSED), "before", "place", "HERE/secret/file"),
    _row("a working directory from before", by(REFUSED), "before", "working_directory", "HERE/secret", "file"),
    _row(
        "a connection from before",
        by(Announced("connections that exist already")),
        *("before", "connection", "PORT"),
        rules=("--deny-net", "tcp:127.0.0.1:PORT"),
        setup="",
    ),
    _row(
        "a descriptor that somebody else sends",
        by(REFUSED),
        *("before", "received", "HERE/giver"),
        setup=_GIVER,
        ready=False,
    ),
    _row(
        "a descriptor that somebody else sends, under a rule on the call",
        by(_FREE, _FREE),
        *("before", "received", "HERE/giver"),
        rules=("--deny", "open"),
        setup=_GIVER,
        ready=False,
    ),
    Row(
        "a hard link from before",
        _RULE,
        "cat linked",
        by(Announced("a hard link made before")),
        setup=f"{_FILE}; ln secret/file linked",
    ),
)
