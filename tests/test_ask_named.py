"""What a waiting call is about: paths by the caller's root and directories, and addresses as the kernel takes them.

The caller is this process: what its memory names is in buffers of the test.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import threading
from ipaddress import IPv4Address

import pytest

from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.calls import lookup, named
from isotrace.enforce.calls.asking import Judge
from isotrace.enforce.calls.cbpf import Entry
from isotrace.enforce.calls.lookup import AT_FDCWD, Caller
from isotrace.enforce.calls.named import Unknown
from isotrace.enforce.calls.notify import Notification
from isotrace.enforce.calls.supervisor import record
from isotrace.policy import Action, PathRequest, names, nets, paths
from isotrace.policy.decide import NetRequest

ABI = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
RESOLVE_IN_ROOT, RESOLVE_BENEATH, RESOLVE_LATER = 0x10, 0x08, 0x4000


@pytest.fixture
def caller():
    return Caller(threading.get_native_id(), os.getpid())


@pytest.fixture
def memory():
    """``memory(bytes)`` is where they are, for as long as the test runs."""
    kept = []

    def put(data):
        kept.append(ctypes.create_string_buffer(data, len(data) + 1))
        return ctypes.addressof(kept[-1])

    return put


@pytest.fixture
def paged():
    """``paged(bytes, before)`` is where they are: so many of them on one page, the others on the next, if any are."""
    kept = []

    def put(data, before):
        size = mmap.PAGESIZE
        file = os.memfd_create("pages")
        os.truncate(file, 2 * size)
        kept.append(mmap.mmap(file, 2 * size))
        kept[-1][size - before : size - before + len(data)] = data
        if before == len(data):
            os.truncate(file, size)  # the second page is there no longer
        os.close(file)
        return ctypes.addressof(ctypes.c_char.from_buffer(kept[-1], size - before))

    return put


@pytest.fixture
def opened():
    """``opened(path)`` is a descriptor of it."""
    kept = []

    def open_(path, flags=os.O_PATH):
        kept.append(os.open(path, flags))
        return kept[-1]

    yield open_
    for one in kept:
        os.close(one)


def reads(path):
    return [PathRequest(str(path), frozenset("r"))]


class TestPaths:
    @pytest.fixture
    def tree(self, tmp_path):
        (tmp_path / "in/etc").mkdir(parents=True)
        (tmp_path / "in/etc/key").write_text("x")
        (tmp_path / "in/link").symlink_to("/etc/key")
        (tmp_path / "dir").symlink_to("in")
        return tmp_path

    @pytest.mark.parametrize(
        "path", ["etc/key", "/etc/key", "link", "/link", "../etc/key", "/../../etc/key", "etc/../../etc/key"]
    )
    def test_openat2_in_root_begins_at_its_directory(self, caller, memory, opened, tree, path):
        how = memory(struct.pack("=QQQ", os.O_RDONLY, 0, RESOLVE_IN_ROOT))
        args = (opened(tree / "in"), memory(os.fsencode(path)), how, 24)
        assert named.requests(caller, "openat2", ABI, args) == reads(tree / "in/etc/key")

    def test_openat2_that_only_fails_more_often_is_as_openat(self, caller, memory, opened, tree):
        how = memory(struct.pack("=QQQ", os.O_RDONLY, 0, RESOLVE_BENEATH))
        args = (opened(tree / "in"), memory(b"etc/key"), how, 24)
        assert named.requests(caller, "openat2", ABI, args) == reads(tree / "in/etc/key")

    def test_openat2_with_a_bit_that_is_not_known_is_unknown(self, caller, memory, opened, tree):
        how = memory(struct.pack("=QQQ", os.O_RDONLY, 0, RESOLVE_LATER))
        args = (opened(tree / "in"), memory(b"etc/key"), how, 24)
        assert named.requests(caller, "openat2", ABI, args) == [Unknown(frozenset("r"))]

    @pytest.mark.parametrize("before", [1, 8, 9, 23])
    def test_openat2_whose_struct_lies_on_two_pages(self, caller, paged, memory, opened, tree, before):
        how = paged(struct.pack("=QQQ", os.O_RDONLY, 0, RESOLVE_IN_ROOT), before)
        args = (opened(tree / "in"), memory(b"etc/key"), how, 24)
        assert named.requests(caller, "openat2", ABI, args) == reads(tree / "in/etc/key")

    def test_a_path_that_ends_where_the_next_page_is_not_there(self, caller, paged, tree):
        key = bytes(tree / "in/etc/key") + b"\0"
        args = (AT_FDCWD, paged(key, len(key)), os.O_RDONLY, 0)
        assert named.requests(caller, "openat", ABI, args) == reads(tree / "in/etc/key")
        cut = (AT_FDCWD, paged(key[:-1], len(key) - 1), os.O_RDONLY, 0)
        assert named.requests(caller, "openat", ABI, cut) == [Unknown(frozenset("r"))]

    def test_openat2_whose_flags_cannot_be_read_is_unknown(self, caller, memory):
        args = (0, memory(b"/etc/key"), 0, 24)
        assert named.requests(caller, "openat2", ABI, args) == [Unknown(frozenset("rwx"))]

    @pytest.mark.parametrize("path", ["dir", "dir/"])
    def test_a_link_is_followed_where_it_is_not_the_last(self, caller, tree, path):
        led = tree / "in" if path.endswith("/") else tree / "dir"
        assert lookup.resolve(caller, AT_FDCWD, f"{tree}/{path}", follow=False) == str(led)
        assert lookup.resolve(caller, AT_FDCWD, f"{tree}/{path}/.", follow=False) == str(tree / "in")

    def test_what_has_no_path_meets_no_rule(self, caller, memory):
        reading, writing = os.pipe()
        try:
            for path in (f"/proc/self/fd/{reading}", f"/proc/{os.getpid()}/fd/{writing}", "/proc/self/ns/mnt"):
                args = (AT_FDCWD & 0xFFFFFFFF, memory(os.fsencode(path)), os.O_RDONLY, 0)
                assert named.requests(caller, "openat", ABI, args) == []
            assert named.requests(caller, "fchmod", ABI, (reading, 0o600)) == []
        finally:
            os.close(reading)
            os.close(writing)

    def test_a_file_that_was_removed_goes_by_its_last_name(self, caller, opened, tree):
        number = opened(tree / "in/etc/key", os.O_RDONLY)
        (tree / "in/etc/key").unlink()
        found = [PathRequest(f"{tree}/in/etc/key (deleted)", frozenset("w"))]
        assert named.requests(caller, "fchmod", ABI, (number, 0o600)) == found

    def test_a_file_that_is_not_where_its_name_says_is_unknown(self, caller, opened, tree):
        os.link(tree / "in/etc/key", tree / "other")
        number = opened(tree / "in/etc/key", os.O_RDONLY)
        (tree / "in/etc/key").unlink()
        assert named.requests(caller, "fchmod", ABI, (number, 0o600)) == [Unknown(frozenset("w"))]

    def test_a_thread_that_is_gone_has_no_path(self, memory):
        gone = Caller(2**22 - 1, 2**22 - 1)
        assert lookup.resolve(gone, AT_FDCWD, "/etc/key", True) is None and lookup.descriptor(gone, 0) is None


def unspecified(address, port=9):
    return struct.pack("=H", socket.AF_UNSPEC) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def message(name, length):
    return struct.pack("=QIIQQQQII", name, length, 0, 0, 0, 0, 0, 0, 0)


class TestAddresses:
    @pytest.fixture
    def asked(self, caller, memory):
        """``asked(kind, call, name)``: what a call with an address asks of a socket of a family and type."""

        def ask(kind, call, data):
            with socket.socket(*kind) as sock:
                name, number = memory(data), sock.fileno()
                args = {
                    "connect": (number, name, 16),
                    "bind": (number, name, 16),
                    "sendto": (number, name, 1, 0, name, 16),
                    "sendmsg": (number, memory(message(name, 16)), 0),
                    "sendmmsg": (number, memory(message(name, 16) + bytes(8)), 1, 0),
                }[call]
                found = named.requests(caller, call, ABI, args)
            return [one for one in found if isinstance(one, NetRequest | Unknown)]

        return ask

    @pytest.mark.parametrize("call", ["sendto", "sendmsg", "sendmmsg", "bind"])
    def test_without_a_family_it_is_one_of_ipv4(self, asked, call):
        wanted = NetRequest("udp", IPv4Address("127.0.0.1"), 9, outward=call != "bind")
        assert asked((socket.AF_INET, socket.SOCK_DGRAM), call, unspecified("127.0.0.1")) == [wanted]

    def test_connect_without_a_family_takes_a_connection_back(self, asked):
        assert asked((socket.AF_INET, socket.SOCK_DGRAM), "connect", unspecified("127.0.0.1")) == []

    def test_a_socket_that_is_none_of_ip_has_no_such_address(self, asked):
        assert asked((socket.AF_UNIX, socket.SOCK_DGRAM), "sendto", unspecified("127.0.0.1")) == []

    def test_one_that_is_too_short_is_unknown(self, caller, memory):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            args = (sock.fileno(), 0, 0, 0, memory(bytes(4)), 4)
            assert Unknown() in named.requests(caller, "sendto", ABI, args)


class TestShown:
    """What a question is said to be about."""

    def decide(self, caller, call, args, *rules):
        found = Guarantees(True, "judged", True)
        judge = Judge([Enforced(number, rule, "seccomp", found) for number, rule in enumerate(rules)])
        waiting, entry = Notification(1, caller.tid, 0, 0, args), Entry(call, ABI, 0)
        rule, refused, access, _ = judge.decide(waiting, entry, record(waiting, entry))
        return rule, refused.what, access

    def test_a_path_that_is_not_known_is_no_address(self, caller, memory):
        reading, writing = os.pipe()
        for call in ("openat", "readlinkat"):
            asking = names.parse(call, action=Action("ask"))
            args = (0, memory(b"/proc/self/fd/%d" % reading), 0, 0, 0, 0)
            assert self.decide(caller, call, args, asking) == (asking, "", "")
        os.close(reading)
        os.close(writing)

    def test_a_pipe_is_not_asked_about_by_its_path(self, caller, memory):
        reading, writing = os.pipe()
        args = (0, memory(b"/proc/self/fd/%d" % reading), os.O_RDONLY, 0, 0, 0)
        rule = paths.parse("r:/**", allow=False, action=Action("ask"))
        assert self.decide(caller, "openat", args, rule)[0] is None
        os.close(reading)
        os.close(writing)

    def test_an_address_is_shown_where_only_the_call_is_asked_about(self, caller, memory):
        asking = names.parse("connect", action=Action("ask"))
        with socket.socket() as sock:
            name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 9) + socket.inet_aton("127.0.0.1") + bytes(8)
            found = self.decide(caller, "connect", (sock.fileno(), memory(name), 16, 0, 0, 0), asking)
        assert found == (asking, "127.0.0.1:9", "")

    def test_of_a_unix_address_that_is_not_known_rules_on_ip_say_nothing(self, caller, memory, opened, tmp_path):
        ip, unix = (nets.parse(text, allow=False, action=Action("ask")) for text in ("any:", "unix:/run/s"))
        (tmp_path / "s").write_text("")
        number = opened(tmp_path / "s")
        (tmp_path / "s").rename(tmp_path / "t")
        os.link(tmp_path / "t", tmp_path / "kept")
        (tmp_path / "t").unlink()
        name = memory(struct.pack("=H", socket.AF_UNIX) + b"/proc/self/fd/%d\0" % number)
        with socket.socket(socket.AF_UNIX) as sock:
            args = (sock.fileno(), name, 30, 0, 0, 0)
            assert self.decide(caller, "connect", args, ip) == (None, f"/proc/self/fd/{number}", "")
            assert self.decide(caller, "connect", args, ip, unix) == (unix, "", "")
