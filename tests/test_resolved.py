"""``log --resolve``: which path a relative one is, and when that is not known."""

from __future__ import annotations

import stat

import pytest

from isotrace.backends import tracepoint
from isotrace.backends.compiled import Refused
from isotrace.catalog import by_name, rings
from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, UNSURE
from isotrace.errors import KernelError
from isotrace.render.resolved import BASE_ROOT, whole
from isotrace.trace.captures import bases_of
from isotrace.trace.events import FAULT, PART_BASE, WHOLE, Blob

HOME = -100 & 0xFFFFFFFFFFFFFFFF


def base(*names, number=HOME, inode=7, changes=4, state=0, mode=stat.S_IFDIR, read=WHOLE):
    """A directory as the kernel program tells of it: its names from its own up."""
    head = dict(zip(DESCRIPTOR_FIELDS, (inode, changes, 0, mode, state), strict=True))
    return Blob(1, PART_BASE, read, number, DESCRIPTOR.pack(*head.values()) + b"".join(n + b"\0" for n in names))


DESCRIPTOR_FIELDS = ("inode", "other", "magic", "mode", "state")
D = (b"d", b"home")
ROOT = {"number": BASE_ROOT}


@pytest.mark.parametrize(
    ("given", "bases", "path"),
    [
        (b"f", [base(*D), base(*D)], b"/home/d/f"),
        (b"../f", [base(*D), base(*D)], b"/home/d/../f"),
        (b"f", [base(), base()], b"/f"),
        (b"f", [base(*D, number=3), base(*D, number=3)], b"/home/d/f"),
        (b"/f", [base(**ROOT), base(**ROOT)], b"/f"),
        (b"/f", [base(b"jail", **ROOT), base(b"jail", **ROOT)], b"/jail/f"),
        (b"/", [base(b"jail", **ROOT), base(b"jail", **ROOT)], b"/jail/"),
    ],
)
def test_a_path_begins_where_the_caller_was(given, bases, path):
    assert whole(given, bases) == path


@pytest.mark.parametrize(
    "bases",
    [
        [],
        [base(*D)],
        [base(*D), base(b"e", b"home")],  # renamed
        [base(*D), base(*D, changes=6)],  # a thread was elsewhere, and came back
        [base(*D), base(*D, inode=8)],  # another directory of that name
        [base(*D, state=UNSURE), base(*D)],
        [base(*D), base(*D, state=UNSURE)],
        *([base(*D, state=state)] * 2 for state in (CUT, DELETED, ALONE)),
        [base(*D, mode=stat.S_IFREG)] * 2,
        [base(*D, read=FAULT), base(*D)],
        [base(*D, **ROOT)] * 2,  # the path was another when the program looked
    ],
)
def test_what_may_have_been_another_directory_is_not_known(bases):
    assert whole(b"f", bases) is None


def test_an_absolute_path_that_was_not_in_memory_is_whole_where_nothing_is_above_the_root():
    assert whole(b"/f", [base(*D), base(**ROOT)]) == b"/f"
    assert whole(b"/f", [base(*D), base(b"jail", **ROOT)]) is None
    assert whole(b"/f", [base(*D), base(changes=6, **ROOT)]) is None
    assert whole(b"/f", [base(*D), base(*D)]) is None


def test_who_moves_by_the_call_itself_began_elsewhere():
    assert whole(b"e", [base(*D), base(b"e", *D, changes=6)], moved=True) == b"/home/d/e"
    assert whole(b"e", [base(*D), base(b"e", *D, changes=8)], moved=True) is None
    assert whole(b"e", [base(*D), base(*D)], moved=True) is None


def test_a_path_begins_at_the_directory_before_it():
    table = by_name("x86_64")
    assert [(row.arg, row.unit) for row in bases_of(table["renameat2"])] == [(1, 1), (3, 3)]
    assert [(row.arg, row.unit) for row in bases_of(table["rename"])] == [(0, 0), (1, 0)]
    assert [(row.arg, row.unit) for row in bases_of(table["symlinkat"])] == [(2, 2)]
    assert [row.arg for row in bases_of(table["mount"])] == [1]
    assert [row.arg for row in bases_of(rings.by_name()["io_uring:symlinkat"])] == [2]


def test_a_kernel_that_does_not_take_the_programs_is_named_with_the_option():
    refused = Refused("cannot load the program 'exit_memory': E2BIG", "BPF program is too large")
    for constants, words in (
        (["RESOLVE", "DESCRIPTORS"], "--resolve"),
        (["DESCRIPTORS", "STACKS", "OFF_PID=4"], "-y, -k"),
        (["RINGS", "RINGS_KNOWN=3"], "operations of io_uring in --calls"),
    ):
        error = tracepoint.with_options(refused, constants)
        assert error.message == f"this kernel rejects the BPF programs for {words}: BPF program is too large"
        assert isinstance(error, KernelError) and error.hint.startswith("leave ")
    assert tracepoint.with_options(refused, ["MEASURE_TIME"]) is refused
