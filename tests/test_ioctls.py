"""What ioctl requests point to: structs that a real program would need a device for."""

from __future__ import annotations

import struct

from isotrace.catalog import load
from isotrace.catalog.alternatives import chooser
from isotrace.decode.structs import STRUCTS


def test_a_map_of_extents_is_shown_as_asked_and_as_filled():
    text = STRUCTS["fiemap"].decode(struct.pack("<QQIIII", 0, 4096, 1, 3, 0, 0))
    assert text == (
        "{fm_start=0, fm_length=4096, fm_flags=FIEMAP_FLAG_SYNC, fm_extent_count=0} => "
        "{fm_flags=FIEMAP_FLAG_SYNC, fm_mapped_extents=3, ...}"
    )


def test_a_loop_devices_key_is_no_longer_than_it_has_room_for():
    head = struct.pack("<QQQQQIIII", 0, 0, 0, 0, 0, 1, 1, 0xFFFFFFFF, 0)
    text = STRUCTS["loop_info64"].decode(head + b"f".ljust(64, b"\0") + b"c".ljust(64, b"\0") + b"k" * 32 + bytes(16))
    assert 'lo_crypt_name="c", lo_encrypt_key="' + "k" * 32 + '", ...}' in text


def test_every_request_is_of_a_struct_that_there_is():
    call = load.by_name("x86_64")["ioctl"]
    kinds = ("in", "out", "inout", "either", "inarray", "outarray")
    cases = [case.arg for case in chooser(call, call.args[2]).cases if case.arg.kind in kinds]
    names = {name for arg in cases for name in arg.params if not name.isdecimal()}
    assert names - set(STRUCTS) == set()
    assert all(STRUCTS[name].size <= 304 for name in names)
