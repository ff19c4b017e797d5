"""Objects that are reached through another layer, or below a mount that was made after the start."""

from __future__ import annotations

from tests.vm.attacks import REFUSED, Announced, Expected, Row, by

_OVERLAY = """
mkdir -m 777 empty up up/secret work top
mkdir -m 777 up/place up/secret/sub
echo hidden >up/secret/a
chmod 666 up/secret/a
"""
_CODE = r"""
printf '\270\052\000\000\000\303' >up/secret/code
truncate -s 4096 up/secret/code
"""
_LATE = "mkdir -m 777 media media/usb elsewhere"
_USB = "mount -t tmpfs -o mode=777 none media/usb; echo hidden >media/usb/f; chmod 666 media/usb/f"
_UNKNOWN = by(Announced("a file system that is mounted later is judged by the mount at hand alone"))
_MOUNTED = "lowerdir=empty,upperdir=up,workdir=work"
_UPPER = f"mount -t overlay o -o {_MOUNTED} top"
_TRUNCATE = "python3 -c 'import os; os.truncate(\"media/usb/f\", 0)'"
_HANDLE = """
mkdir low up work top
mount -t overlay o -o lowerdir=low,upperdir=up,workdir=work,index=on,nfs_export=on top && mkdir -p top/secret/sub &&
echo hidden >top/secret/sub/f && BIN/layers handle top/secret/sub/f handle
"""


def _upper(what: str, attack: str, **more: object) -> Row:
    """By an overlay whose upper layer has the denied directory."""
    script = f"{_UPPER} || exit 77; {attack} || exit 1"
    rule = ("--deny-path", "HERE/up/secret/**")
    return Row(f"through an overlay {what}", rule, script, by(REFUSED), setup=_OVERLAY, user="root", **more)  # type: ignore[arg-type]


def _late(what: str, attack: str, expect: dict[str, Expected], **more: object) -> Row:
    """On a file system that is mounted below a denied directory once the rules are there."""
    rule = ("--deny-path", "HERE/media/**")
    return Row(what, rule, attack, expect, setup=_LATE, meanwhile=_USB, **more)  # type: ignore[arg-type]


ROWS = (
    _upper("a file is moved out", "mv top/secret/a top/place/a && cat up/place/a", quick=True),
    _upper("the directory is moved", "mv top/secret top/place/s && cat up/place/s/a"),
    _upper("a file is removed", "rm -f top/secret/a && [ ! -e up/secret/a ]"),
    _upper("a directory is removed", "rmdir top/secret/sub && [ ! -d up/secret/sub ]"),
    _upper("a file is made", "touch top/secret/new && [ -e up/secret/new ]"),
    _upper("a directory is made", "mkdir top/secret/new && [ -d up/secret/new ]"),
    _upper("a link is made to elsewhere", "ln top/secret/a top/place/a && cat up/place/a"),
    _upper("a symbolic link is made", "ln -s x top/secret/new && [ -L up/secret/new ]"),
    _upper("a FIFO is made", "mkfifo top/secret/new && [ -p up/secret/new ]"),
    _upper("the mode is changed", "chmod 600 top/secret/a && [ $(stat -c %a up/secret/a) = 600 ]"),
    _upper("a file is read", "cat top/secret/a", quick=True),
    _upper("a file is written", "echo more >>top/secret/a"),
    _upper("the directory is listed", "ls top/secret"),
    Row(
        "an overlay over the denied tree, in a user namespace",
        ("--deny-path", "HERE/up/secret/**"),
        f"unshare -Urm sh -c 'mount -t overlay o -o userxattr,{_MOUNTED} top || exit 77; mv top/secret/a top/place/a' && "
        "cat up/place/a",
        by(REFUSED),
        setup=_OVERLAY, untried=("5.10",),
    ),
    Row(
        "a file of a layer, under an overlay that another user has mounted, by --uid",
        ("--uid", "65534", "--deny-path", "HERE/up/secret/**"),
        "cat top/secret/a",
        by(REFUSED),
        setup=f"{_OVERLAY}mount -t overlay o -o {_MOUNTED} top", how="own", alone=True,
    ),
    Row(
        "a sysfs of a network namespace of its own",
        ("--deny-path", "r:/sys/kernel/notes"),
        "unshare -Urmn sh -c 'mount -t sysfs none elsewhere || exit 77; cat elsewhere/kernel/notes' >/dev/null",
        by(Announced("a second procfs, sysfs or network file system")),
        setup="mkdir elsewhere; chmod 777 elsewhere",
    ),
    Row(
        "the denied tree as a lower layer is read",
        ("--deny-path", "HERE/up/secret/**"),
        "mount -t overlay o -o lowerdir=up:empty top && cat top/secret/a",
        by(REFUSED),
        setup=_OVERLAY, user="root",
    ),
    Row(
        "a file of a lower layer is mapped executable",
        ("--deny-path", "x:HERE/up/secret/**"),
        "mount -t overlay o -o lowerdir=up:empty top && BIN/execution protected_later top/secret/code",
        by(REFUSED),
        setup=_OVERLAY + _CODE, user="root",
    ),
    _late("a file below a mount that was made later is read", "cat media/usb/f", by(REFUSED)),
    _late("a file below a mount that was made later is cut", _TRUNCATE, _UNKNOWN),
    _late(
        "a mount that was made later is bound elsewhere",
        "unshare -Urm sh -c 'mount --bind media/usb elsewhere && cat elsewhere/f'",
        _UNKNOWN,
    ),
    _late(
        "a detached clone of a mount that was made later",
        "unshare -Urm BIN/layers detached media/usb f",
        _UNKNOWN,
        quick=True,
    ),
    Row(
        "a handle whose directory is not in the cache",
        ("--deny-path", "HERE/top/secret/**"),
        "echo 3 >/proc/sys/vm/drop_caches; BIN/layers by_handle top handle",
        by(REFUSED),
        setup=_HANDLE, user="root", quick=True,
    ),
)  # fmt: skip
