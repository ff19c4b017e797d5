"""The end of a run: a target that lives on where isotrace thinks it gone, and isotrace that is made to end."""

from tests.vm.attacks import REFUSED, Announced, Open, Row, by  # noqa: F401

_FILE = "echo secret >secret; chmod 644 secret"
_RULE = ("--deny-path", "HERE/secret")
_CALL = ("--deny", "mkdir")

ROWS = (
    Row(
        "the leader of a process ends, a thread goes on",
        _RULE,
        ("ends", "leaderless", "HERE/secret", "HERE/answer"),
        by(REFUSED),
        setup=_FILE, how="command", answers=True,
    ),
    Row(
        "a chain of processes that fork and end at once",
        _RULE,
        ("ends", "chain", "HERE/secret", "HERE/answer"),
        by(REFUSED),
        setup=_FILE, how="command", answers=True,
    ),
    Row(
        "the leader of a process ends, a thread goes on (by number)",
        _CALL,
        ("ends", "leaderless", "HERE/made", "HERE/answer"),
        by(numbers=REFUSED),
        how="command", answers=True,
    ),
    Row(
        "a chain of processes that fork and end at once (by number)",
        _CALL,
        ("ends", "chain", "HERE/made", "HERE/answer"),
        by(numbers=REFUSED),
        how="command", answers=True,
    ),
    Row(
        "isotrace's output is a disk that the target has filled",
        _RULE,
        ("ends", "floods", "HERE/secret", "HERE/answer", "HERE/small/full"),
        by(REFUSED),
        setup=f"{_FILE}; mkdir small; mount -t tmpfs -o size=64k,mode=777 none small",
        answers=True, alone=True, output="HERE/small/log",
    ),
    Row(
        "Ctrl-C typed into isotrace's terminal by the command",
        _RULE,
        ("ends", "types_ctrl_c", "HERE/secret", "HERE/answer"),
        by(REFUSED),
        setup=_FILE, how="command", answers=True, terminal=True,
    ),
    Row(
        "66000 zombies fill the map of the tree",
        _RULE,
        ("ends", "zombies", "HERE/secret", "66000"),
        by(REFUSED),
        setup=f"{_FILE}; echo 200000 >/proc/sys/kernel/pid_max; echo 200000 >/proc/sys/kernel/threads-max",
        alone=True, user="root",
    ),
)  # fmt: skip
