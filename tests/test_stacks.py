"""Stacks without a kernel: what hostile files and memory make of the parsers, and what is mapped where at which time."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.kernel import sideband
from isotrace.kernel.sideband import Ended, Executed, Forked, Lost, Mapped
from isotrace.render import stacks as rendered
from isotrace.stacks import cfi, elf, frames, maps
from isotrace.stacks.demangle import demangled
from isotrace.stacks.expression import Unsupported, evaluate
from isotrace.stacks.frames import End, Frame
from isotrace.stacks.perfmap import PerfMap
from isotrace.stacks.spaces import Spaces
from isotrace.stacks.unwind import REGISTERS, Code, unwind
from isotrace.trace.events import PART_FRAMES, STACK_ARG, Blob

LIBC = Path("/proc/self/maps").read_text().split("libc.so.6")[0].rsplit(" ", 1)[-1] + "libc.so.6"
PATHS = st.binary(max_size=30).filter(lambda path: b"\n" not in path and b"\0" not in path)


# ---- /proc/PID/maps and perf maps ---------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_any_bytes_are_maps_or_none(data):
    for one in maps.parse(data):
        assert 0 <= one.start < 1 << 64 and one.file.inode < 10**20


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 20), PATHS, st.booleans()), max_size=8))
def test_what_may_be_executed_is_read_from_maps(wanted):
    lines = [
        b"%x-%x r-%cp %08x 08:01 77%s%s\n"
        % (start, start + size, b"x" if runs else b"-", size, b" " * 20, path.lstrip())
        for start, size, path, runs in wanted
    ]
    found = [(one.start, one.end, one.file.path, one.file.device) for one in maps.parse(b"".join(lines))]
    assert found == [
        (start, start + size, path.lstrip().replace(b"\\012", b"\n"), os.makedev(8, 1))
        for start, size, path, runs in wanted
        if runs
    ]


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 1 << 64))
def test_any_bytes_are_a_perf_map_or_none(pieces, address):
    found, all_of_it = PerfMap(), b""
    for piece in pieces:
        all_of_it += piece
        found.add(all_of_it[found.size :])
    assert found.size == all_of_it.rfind(b"\n") + 1
    name = found.at(address)
    assert name is None or ((name[0].isascii() or name[0]) and name[1] <= address)


def test_of_a_perf_map_the_later_line_holds():
    found = PerfMap()
    found.add(b"1000 20 one\n1010 10 two\n2000 8 three\nno line\n3000 8 ")
    assert [found.at(place) for place in (0xFFF, 0x1000, 0x1010, 0x1020, 0x2007, 0x3000)] == [
        *(None, ("one", 0x1000), ("two", 0x1010), None, ("three", 0x2000), None)
    ]
    found.add(b"3000 8 four\n1008 100 five\n")
    assert [found.at(place) for place in (0x1004, 0x1010, 0x3000)] == [
        *(("one", 0x1000), ("five", 0x1008), ("four", 0x3000))
    ]


# ---- ELF files ----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_any_bytes_are_no_elf_file(data):
    with pytest.raises(ValueError, match="no ELF file"):
        elf.read(BytesIO(b"\x7fELF\2\1\1" + bytes(9) + data))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    """A small program."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to make an ELF file")
    directory = tmp_path_factory.mktemp("elf")
    (directory / "a.c").write_text("int f(int n) { return n; } int main(void) { return f(0); }")
    subprocess.run(["gcc", "-O0", "-o", directory / "a", directory / "a.c"], check=True)
    return (directory / "a").read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_elf_file_is_read_or_refused(small, data):
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, 1023) | st.integers(len(small) - 4096, len(small) - 1))
        changed[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(changed), len(changed) // 2, 100]))
    try:
        image = elf.read(BytesIO(bytes(changed[:cut])))
    except ValueError:
        return
    for address in (image.entry, 0x1139, data.draw(st.integers(0, 1 << 64))):
        image.row(address)
        image.symbol(address % (1 << 64))
        image.address(address)
        image.keeps_frame_pointer(address)


def test_functions_have_names_tables_and_prologues(small):
    image = elf.read(BytesIO(small))
    places = {name: place for name in (b"f", b"main") for place in [_value(small, name)]}
    for name, place in places.items():
        assert image.symbol(place + 4) == (name.decode(), place)
        assert image.row(place).cfa == (cfi.RSP, 8) and image.row(place + 4).cfa in ((cfi.RBP, 16), (cfi.RSP, 16))
        assert image.keeps_frame_pointer(place + 8) and not image.keeps_frame_pointer(place)
    assert image.row(image.entry).rules[cfi.RETURN][0] == cfi.UNDEFINED


def _value(program: bytes, name: bytes) -> int:
    file = elf._File(BytesIO(program))
    table, strings = file.section(".symtab")[0], file.section(".strtab")[0]
    for at in range(0, len(table), 24):
        begin = struct.unpack_from("<I", table, at)[0]
        if strings[begin : strings.index(b"\0", begin)] == name:
            return struct.unpack_from("<Q", table, at + 8)[0]
    raise AssertionError(name)


def test_without_a_table_to_search_the_entries_are_listed():
    if not os.path.exists(LIBC):
        pytest.skip("needs glibc")
    with elf.opened(LIBC) as stream:
        file = elf._File(stream)
        frames_, header = file.section(".eh_frame"), file.section(".eh_frame_hdr")
        searched, listed = cfi.Tables(*frames_, *header), cfi.Tables(*frames_, b"", 0)
    assert searched._begins.tolist() == listed._begins.tolist()
    for place in searched._begins.tolist()[::50]:
        assert searched.row(place) == listed.row(place)


@given(st.binary(max_size=200), st.integers(0, 1 << 32), st.binary(max_size=60))
def test_any_bytes_are_tables_for_unwinding_or_none(data, pc, header):
    with suppress(ValueError):
        cfi.Tables(data, 0x1000, b"\1\x1b\3\x3b" + header, 0x2000).row(pc)
    with suppress(ValueError, struct.error, IndexError):
        cfi.Tables(data, 0x1000, b"", 0).row(pc)


@given(st.binary(max_size=40))
def test_any_expression_ends(code):
    with suppress(Unsupported):
        assert 0 <= evaluate(code, {7: 0x1000, 16: 0x2000}, lambda address: address ^ 1, 5) < 1 << 64


def test_an_expression_of_the_plt():
    """As linkers write it: CFA = %rsp + 8 + ((%rip & 15) >= 11) << 3."""
    code = bytes.fromhex("77 08 80 00 3f 1a 3b 2a 33 24 22".replace(" ", ""))
    assert [evaluate(code, {7: 0x1000, 16: at}, lambda _: 0) for at in (0x20, 0x2B)] == [0x1008, 0x1010]


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_ZN3foo3barEi", "foo::bar(int)"),
        ("_ZN12_GLOBAL__N_13barEv", "(anonymous namespace)::bar()"),
        ("_ZN3foo3barEi.part.0", "foo::bar(int) [clone .part.0]"),
        ("write", "write"),
        ("_Z" + "N" * 900, "_Z" + "N" * 900),
        ("_Z" + "N" * 9000, "_Z" + "N" * 9000),
    ],
)
def test_names_are_demangled(mangled, name):
    assert demangled(mangled) == name


@given(st.text(max_size=60))
def test_any_name_is_demangled_or_left(name):
    assert isinstance(demangled("_Z" + name), str)


# ---- unwinding ----------------------------------------------------------------------------------------------------------


def registers(ip: int, sp: int, bp: int, segment: int = 0x33) -> bytes:
    values = [0] * 21
    values[16], values[19], values[4], values[17] = ip, sp, bp, segment
    return REGISTERS.pack(*values)


@given(
    st.binary(max_size=400), st.integers(0, 1 << 64 - 1), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)
)
def test_any_memory_is_unwound_to_an_end(memory, start, ip, bp):
    found, end = unwind(registers(ip, start, bp), start, memory, lambda address, called: Code(b"", address, made=True))
    assert 1 <= len(found) <= 256 and end != End.OUTERMOST


def test_stacks_of_32_bit_code_are_said_not_to_be_unwound():
    assert unwind(registers(1, 2, 3, 0x23), 0, b"", lambda *_: None) == ([], End.NOT_64_BIT)


def test_where_nothing_is_known_only_the_address_is_said():
    assert unwind(registers(0x1234, 0, 0), 0, b"", lambda *_: None) == ([Frame(b"", 0x1234)], End.UNKNOWN_CODE)


FRAMES = st.lists(
    st.builds(
        Frame, st.binary(max_size=600), st.integers(0, (1 << 64) - 1), st.text(max_size=600), st.integers(0, 1 << 63)
    ),
    max_size=80,
)


@given(FRAMES, st.sampled_from(End))
def test_frames_are_kept_as_far_as_there_is_room(given_frames, end):
    data, said = frames.pack(given_frames, end)
    found = frames.unpack(data)
    assert len(data) < 1 << 16 and said in (end, End.DEEP) and (said == end or len(found) < len(given_frames))
    for one, wanted in zip(found, given_frames, strict=False):
        assert (one.path, one.place, one.offset) == (wanted.path[:512], wanted.place, wanted.offset)


@given(st.binary(max_size=200), st.integers(0, 1 << 63))
def test_any_bytes_are_shown_as_plain_lines(data, state):
    blobs = [Blob(STACK_ARG, PART_FRAMES, 0, state, data)]
    lines = rendered.lines(blobs)
    assert lines.isascii() and all(not line or line.startswith(" > ") for line in lines.split("\n"))
    assert lines.replace("\n", "").isprintable()
    folded = rendered.folded(blobs)
    assert folded.isascii() and "\n" not in folded
    rendered.objects(blobs)


# ---- what is mapped, at which time --------------------------------------------------------------------------------------


def mapped(time: int, pid: int, start: int, path: bytes, size: int = 0x1000) -> Mapped:
    return Mapped(time, pid, start, size, 0, path, path, 0, 0)


def path_at(spaces: Spaces, pid: int, address: int, time: int) -> bytes | None:
    found = spaces.at(pid, time).find(address, time)
    return found.file.path if found else None


def test_an_address_is_what_it_was_at_that_time():
    spaces = Spaces()
    spaces.take([Executed(10, 1), mapped(11, 1, 0x1000, b"a"), mapped(20, 1, 0x1000, b"b"), Executed(30, 1)])
    spaces.take(
        [mapped(31, 1, 0x1000, b"c"), Forked(40, 2, 1), mapped(41, 1, 0x1000, b"d"), mapped(42, 2, 0x2000, b"e")]
    )
    assert [path_at(spaces, 1, 0x1800, time) for time in (10, 11, 19, 20, 30, 31, 41)] == [
        *(None, b"a", b"a", b"b", None, b"c", b"d")
    ]
    assert [path_at(spaces, 2, 0x1800, time) for time in (40, 99)] == [b"c", b"c"]
    assert [path_at(spaces, pid, 0x2000, 99) for pid in (1, 2)] == [None, b"e"]


def test_of_what_ran_before_nothing_is_known_until_it_is_said():
    spaces = Spaces()
    spaces.take([mapped(20, 1, 0x1000, b"new"), Forked(30, 2, 1)])
    space = spaces.at(1, 25)
    assert space.lacking and spaces.is_latest(1, space) and path_at(spaces, 1, 0x9000, 25) is None
    space.seed(maps.parse(b"1000-2000 r-xp 0 08:01 5 /old\n9000-a000 r-xp 0 08:01 6 /kept\n"))
    assert not space.lacking
    assert [path_at(spaces, 1, place, 25) for place in (0x1000, 0x9000)] == [b"new", b"/kept"]
    assert path_at(spaces, 1, 0x1000, 10) == b"/old"
    assert path_at(spaces, 2, 0x9000, 31) == b"/kept", "what is born has what its parent has"
    spaces.take([Executed(50, 1)])
    assert not spaces.is_latest(1, space)


def test_where_events_are_lost_nothing_is_known_until_the_next_program():
    spaces = Spaces()
    spaces.take([Executed(10, 1), mapped(11, 1, 0x1000, b"a"), Lost(20, 3), Forked(21, 2, 1), Ended(22, 1)])
    assert [path_at(spaces, 1, 0x1000, time) for time in (19, 20, 25)] == [b"a", None, None]
    assert path_at(spaces, 2, 0x1000, 25) is None and spaces.missed == 3
    spaces.take([Executed(30, 2), mapped(31, 2, 0x1000, b"b")])
    assert path_at(spaces, 2, 0x1000, 32) == b"b"


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), max_size=12), st.randoms(use_true_random=False))
def test_the_order_in_which_events_come_is_nothing(steps, random):
    """Of two CPUs' rings one may be read later."""
    events = [mapped(10 + i, 1, page * 0x1000, b"%d" % i, pages * 0x1000) for i, (pages, page) in enumerate(steps)]
    shuffled = [Executed(5, 1), *random.sample(events, len(events))]
    spaces = Spaces()
    spaces.take(shuffled)
    for time in range(9, 10 + len(events)):
        for page in range(12):
            wanted = [one for one in events if one.time <= time and one.start <= page << 12 < one.start + one.size]
            assert path_at(spaces, 1, page << 12, time) == (wanted[-1].path if wanted else None)


def test_what_is_known_of_a_process_stays_within_bounds():
    spaces = Spaces()
    spaces.take([Executed(1, 1), mapped(2, 1, 0x1000, b"below")])
    spaces.take([mapped(3 + i, 1, (i % 16 + 2) << 12, b"%d" % i) for i in range(20_000)])
    assert len(spaces.at(1, 99_999).mappings) <= 8192
    assert path_at(spaces, 1, 2 << 12, 99_999) == b"19984"
    assert path_at(spaces, 1, 0x1000, 99_999) == b"below"
    assert path_at(spaces, 1, 2 << 12, 10) is None, "what was then is not known any more"


def test_events_of_perf_are_read():
    """As struct perf_event_mmap_page and its kin have them in uapi/linux/perf_event.h."""
    place = struct.pack("=IIQQQ", 7, 8, 0x1000, 0x2000, 0x3000)
    behind = struct.pack("=II", 5, 2) + b"/lib/x".ljust(8, b"\0") + struct.pack("=Q", 99)
    by_id = place + struct.pack("=BBH20s", 20, 0, 0, bytes(range(20))) + behind
    by_inode = place + struct.pack("=IIQQ", 8, 1, 77, 3) + behind
    tasks = struct.pack("=IIIIQQ", 7, 6, 7, 6, 98, 99)
    comm = struct.pack("=II", 7, 7) + b"name".ljust(8, b"\0") + struct.pack("=Q", 99)
    found = [
        sideband._event(kind, misc, struct.pack("=IHH", kind, misc, 8 + len(data)) + data)
        for kind, misc, data in (
            *((10, 1 << 14, by_id), (10, 0, by_inode), (7, 0, tasks), (4, 0, tasks), (3, 1 << 13, comm), (3, 0, comm)),
        )
    ]
    assert found == [
        Mapped(99, 7, 0x1000, 0x2000, 0x3000, b"/lib/x", bytes(range(20)), 0, 0),
        Mapped(99, 7, 0x1000, 0x2000, 0x3000, b"/lib/x", b"", os.makedev(8, 1), 77),
        *(Forked(99, 7, 6), Ended(99, 7), Executed(99, 7), None),
    ]
