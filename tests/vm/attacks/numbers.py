"""Calls whose number is not what it seems, and what does a call's work without its number."""

from tests.vm.attacks import REFUSED, Row, by

_FILE = "echo secret >secret; chmod 666 secret"

ROWS = (
    Row(
        "open with bits above its number", ("--deny", "open"), ("numbers", "wide_open", "HERE/secret"),
        by(REFUSED, REFUSED, seccomp=REFUSED), setup=_FILE, live=True,
    ),
    Row(
        "io_submit writes instead of pwrite64", ("--deny", "=pwrite64"), ("numbers", "aio_write", "HERE/secret"),
        by(REFUSED, REFUSED, seccomp=REFUSED), setup=_FILE, live=True,
    ),
)  # fmt: skip
