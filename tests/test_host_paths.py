"""``log --host-paths``: where a file is for isotrace, by its place in a file system and the mounts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from records import batch, make

from isotrace.catalog import by_name
from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, SOCKET, UNSURE
from isotrace.errors import KernelError
from isotrace.kernel import places as of_mounts
from isotrace.kernel import procfs
from isotrace.kernel.places import Places, Table
from isotrace.kernel.procfs import Mount
from isotrace.render.hosts import UNKNOWN, Hosts
from isotrace.render.rows import Rows
from isotrace.trace.events import PART_FILE, PART_PLACE, RESULT_ARG, WHOLE, Blob


@pytest.mark.parametrize(
    ("mounts", "device", "path", "found"),
    [
        ([(1, "/", "/")], 1, "/etc/passwd", ["/etc/passwd"]),
        ([(1, "/", "/")], 2, "/etc/passwd", []),
        ([(1, "/", "/"), (2, "/", "/merged")], 2, "/etc/passwd", ["/merged/etc/passwd"]),
        ([(2, "/", "/merged")], 2, "/", ["/merged"]),
        ([(2, "/sub", "/srv")], 2, "/sub/x", ["/srv/x"]),
        ([(2, "/sub", "/srv")], 2, "/sub", ["/srv"]),
        ([(2, "/sub", "/srv")], 2, "/subway", []),
        ([(2, "/", "/long/way"), (2, "/a", "/b")], 2, "/a/x", ["/b/x", "/long/way/a/x"]),
        ([(2, "/file", "/etc/hosts")], 2, "/file", ["/etc/hosts"]),
    ],
)
def test_where_a_file_may_be_by_the_mounts_of_its_file_system(mounts, device, path, found):
    assert list(Table([Mount(*mount) for mount in mounts]).paths(device, path)) == found


NOW = 1 << 62  # ns

# ---- what is believed -----------------------------------------------------------------------------------------------


@pytest.fixture
def places():
    try:
        return Places()
    except KernelError as error:
        pytest.skip(f"needs cached_lookup: {error.message}")


def known_as(path: Path) -> tuple[int, bytes, int]:
    """Device, path in the file system, number of the inode, of a file that is on no overlay."""
    at = max((one for one in procfs.mounts() if path.is_relative_to(one.point)), key=lambda one: len(one.point))
    inside = f"{at.root.rstrip('/')}/{path.relative_to(at.point)}"
    return at.device, inside.encode(), path.stat().st_ino


def test_a_file_is_found_by_what_it_is(places, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.touch()
    other.touch()
    for own in (None, b"/nowhere/file", bytes(other)):
        assert places.path(own, *known_as(file), NOW) == bytes(file)
    assert places.path(bytes(tmp_path / "other"), *known_as(other), NOW) == bytes(other)


def test_what_is_elsewhere_by_now_is_not_found(places, tmp_path):
    file = tmp_path / "file"
    file.touch()
    what = known_as(file)
    file.rename(tmp_path / "moved")
    assert places.path(bytes(file), *what, NOW) is None
    file.touch()
    places.look()
    assert places.path(bytes(file), *what, NOW) is None, "another file"
    file.unlink()
    file.symlink_to("moved")
    places.look()
    assert places.path(bytes(file), *what, NOW) is None, "a link"
    assert places.path(bytes(tmp_path / "moved"), *what, NOW) == bytes(tmp_path / "moved")


def test_another_file_system_with_the_same_numbers_is_not_it(places, tmp_path):
    (tmp_path / "file").touch()
    device, path, inode = known_as(tmp_path / "file")
    assert places.path(bytes(tmp_path / "file"), device + 1, path, inode, NOW) is None


def test_mounts_are_read_again_where_a_path_is_not_found(places, tmp_path, monkeypatch):
    """A directory that is renamed changes where mounts are, and no event says so."""
    (tmp_path / "file").touch()
    places._table = Table(
        [one for one in procfs.mounts() if one.point != "/" and not tmp_path.is_relative_to(one.point)]
    )
    places.look()
    assert places.path(None, *known_as(tmp_path / "file"), NOW) == bytes(tmp_path / "file")


def test_where_a_mount_of_the_device_has_come_since_its_number_may_have_been_anothers(places, tmp_path):
    (tmp_path / "file").touch()
    what = known_as(tmp_path / "file")
    before = procfs.monotonic()
    places._table = Table([one for one in procfs.mounts() if one.device != what[0]])
    places._read()
    assert places.path(bytes(tmp_path / "file"), *what, before) is None
    assert places.path(bytes(tmp_path / "file"), *what, NOW) == bytes(tmp_path / "file")


def test_a_kernel_that_cannot_follow_paths_at_once_is_told_from_others(monkeypatch):
    monkeypatch.setattr(of_mounts, "_CACHED", 1 << 40)
    with pytest.raises(KernelError, match="without waiting"):
        Places()


# ---- in lines -------------------------------------------------------------------------------------------------------


class Here:
    """Places with two file systems."""

    def path(self, own, device, path, _inode, _at):
        return {1: own, 2: b"/merged" + (b"" if path == b"/" else path)}.get(device)


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
