"""What ioctl requests point to: structs that a real program would need a device for."""

from __future__ import annotations

import struct

import pytest

from isotrace.catalog import alternatives, load
from isotrace.catalog.alternatives import chooser
from isotrace.decode import style, xlat
from isotrace.decode.ioctl_data import IOCTLS
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


STRUCT_KINDS = ("in", "out", "inout", "either", "inarray", "outarray")


def structs(abi):
    """Of each case of ioctl that is about a struct its requests, and the names of the structs."""
    call = load.by_name(abi)["ioctl"]
    for case in chooser(call, call.args[2]).cases:
        if case.arg.kind in STRUCT_KINDS:
            yield case.tests[0].values, [name for name in case.arg.params if not name.isdecimal()]


@pytest.mark.parametrize("abi", ["x86_64", "x32", "i386"])
def test_every_request_is_of_a_struct_that_there_is(abi):
    names = {name for _, names in structs(abi) for name in names}
    assert names - set(STRUCTS) == set()
    assert all(STRUCTS[name].size <= 304 for name in names)


def size(abi, request):
    """How many bytes the kernel fills or reads at most."""
    number = {name: value for value, name in IOCTLS.items()}[request]
    return max(STRUCTS[name].size for values, names in structs(abi) if number in values for name in names)


@pytest.mark.parametrize(
    ("request_name", "wide", "narrow"),
    [
        *[("BLKGETSIZE", 8, 4), ("BLKRAGET", 8, 4), ("BLKFRAGET", 8, 4), ("HDIO_GETGEO", 16, 8)],
        *[("LOOP_GET_STATUS", 168, 140), ("LOOP_SET_STATUS", 168, 140), ("LOOP_GET_STATUS64", 232, 232)],
        *[("SIOCGIFCONF", 16, 8), ("SIOCGIFMAP", 40, 32), ("SIOCSIFMAP", 40, 32), ("SIOCGIFADDR", 40, 32)],
        *[("BLKGETSIZE64", 8, 8), ("FIONREAD", 4, 4)],
    ],
)
def test_structs_of_32_bit_calls_have_their_own_length(request_name, wide, narrow):
    assert [size(abi, request_name) for abi in ("x86_64", "x32", "i386")] == [wide, narrow, narrow]


def test_the_clocks_numbers_that_have_a_length_in_them_are_known_by_32_bit_calls():
    call = load.by_name("i386")["ioctl"]
    assert chooser(call, call.args[2]).choose((3, 0x8004700B, 0, 0, 0, 0)).params == ("ulong32",)


def test_what_a_32_bit_disk_or_interface_is():
    assert STRUCTS["hd_geometry32"].decode(struct.pack("<BBHI", 255, 63, 7, 2048)) == (
        "{heads=255, sectors=63, cylinders=7, start=2048}"
    )
    request = b"eth0".ljust(16, b"\0") + struct.pack("<IIHBBB", 1, 2, 3, 4, 5, 6).ljust(16, b"\0")
    assert STRUCTS["ifreq_map32"].decode(request) == (
        '{ifr_name="eth0", ifr_map={mem_start=0x1, mem_end=0x2, base_addr=0x3, irq=0x4, dma=0x5, port=0x6}}'
    )


def test_a_row_has_the_cases_of_another_behind_its_own():
    own, other = alternatives.kinds("fcntl_i386"), alternatives.kinds("fcntl")
    assert own[-len(other) :] == other and own[0].params == ("flock32_pid",)


def test_what_a_userfaultfd_was_asked_for_is_not_taken_from_what_it_answers():
    text = STRUCTS["uffdio_api"].decode(struct.pack("<QQQ", 0xAA, 1, 1 << 63 | 1))
    assert text == (
        "{api=0xaa, features=? => features=UFFD_FEATURE_PAGEFAULT_FLAG_WP, ioctls=1<<_UFFDIO_REGISTER|1<<_UFFDIO_API}"
    )


def test_registers_of_a_virtual_processor_are_whole_where_that_is_asked_for():
    data = struct.pack("<18Q", *range(18))
    assert STRUCTS["kvm_regs"].decode(data) == "{rax=0, ..., rsp=0x6, rbp=0x7, ..., rip=0x10, rflags=0x11}"
    assert STRUCTS["kvm_regs"].full.decode(data).count("=") == 18


@pytest.mark.parametrize(
    ("request_number", "name"),
    [
        *[(0x80184540, "EVIOCGABS(ABS_X)"), (0x401845F5, "EVIOCSABS(ABS_MT_POSITION_X)")],
        *[(0x8018454E, "EVIOCGABS(0xe /* ABS_??? */)"), (0x80604521, "EVIOCGBIT(EV_KEY, 96)")],
        *[(0x80084520, "EVIOCGBIT(0, 8)"), (0x81004506, "EVIOCGNAME(256)")],
        # what has another size than the struct is no such request
        *[(0x80144540, "_IOC(_IOC_READ, 0x45, 0x40, 0x14)"), (0x40604521, "_IOC(_IOC_WRITE, 0x45, 0x21, 0x60)")],
    ],
)
def test_requests_of_input_devices_say_what_is_in_their_number(request_number, name):
    assert xlat.enum("ioctl_cmds", request_number) == name


def test_a_part_of_a_request_that_has_no_name_is_no_comment_in_a_comment():
    with style.used(style.Style("verbose")):
        assert xlat.enum("ioctl_cmds", 0x8018454E) == "0x8018454e /* EVIOCGABS(0xe) */"


def test_an_effects_number_that_the_kernel_has_chosen_is_not_what_was_asked_for():
    rumble = struct.pack("<HhHHHHHxxHH", 0x50, 3, 0x4000, 0, 0, 100, 0, 7, 8).ljust(48, b"\0")
    assert STRUCTS["ff_effect"].decode(rumble) == "{type=FF_RUMBLE, id=3, direction=16384, ...}"
    whole = STRUCTS["ff_effect_uploaded"].full.decode(rumble)
    assert whole.startswith("{type=FF_RUMBLE, id=? => 3, direction=16384, trigger={button=0, interval=0}")
    assert whole.endswith("replay={length=100, delay=0}, rumble={strong_magnitude=7, weak_magnitude=8}}")


def test_a_namespace_says_of_what_kind_it_is():
    call = load.by_name("x86_64")["ioctl"]
    kind = chooser(call, alternatives.result_arg(call)).choose((3, 0xB703, 0, 0, 0, 0))
    assert (kind.kind, kind.params) == ("enum", ("setns_types",))
