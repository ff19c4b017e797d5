"""isotrace itself: its processes, maps and terminal."""

from tests.vm.attacks import REFUSED, Row, by

_FILE = "echo secret >secret; chmod 644 secret"

ROWS = (
    Row(
        "root takes itself out of the map of the tree",
        ("--deny-path", "HERE/secret"),
        ("itself", "leave_maps", "HERE/secret"),
        by(REFUSED),
        setup=_FILE, user="root", alone=True,
    ),
    Row(
        "the supervisor of the same user does it instead",
        ("--deny", "mkdir"),
        "BIN/processes inject $PPID 'mkdir HERE/made' HERE/made",
        {"seccomp": REFUSED},
        setup="echo 0 >/proc/sys/kernel/yama/ptrace_scope 2>/dev/null || :",
        how="command", control=False,
    ),
)  # fmt: skip
