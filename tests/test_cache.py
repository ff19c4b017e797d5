"""What is kept of compiled programs: found again, and never taken from a place that others can write."""

from __future__ import annotations

import os
import struct

import pytest

from isotrace.backends import cache, compiled, loader
from isotrace.backends.compiled import Compiled, MapDefinition, Program

NAME = "0" * 64
KEPT = Compiled(
    {"on_exit": Program(b"\x95" + bytes(7), ((0, 0),), ((8, 1),))}, (MapDefinition("events", 27, 0, 0, 65536, 0),)
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    monkeypatch.setenv("ISOTRACE_CACHE", str(path))
    return path


def _file(place):
    (found,) = place.iterdir()
    return found


def test_what_was_kept_is_found(place):
    assert cache.read(NAME) is None and not cache.is_warm()
    cache.write(NAME, KEPT)
    assert cache.read(NAME) == KEPT and cache.is_warm()
    assert place.stat().st_mode & 0o777 == 0o700 and _file(place).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("position", [0, 70, -1])
def test_a_damaged_file_is_no_file_and_is_written_anew(place, position):
    cache.write(NAME, KEPT)
    data = bytearray(_file(place).read_bytes())
    data[position] ^= 1
    _file(place).write_bytes(data)
    assert cache.read(NAME) is None
    cache.write(NAME, KEPT)
    assert cache.read(NAME) == KEPT


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n{}"])
def test_any_other_content_is_no_file(place, content):
    cache.write(NAME, KEPT)
    _file(place).write_bytes(content)
    assert cache.read(NAME) is None


def test_a_file_under_another_name_is_no_file(place):
    cache.write(NAME, KEPT)
    os.rename(_file(place), place / f"{'1' * 64}.bpf")
    assert cache.read("1" * 64) is None


def test_a_directory_that_others_can_enter_is_not_used(place):
    cache.write(NAME, KEPT)
    place.chmod(0o755)
    assert cache.read(NAME) is None and not cache.is_warm()
    cache.write("2" * 64, KEPT)
    assert len(list(place.iterdir())) == 1


def test_a_file_that_others_can_write_is_not_used(place):
    cache.write(NAME, KEPT)
    _file(place).chmod(0o666)
    assert cache.read(NAME) is None


def test_what_belongs_to_somebody_else_is_not_used(place, monkeypatch):
    cache.write(NAME, KEPT)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.read(NAME) is None and not cache.is_warm()


def test_links_are_not_followed(place, tmp_path):
    cache.write(NAME, KEPT)
    elsewhere = tmp_path / "elsewhere"
    os.rename(_file(place), elsewhere)
    (place / f"{NAME}.bpf").symlink_to(elsewhere)
    assert cache.read(NAME) is None
    cache.write(NAME, KEPT)
    assert cache.read(NAME) == KEPT and not (place / f"{NAME}.bpf").is_symlink()


def test_it_can_be_turned_off(place, monkeypatch):
    cache.write(NAME, KEPT)
    monkeypatch.setenv("ISOTRACE_CACHE", "off")
    assert cache.read(NAME) is None and cache.directory() is None
    cache.write(NAME, KEPT)


def test_only_so_many_are_kept(place):
    for number in range(cache._MOST + 3):
        cache.write(f"{number:064}", KEPT)
    assert len(list(place.iterdir())) == cache._MOST


def test_an_output_that_fails_leaves_no_part(place, monkeypatch):
    cache.write(NAME, KEPT)

    def full(*_paths, **_fds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    cache.write("3" * 64, KEPT)
    assert len(list(place.iterdir())) == 1


def _key(**changes):
    request = {"source": "trace.c", "constants": ["A=1"], "programs": {"on_exit": "RAW_TRACEPOINT"}, "ending": ""}
    return loader.key(request | changes)


def test_the_name_follows_from_all_that_the_content_follows_from(monkeypatch, tmp_path):
    names = [_key(), _key(source="counts.c"), _key(constants=["A=2"]), _key(ending="int x;"), _key(programs={})]
    monkeypatch.setattr(cache, "_KERNEL", tmp_path / "another")
    names.append(_key())
    monkeypatch.setattr(cache, "_LIBRARIES", ())
    names.append(_key())
    assert len(set(names)) == len(names)
    assert _key() == names[-1]


def test_a_changed_source_has_another_name(monkeypatch, tmp_path):
    (tmp_path / "trace.c").write_text('#include "event.h"\n')
    (tmp_path / "event.h").write_text("int x;\n")
    monkeypatch.setattr(loader, "SOURCES", tmp_path)
    before = _key()
    (tmp_path / "event.h").write_text("int y;\n")
    assert _key() != before


def test_targets_and_processes_share_what_is_compiled():
    open_, values = loader.open_constants(["SELF=77", "FILTER_COMM_1=18446744073709551615ULL", "FOLLOW", "X=1"])
    assert open_ == ["SELF=PARAMETER(00)", "FILTER_COMM_1=PARAMETER(05)", "FOLLOW", "X=1"]
    assert values == {"SELF": 77, "FILTER_COMM_1": (1 << 64) - 1}


def _op(opcode, source=0, immediate=0):
    return struct.pack("<BBhI", opcode, source << 4, 0, immediate)


def test_descriptors_and_parameters_are_left_open_and_filled_in():
    load_map = _op(0x18, 1, 41) + _op(0)
    tag = _op(0x18, 0, 0x72000001) + _op(0, 0, 0x69736F74)
    other = _op(0x18, 0, 7) + _op(0, 0, 9)
    found = compiled.relocatable(load_map + tag + other, [40, 41])
    assert found.maps == ((0, 1),) and found.parameters == ((16, 1),)
    filled = compiled._filled(found, [5, 6], {"FILTER_PID": 0x1_0000_0002})
    assert filled == _op(0x18, 1, 6) + _op(0) + _op(0x18, 0, 2) + _op(0, 0, 1) + other


@pytest.mark.parametrize("code", [_op(0x85, 1, 3), _op(0x18, 3, 9) + _op(0)])
def test_what_cannot_be_kept_is_refused(code):
    with pytest.raises(ValueError):
        compiled.relocatable(code, [])
