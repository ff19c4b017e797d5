"""What a descriptor is, from what the kernel program says of it: strace's words, and never more than is known."""

from __future__ import annotations

import re
import socket

from hypothesis import given
from hypothesis import strategies as st
from records import Collected, batch, make, string

from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, ENDPOINTS, UNSURE, described, descriptor
from isotrace.errors import KernelError
from isotrace.run import records
from isotrace.sinks.formats import Beside
from isotrace.sinks.text import Text
from isotrace.trace import events, plan
from isotrace.trace.events import Blob
from isotrace.trace.plan import Options
from isotrace.trace.target import Target

CALLS = plan.all_calls()
SLOTS = {(call.name, call.abi): slot for slot, call in CALLS.items()}
EXT4, PIPE, SOCKET, ANONYMOUS, NAMESPACE = 0xEF53, 0x50495045, 0x534F434B, 0x09041934, 0x6E736673


def said(*names: bytes, magic: int = EXT4, mode: int = 0o100644, state: int = 0, other: int = 0) -> bytes:
    """As bpf/trace_files.h says it of inode 77; names from the file up."""
    return DESCRIPTOR.pack(77, other, magic, mode, state) + b"".join(name + b"\0" for name in names)


def of_socket(family: int, name: bytes, *, port: int = 0, to: int = 0, peer: int = 0, path: bytes = b"") -> bytes:
    here = socket.inet_pton(family, "127.0.0.1" if family == socket.AF_INET else "::1") if family in (2, 10) else b""
    ends = ENDPOINTS.pack(peer, family, 0, port, to, here if port else b"", here if to else b"", name)
    return said(magic=SOCKET, mode=0o140777) + ends + path


def test_files_pipes_and_what_has_no_place():
    assert descriptor(b"", True) == ""
    assert descriptor(said(b"passwd", b"etc"), False) == "</etc/passwd>"
    assert descriptor(said(), False) == "</>"
    assert descriptor(said(b"f", b"a", state=DELETED), True) == "</a/f>(deleted)"
    assert descriptor(said(b"f", b"a", state=CUT), True) == "<.../a/f>"
    assert descriptor(said(b"f", b"a", state=UNSURE), True) == "<?>"
    assert descriptor(said(b"", magic=PIPE, state=ALONE), True) == "<pipe:[77]>"
    assert descriptor(said(b"fifo", b"tmp", mode=0o10644), True) == "</tmp/fifo>"
    assert descriptor(said(b"[eventfd]", magic=ANONYMOUS, state=ALONE), True) == "<anon_inode:[eventfd]>"
    assert descriptor(said(b"memfd:x", magic=0x01021994, state=ALONE), True) == "</memfd:x>(deleted)"
    assert descriptor(said(b"mnt", b"", magic=NAMESPACE), True) == "<mnt:[77]>"


def test_without_brackets_paths_are_text():
    def text(data: bytes) -> str:
        return described(data, bytes.decode)

    assert text(b"") == ""
    assert text(said("é<1>".encode(), b"etc")) == "/etc/é<1>"
    assert text(said(b"f", b"a", state=DELETED)) == "/a/f(deleted)"
    assert text(said(b"null", b"dev", mode=0o20666, other=1 << 20 | 3)) == "/dev/null"
    assert text(said(b"f", b"a", state=CUT)) == ".../a/f"
    assert text(said(b"f", b"a", state=UNSURE)) == "?"
    assert text(said(b"", magic=PIPE, state=ALONE)) == "pipe:[77]"
    assert text(of_socket(2, b"TCP", port=80)) == "TCP:[127.0.0.1:80]"


def test_details_are_those_of_strace_with_yy():
    null = said(b"null", b"dev", mode=0o20666, other=1 << 20 | 3)
    assert [descriptor(null, details) for details in (False, True)] == ["</dev/null>", "</dev/null<char 1:3>>"]
    pidfd = said(b"[pidfd]", magic=ANONYMOUS, state=ALONE, other=5)
    assert [descriptor(pidfd, details) for details in (False, True)] == ["<anon_inode:[pidfd]>", "<pid:5>"]
    ended = said(b"[pidfd]", magic=ANONYMOUS, state=ALONE)
    assert descriptor(ended, True) == "<anon_inode:[pidfd]>"


def test_sockets():
    found = {
        of_socket(2, b"TCP"): "<TCP:[77]>",
        of_socket(2, b"TCP", port=80): "<TCP:[127.0.0.1:80]>",
        of_socket(10, b"TCPv6", port=80, to=81): "<TCPv6:[[::1]:80->[::1]:81]>",
        of_socket(2, b"RAW", port=1): "<RAW:[77]>",
        of_socket(1, b"UNIX"): "<UNIX:[77]>",
        of_socket(1, b"UNIX-STREAM", peer=5, path=b"/s\n\0\0"): '<UNIX-STREAM:[77->5,"/s\\n"]>',
        of_socket(1, b"UNIX-STREAM", path=b"\0ab"): '<UNIX-STREAM:[77,@"ab"]>',
        of_socket(16, b"NETLINK", peer=9): "<NETLINK:[ROUTE:9]>",
        of_socket(16, b"NETLINK"): "<NETLINK:[77]>",
        of_socket(17, b"PACKET"): "<socket:[77]>",
    }
    assert {data: descriptor(data, True) for data in found} == found
    assert {descriptor(data, False) for data in found} == {"<socket:[77]>"}


@given(
    st.lists(st.binary(max_size=8), max_size=4),
    st.sampled_from([EXT4, PIPE, SOCKET, ANONYMOUS, NAMESPACE]),
    st.integers(0, 15),
)
def test_names_are_hostile(names, magic, state):
    shown = descriptor(said(*(name.replace(b"\0", b"") for name in names), magic=magic, state=state), True)
    assert shown.isascii() and shown.isprintable()
    assert shown.count("<") == shown.count(">") == 1


def shown(record, level: int = 1) -> str:
    output = Collected()
    Text(output, CALLS, Beside(descriptors=level)).write(batch(record))
    return re.sub(" += ", " = ", output.lines[0].partition("  ")[2])


def file(arg: int, *names: bytes) -> Blob:
    return Blob(arg, events.PART_FILE, events.WHOLE, 3, said(*names) if names else b"")


def test_they_stand_behind_arguments_and_results():
    blobs = [file(0, b"home"), string(1, b"f"), file(events.RESULT_ARG, b"f", b"home")]
    openat = make(SLOTS["openat", "x86_64"], (2**64 - 100, 1, 0), 3, blobs=blobs)
    assert shown(openat) == 'openat(AT_FDCWD</home>, "f", O_RDONLY) = 3</home/f>'
    pair = Blob(0, events.PART_SELF, events.WHOLE, 8, bytes([3, 0, 0, 0, 4, 0, 0, 0]))
    pipe = make(SLOTS["pipe", "x86_64"], (1,), 0, blobs=[pair, file(0, b"a"), file(0, b"b")])
    assert shown(pipe).startswith("pipe([3</a>, 4</b>]) ")
    assert shown(make(SLOTS["pipe", "x86_64"], (1,), -24)).startswith("pipe(0x1) ")
    dup = make(SLOTS["fcntl", "x86_64"], (3, 0, 9), 9, blobs=[file(0, b"a"), file(events.RESULT_ARG, b"a")])
    assert shown(dup) == "fcntl(3</a>, F_DUPFD, 9) = 9</a>"
    flags = make(SLOTS["fcntl", "x86_64"], (3, 1, 0), 0, blobs=[file(0, b"a"), file(events.RESULT_ARG, b"wrong")])
    assert shown(flags).startswith("fcntl(3</a>, F_GETFD) ") and "wrong" not in shown(flags)


def test_what_is_not_open_has_nothing_and_what_is_not_known_says_so():
    assert shown(make(SLOTS["close", "x86_64"], (3,), -9, blobs=[file(0)])).startswith("close(3) ")
    assert shown(make(SLOTS["close", "x86_64"], (3,), -9)).startswith("close(3<?>) ")
    assert shown(make(SLOTS["close", "x86_64"], (3,), -9), 0).startswith("close(3) ")
    assert shown(make(SLOTS["getpid", "x86_64"], (), 3)).endswith("= 3")


def test_the_module_does_not_say_what_they_are():
    try:
        records._planned(Options(Target(pid=(1,)), descriptors=True), None)
    except KernelError as error:
        assert "module" in error.message and "-y" in error.hint
    else:
        raise AssertionError("it was accepted")
