"""``log --host-paths``: where a file is for isotrace, by its place in a file system and the mounts."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as some
from records import batch, make

from isotrace.catalog import by_name
from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, SOCKET, UNSURE
from isotrace.kernel import places as of_mounts
from isotrace.kernel import procfs
from isotrace.kernel.places import Places, Table
from isotrace.kernel.procfs import Mount
from isotrace.render.hosts import NOWHERE, UNKNOWN, Hosts
from isotrace.render.rows import Rows
from isotrace.trace.events import PART_FILE, PART_PLACE, RESULT_ARG, WHOLE, Blob

ROOT = Mount(1, "/", "/", "ext4", 10, 1)


def mounted(*places: tuple[int, str, str, int]) -> Table:
    """On ROOT: (device, directory of it, where, number of the mount that it is on), numbers from 11 on."""
    mounts = [Mount(device, root, point, "", 11 + at, on) for at, (device, root, point, on) in enumerate(places)]
    return Table([ROOT, *mounts])


@pytest.mark.parametrize(
    ("places", "device", "path", "found"),
    [
        ([], 1, b"/etc/passwd", b"/etc/passwd"),
        ([], 2, b"/etc/passwd", b""),
        ([(2, "/", "/merged", 10)], 2, b"/etc/passwd", b"/merged/etc/passwd"),
        ([(2, "/", "/merged", 10)], 2, b"/", b"/merged"),
        ([(2, "/", "/merged", 10)], 1, b"/merged/x", b""),  # hidden
        ([(2, "/", "/merged", 10)], 1, b"/merged2", b"/merged2"),
        ([(2, "/sub", "/srv", 10)], 2, b"/sub/x", b"/srv/x"),
        ([(2, "/sub", "/srv", 10)], 2, b"/sub", b"/srv"),
        ([(2, "/sub", "/srv", 10)], 2, b"/subway", b""),
        ([(2, "/", "/long/way", 10), (2, "/a", "/b", 10)], 2, b"/a/x", b"/b/x"),  # the shortest
        ([(2, "/", "/m", 10), (3, "/", "/m", 11)], 2, b"/x", b""),  # one on the other
        ([(2, "/", "/m", 10), (3, "/", "/m", 11)], 3, b"/x", b"/m/x"),
        ([(2, "/", "/m/in", 10), (3, "/", "/m", 10)], 2, b"/x", b""),  # mounted below what was hidden afterwards
        ([(2, "/", "/", 10)], 2, b"/x", b"/x"),  # a root on the root
        ([(2, "/", "/", 10)], 1, b"/x", b""),
        ([(2, "/file", "/etc/hosts", 10)], 2, b"/file", b"/etc/hosts"),
    ],
)
def test_a_path_is_that_of_a_mount_that_shows_the_file(places, device, path, found):
    assert mounted(*places).path(device, path) == found


def test_where_the_root_is_no_mount_nothing_is_known():
    assert Table([Mount(2, "/", "/data", "", 11, 10)]).path(2, b"/x") is None


@some.composite
def trees(draw) -> list[Mount]:
    found = [ROOT]
    for number in range(11, 11 + draw(some.integers(0, 6))):
        on = draw(some.sampled_from(found))
        point = on.point.rstrip("/") + draw(some.sampled_from(["", "/a", "/b", "/a/b"])) or "/"
        taken = any(one.parent == on.id and one.point == point for one in found)
        if not taken:
            root = draw(some.sampled_from(["/", "/a", "/b"]))
            found.append(Mount(draw(some.integers(1, 3)), root, point, "", number, on.id))
    return found


def walked(mounts: list[Mount], path: str) -> tuple[int, str]:
    """What is at ``path``, component by component as the kernel goes: device and path in the file system."""
    mount, inside, at = ROOT, "/", ""

    def cross(mount: Mount, inside: str) -> tuple[Mount, str]:
        while on := [
            one for one in mounts if one.parent == mount.id and one.id != mount.id and one.point == (at or "/")
        ]:
            mount, inside = on[0], on[0].root
        return mount, inside

    mount, inside = cross(mount, inside)
    for name in filter(None, path.split("/")):
        at += f"/{name}"
        mount, inside = cross(mount, f"{inside.rstrip('/')}/{name}")
    return mount.device, inside


PATHS = [f"/{'/'.join(names)}" for names in [[], ["a"], ["b"], ["a", "b"], ["b", "a"], ["a", "b", "a"], ["a", "a"]]]


@given(trees(), some.integers(1, 3), some.sampled_from(PATHS))
def test_what_is_found_there_is_the_file(mounts, device, path):
    found = Table(mounts).path(device, path.encode())
    if found:
        assert walked(mounts, found.decode()) == (device, path)
    else:
        assert (device, path) not in [walked(mounts, one) for one in PATHS]


# ---- while mounts change --------------------------------------------------------------------------------------------


def line(device: int, root: str, point: str, number: int, parent: int) -> str:
    return f"{number} {parent} 0:{device} {root} {point} rw - tmpfs x rw\n"


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """Places, and how to change the mounts at a time."""
    (tmp_path / "self").mkdir()
    file = tmp_path / "self/mountinfo"
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    file.write_text(line(1, "/", "/", 10, 1) + line(2, "/", "/one", 11, 10))
    places = Places()
    places._changes = Changes()

    def change(at, *lines):
        file.write_text(line(1, "/", "/", 10, 1) + "".join(lines))
        monkeypatch.setattr(of_mounts.time, "monotonic_ns", lambda: at)
        places._changes.found = [0]
        places.look()
        places._changes.found = []

    return places, change


class Changes:
    def __init__(self) -> None:
        self.found: list[int] = []

    def poll(self, _milliseconds):
        return self.found


def test_a_mount_that_has_just_gone_is_known_for_what_was_called_before(changing):
    places, change = changing
    change(100)
    assert (places.path(2, b"/x", 90), places.path(2, b"/x", 110)) == (b"/one/x", b"")


def test_a_mount_that_has_just_come_is_known(changing):
    places, change = changing
    change(100, line(2, "/", "/one", 11, 10), line(3, "/", "/two", 12, 10))
    assert (places.path(3, b"/x", 90), places.path(3, b"/x", 110)) == (b"/two/x", b"/two/x")


def test_a_device_whose_number_is_used_again_at_once_is_not_known_for_what_was_called_before(changing):
    places, change = changing
    change(100, line(2, "/", "/other", 12, 10))
    assert (places.path(2, b"/x", 90), places.path(2, b"/x", 110)) == (None, b"/other/x")
    change(200, line(2, "/", "/other", 12, 10), line(4, "/", "/more", 13, 10))
    assert places.path(2, b"/x", 190) == b"/other/x"


# ---- in lines -------------------------------------------------------------------------------------------------------


class Here:
    """Places with one file system."""

    def path(self, device, path, _at):
        return {1: path, 2: b"/merged" + (b"" if path == b"/" else path), 3: b""}.get(device)


def file(part, *names, other=0, inode=7, state=0, magic=0xEF53, arg=0):
    head = DESCRIPTOR.pack(inode, other, magic, stat.S_IFREG, state)
    return Blob(arg, part, WHOLE, 3, head + b"".join(name + b"\0" for name in names))


P = (b"passwd", b"etc")
OWN = file(PART_FILE, *P)


@pytest.mark.parametrize(
    ("blobs", "said"),
    [
        ([OWN, file(PART_PLACE, *P, other=2)], ' /* host "/merged/etc/passwd" */'),
        ([OWN, file(PART_PLACE, *P, other=1)], ""),  # the same
        ([OWN, file(PART_PLACE, *P, other=3)], NOWHERE),
        ([OWN, file(PART_PLACE, *P, other=4)], UNKNOWN),
        ([OWN], UNKNOWN),
        ([OWN, file(PART_PLACE, *P, other=2, inode=8)], UNKNOWN),
        ([OWN, file(PART_PLACE, *P, other=2, state=UNSURE)], UNKNOWN),
        ([OWN, file(PART_PLACE, *P, other=2, state=CUT)], UNKNOWN),
        ([OWN, file(PART_PLACE, *P, other=2, state=DELETED)], UNKNOWN),
        ([file(PART_FILE, *P, state=CUT), file(PART_PLACE, *P, other=2)], ' /* host "/merged/etc/passwd" */'),
        ([file(PART_FILE, *P, state=UNSURE), file(PART_PLACE, *P, other=2)], ""),
        ([file(PART_FILE, *P, state=DELETED), file(PART_PLACE, *P, other=2)], ""),
        ([file(PART_FILE), file(PART_PLACE, b"/", other=2, state=ALONE)], ' /* host "/merged" */'),
        ([OWN, file(PART_PLACE, b"memfd:x", other=2, state=ALONE)], UNKNOWN),
        ([file(PART_FILE, b"x", magic=SOCKET), file(PART_PLACE, b"x", other=2)], ""),
        ([file(PART_FILE, b'a"\n*/'), file(PART_PLACE, b'a"\n*/', other=2)], ' /* host "/merged/a\\"\\n*/" */'),
        ([Blob(0, PART_FILE, WHOLE, 3, b""), Blob(0, PART_PLACE, WHOLE, 3, b"")], ""),  # no descriptor
        ([], ""),
    ],
)
def test_what_is_said_of_a_descriptor(blobs, said):
    rows = Rows(batch(make(blobs=blobs)), [0])
    hosts = Hosts(by_name("x86_64")["close"], Here())
    assert hosts.beside(rows, [["3"]], ["0"]) == ([["3" + said]], ["0"])


def test_what_is_said_of_a_descriptor_that_a_call_has_made():
    made = [blob._replace(arg=RESULT_ARG) for blob in (OWN, file(PART_PLACE, *P, other=2))]
    hosts = Hosts(by_name("x86_64")["openat"], Here())
    _, results = hosts.beside(Rows(batch(make(blobs=made)), [0]), [["AT_FDCWD"], ['"x"'], ["0"], ["0"]], ["3"])
    assert results == ['3 /* host "/merged/etc/passwd" */']
