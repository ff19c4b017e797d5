"""The end of a run: a target that lives on where isotrace thinks it gone, and isotrace that is made to end."""

from tests.vm.attacks import REFUSED, Row, by

_FILE = "echo secret >secret; chmod 644 secret"
_RULE = ("--deny-path", "HERE/secret")
_CALL = ("--deny", "mkdir")

ROWS = (
    *(
        Row(
            f"{what}{how}",
            rule,
            ("ends", attack, f"HERE/{name}", "HERE/answer"),
            expect,
            setup=setup, how="command", answers=True,
        )
        for how, rule, name, expect, setup in (
            ("", _RULE, "secret", by(REFUSED), _FILE),
            (" (by number)", _CALL, "made", by(numbers=REFUSED), ""),
        )
        for what, attack in (
            ("the leader of a process ends, a thread goes on", "leaderless"),
            ("a chain of processes that fork and end at once", "chain"),
        )
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
        setup=f"{_FILE}; echo 200000 >/proc/sys/kernel/pid_max || :; echo 200000 >/proc/sys/kernel/threads-max || :",
        alone=True, user="root", untried=("6.1-override",),  # it has no such numbers
    ),
)  # fmt: skip
