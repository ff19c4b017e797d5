"""What io_uring does for the target."""

from tests.vm.attacks import REFUSED, Announced, Row, by

_FILE = "echo secret >secret; chmod 644 secret"
_SECCOMP = {"seccomp": REFUSED}


def _opens(how: str, **more: object) -> Row:
    attack = ("rings", "ring_opens", "HERE/secret", how)
    return Row(
        f"a ring opens, {how}", ("--deny", "open"), attack, by(REFUSED, REFUSED, **_SECCOMP), setup=_FILE, **more
    )  # type: ignore[arg-type]


def _linked(call: str) -> Row:
    return Row(
        f"a linked CONNECT while in {call}",
        ("--deny", "connect"),
        ("rings", "linked_connect", "127.0.0.1", "PORT", call),
        by(REFUSED, REFUSED, **_SECCOMP),
    )


_POLLED = Announced(
    "had io_uring before the rules",
    unless="the start waits until the thread sleeps (ftrace does), and the call to wake it is refused",
)
ROWS = (
    _opens("inline", live=True),
    _opens("async", live=True),
    _opens("sqpoll"),
    *(_linked(call) for call in ("read", "write", "ioctl", "nanosleep")),
    Row(
        "a linked OPENAT while in read",
        ("--deny", "open"),
        ("rings", "linked_open", "HERE/secret", "read"),
        by(REFUSED, REFUSED, **_SECCOMP),
        setup=_FILE,
    ),
    *(
        Row(
            f"a ring from before opens, {how}",
            ("--deny", "open", "--best-effort"),
            ("rings", "ring_from_before", "HERE/secret", how),
            by(REFUSED, _POLLED if how == "sqpoll" else REFUSED),
            setup=_FILE, ready=True,
        )
        for how in ("inline", "sqpoll")
    ),
    Row(
        "a worker of io_uring under the name that --comm gives",
        ("--comm", "evil", "--deny-path", "HERE/secret"),
        ("rings", "worker_under_name", "HERE/secret", "evil"),
        by(REFUSED),
        setup=_FILE, how="own", alone=True,
    ),
)  # fmt: skip
