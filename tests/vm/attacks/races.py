"""What only gets through between two moments: while isotrace attaches, or while a call is judged."""

from tests.vm.attacks import REFUSED, Row, by

_FILES = "echo secret >secret; echo other >other; chmod 644 secret other"
_RULE = ("--deny-path", "HERE/secret")


def _race(name: str, *attack: str, ready: bool = False) -> Row:
    return Row(name, _RULE, ("races", *attack), by(REFUSED), setup=_FILES, ready=ready, race=True)


ROWS = (
    _race("processes that live for a moment, while isotrace attaches", "forks", "HERE/secret", ready=True),
    _race("threads that come and go, while isotrace attaches", "threads", "HERE/secret", ready=True),
    _race("a file's name that a thread writes over", "flipped_name", "HERE/secret", "HERE/other"),
    _race("a symbolic link that leads elsewhere in turn", "flipped_link", "HERE/secret", "HERE/other", "HERE/link"),
)
