"""Objects that are reached through another layer, or below a mount that was made after the start."""

from tests.vm.attacks import Announced, Open, Row, by  # noqa: F401

_OVERLAY = """
mount -t tmpfs -o mode=777 none .
mkdir -m 777 empty up up/secret work top
mkdir -m 777 up/place
echo hidden >up/secret/a
chmod 666 up/secret/a
"""
_LATE = "mkdir -m 777 media media/usb"
_USB = "mount -t tmpfs -o mode=777 none media/usb; echo hidden >media/usb/f; chmod 666 media/usb/f"
_MOUNTED = "lowerdir=empty,upperdir=up,workdir=work"

ROWS = (
    Row(
        "an overlay over the denied tree moves a file out of it",
        ("--deny-path", "HERE/up/secret/**"),
        f"mount -t overlay o -o {_MOUNTED} top && mv top/secret/a top/place/a && cat up/place/a",
        by(Open("moves on an overlay come to the upper layer by vfs_rename")),
        setup=_OVERLAY, user="root",
    ),
    Row(
        "an overlay over the denied tree, in a user namespace",
        ("--deny-path", "HERE/up/secret/**"),
        f"unshare -Urm sh -c 'mount -t overlay o -o userxattr,{_MOUNTED} top && mv top/secret/a top/place/a' && "
        "cat up/place/a",
        by(Open("moves on an overlay come to the upper layer by vfs_rename")),
        setup=_OVERLAY, untried=("5.10",),
    ),
    Row(
        "the denied tree as a lower layer is read",
        ("--deny-path", "HERE/up/secret/**"),
        "mount -t overlay o -o lowerdir=up:empty top && cat top/secret/a",
        by(Open("the path that is judged is the overlay's")),
        setup=_OVERLAY, user="root",
    ),
    Row(
        "a file below a mount that was made later is cut",
        ("--deny-path", "HERE/media/**"),
        "truncate -s 0 media/usb/f",
        by(Open("a superblock that was not there at the start is not known")),
        setup=_LATE, meanwhile=_USB,
    ),
    Row(
        "a mount that was made later is bound elsewhere",
        ("--deny-path", "HERE/media/**"),
        "unshare -Urm sh -c 'mount --bind media/usb elsewhere && cat elsewhere/f'",
        by(Open("a superblock that was not there at the start is not known")),
        setup=f"{_LATE}; mkdir -m 777 elsewhere", meanwhile=_USB,
    ),
    Row(
        "a detached clone of a mount that was made later",
        ("--deny-path", "HERE/media/**"),
        "unshare -Urm BIN/layers detached media/usb f",
        by(Open("a superblock that was not there at the start is not known")),
        setup=_LATE, meanwhile=_USB, quick=True,
    ),
)  # fmt: skip
