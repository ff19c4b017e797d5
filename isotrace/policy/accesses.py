"""What a call does to the files that it names: the accesses that rules on paths judge it by. Pure."""

from __future__ import annotations

import os

#: Call → the letters of what it does to each of its paths, in the order of its arguments; "" is not judged, "flags": those
#: of an open tell.
LETTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("open", "openat", "openat2", "creat"), ("flags",)),
    **dict.fromkeys(("execve", "execveat", "uselib"), ("x",)),
    **dict.fromkeys(("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "mknod", "mknodat"), ("w",)),
    **dict.fromkeys(("truncate", "truncate64", "chmod", "fchmodat", "fchmodat2", "acct"), ("w",)),
    **dict.fromkeys(("chown", "lchown", "fchownat", "chown32", "lchown32"), ("w",)),
    **dict.fromkeys(("utime", "utimes", "futimesat", "utimensat", "utimensat_time64"), ("w",)),
    **dict.fromkeys(("setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat"), ("w",)),
    **dict.fromkeys(("file_setattr",), ("w",)),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), ("rwx", "w")),
    **dict.fromkeys(("symlink", "symlinkat"), ("", "w")),
    **dict.fromkeys(("mount", "move_mount"), ("rwx", "w")),
    **dict.fromkeys(("open_tree", "open_tree_attr"), ("rwx",)),
}
#: Calls on a file by its descriptor that its opening for reading did not ask about.
BY_DESCRIPTOR = frozenset(("fchmod", "fchown", "fchown32", "fsetxattr", "fremovexattr"))
BY_HANDLE = "open_by_handle_at"
#: Calls that give a socket an address.
ADDRESSED = frozenset(("connect", "bind", "sendto", "sendmsg", "sendmmsg"))
#: What stands for flags that are not known.
NO_FLAGS = -1

_AT_SYMLINK_NOFOLLOW, _AT_SYMLINK_FOLLOW = 0x100, 0x400
#: Calls on the last component itself, be it a link.
_NO_FOLLOW = frozenset(
    (
        *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "mknod", "mknodat", "lchown", "lchown32", "lsetxattr"),
        *("lremovexattr", "rename", "renameat", "renameat2", "link", "symlink", "symlinkat"),
    )
)


def of_flags(flags: int) -> str:
    """What an open with these flags asks for, as letters."""
    if flags == NO_FLAGS:
        return "rwx"
    if flags & os.O_PATH:
        return ""
    writes = flags & (os.O_CREAT | os.O_TRUNC)
    mode = {os.O_RDONLY: "r", os.O_WRONLY: "w"}.get(flags & os.O_ACCMODE, "rw")
    return mode + "w" if writes and "w" not in mode else mode


def follows(call: str, flags: int) -> bool:
    """Whether the call acts on what a link in the last place points to."""
    if call.startswith("open"):
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        tree = call.startswith("open_tree")
        return not (flags & _AT_SYMLINK_NOFOLLOW if tree else flags & os.O_NOFOLLOW or exclusive)
    if call == "linkat":
        return bool(flags & _AT_SYMLINK_FOLLOW)
    return call not in _NO_FOLLOW and not flags & _AT_SYMLINK_NOFOLLOW
