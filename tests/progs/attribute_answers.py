"""Calls that change attributes, well and wrongly, in the directory that it is given: a line for what each returned.

Run with and without isotrace in the way of them the lines are the same.
"""

import ctypes
import errno
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    **{"chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "utime": 132, "utimes": 235},
    **{
        "setxattr": 188,
        "lsetxattr": 189,
        "fsetxattr": 190,
        "removexattr": 197,
        "lremovexattr": 198,
        "fremovexattr": 199,
    },
    **{"fchownat": 260, "futimesat": 261, "fchmodat": 268, "utimensat": 280, "fchmodat2": 452},
}
NEAR, NOFOLLOW, EMPTY, NOW, OMIT, UNMAPPED = -100, 0x100, 0x1000, 0x3FFFFFFF, 0x3FFFFFFE, 8
ME = (os.getuid(), os.getgid())
count = 0


def say(call, *words):
    """Make the call; a line with what it was given and what came of it."""
    global count
    count += 1
    ctypes.set_errno(0)
    result = libc.syscall(CALLS[call], *(ctypes.c_long(one) if isinstance(one, int) else one for one in words))
    shown = ",".join(list(one) and "times" if isinstance(one, ctypes.Array) else f"{one!s:.40}" for one in words)
    print(f"{count}:{call}({shown}) {errno.errorcode[ctypes.get_errno()] if result < 0 else result}", flush=True)


def times(*words):
    return (ctypes.c_long * 4)(*words)


SOME = times(1, 2, 3, 4)
os.chdir(sys.argv[1])
os.symlink("own", "link")
os.symlink("loop", "loop")
os.symlink("missing", "dangling")
os.mkdir("sub")
os.mkdir("shut")
os.chmod("shut", 0)
here, pipe = os.open(".", os.O_RDONLY), os.pipe()[0]
os.dup2(os.open("own", os.O_RDONLY), 77)
descriptors = (77, os.open("own", os.O_PATH), here, os.open("link", os.O_PATH | os.O_NOFOLLOW), 999, -1)

for one in descriptors:
    say("fchmod", one, 0o750)
    say("fchown", one, *ME)
    say("fsetxattr", one, b"user.x", b"1", 1, 0)
    say("fremovexattr", one, b"user.x")
    for flags in (0, NOFOLLOW, EMPTY, NOFOLLOW | EMPTY, 2):
        say("utimensat", one, None, SOME, flags)
        say("utimensat", one, b"", SOME, flags)
        say("fchownat", one, b"", *ME, flags)
        say("fchownat", one, None, *ME, flags)
        say("fchmodat2", one, b"", 0o750, flags)
    say("futimesat", one, None, SOME)
    say("fchmodat", one, b"own", 0o750)
    say("fchmodat", one, os.path.abspath(b"own"), 0o750)

for flags in (0, 1, 2, NOFOLLOW, 0x200, 0x400, 0x800, EMPTY, NOFOLLOW | EMPTY, 0x2000, 0x80000000, 0xFFFFFFFF, 1 << 32):
    for path in (b"own", b"link", b"missing", b"", None):
        say("fchmodat2", NEAR, path, 0o750, flags)
        say("fchownat", NEAR, path, *ME, flags)
        say("utimensat", NEAR, path, SOME, flags)
        say("utimensat", NEAR, path, times(0, OMIT, 0, OMIT), flags)
    for _ in range(2):
        say("setxattr", b"own", b"user.y", b"1", 1, flags)
    say("lsetxattr", b"link", b"user.y", b"1", 1, flags)
    say("setxattr", b"missing", b"user.y", b"1", 1, flags)
    say("removexattr", b"own", b"user.y")
    say("lremovexattr", b"link", b"user.y")

for way in (
    *("own/", "own/.", "own/../own", "missing/../own", "shut/../own", "link/", "link/../own", "sub/", "sub/../own"),
    *(".//own", "loop", "dangling", "dangling/", "o" * 256, "./" * 2040 + "own", "x/" * 3000, "/proc/self/cwd/own"),
    *("/proc/self/fd/77", "/proc/self/fd/78", "/proc/self/fd/77/", "/proc/self/fd/77/..", "/proc/self/cwd/own/../own"),
    *("/proc/self/missing/../cwd/own", "/dev/fd/77", "/proc/1/missing", f"/proc/self/fd/{pipe}/x", "/proc/self/x/"),
    *("/proc/thread-self/cwd/own", "/proc/self/cwd/loop", "/proc/self/cwd/shut/../own", "/proc/self/cwd/missing/own"),
):
    say("chmod", way.encode(), 0o750)
    say("chown", way.encode(), *ME)
    say("lchown", way.encode(), *ME)
    say("utimes", way.encode(), SOME)

for given in (
    None,
    UNMAPPED,
    times(1, 1000000, 1, 0),
    times(1, -1, 1, 0),
    times(1, 10**9, 1, 1),
    times(1, NOW, 1, OMIT),
):
    say("utime", b"own", given)
    say("utimes", b"own", given)
    say("futimesat", here, b"own", given)
    say("utimensat", NEAR, b"own", given, 0)
    say("utimensat", NEAR, b"missing", given, 1)

for name in (b"user." + b"x" * 300, b"", None, UNMAPPED, b"nothing", b"trusted.x"):
    say("setxattr", b"own", name, b"1", 1, 0)
    say("fsetxattr", 77, name, b"1", 1, 0)
    say("removexattr", b"own", name)
    say("setxattr", b"missing", name, b"1", 1, 0)

for value, size in (
    *((None, 1), (None, 0), (UNMAPPED, 1), (UNMAPPED, 0), (b"1", 65537), (b"1", 1 << 40)),
    (b"1" * 65536, 65536),
):
    say("setxattr", b"own", b"user.z", value, size, 0)

for path in (None, UNMAPPED):
    say("chmod", path, 0o750)
    say("chown", path, *ME)
    say("utimes", path, None)
    say("setxattr", path, b"user.x", b"1", 1, 0)
    say("fchmodat", here, path, 0o750)
    say("futimesat", NEAR, path, None)
    say("utimensat", here, path, None, 0)

say("chown", b"own", 0xFFFFFFFF, 0xFFFFFFFF)
say("chmod", b"own", 0xFFFFFFFF000001E8)
print("mode", oct(os.stat("own").st_mode))
