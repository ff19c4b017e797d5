"""Durations, sizes, targets, hints: what the command line turns words into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace import units
from isotrace.backends.loader import expand
from isotrace.errors import IsotraceError, UsageError
from isotrace.kernel.bcc import install_hint
from isotrace.trace.target import Target, parse_uid, read_process


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("500ms", 0.5), ("1.5h", 5400), ("1m30s", 90), ("2d", 172800)]
)
def test_durations(text, seconds):
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "10x", "-3s", "0", "1h junk", "s"])
def test_bad_durations_have_a_hint(text):
    with pytest.raises(UsageError) as error:
        units.duration(text)
    assert error.value.hint


@pytest.mark.parametrize(("text", "size"), [("65536", 65536), ("64k", 65536), ("16M", 1 << 24), ("1GiB", 1 << 30)])
def test_sizes(text, size):
    assert units.size(text) == size


@given(st.text(max_size=20))
def test_sizes_and_durations_refuse_or_answer(text):
    for parse in (units.size, units.duration):
        try:
            assert parse(text) >= 0
        except UsageError as error:
            assert error.hint


def test_a_user_by_name_and_by_number():
    assert parse_uid("root") == 0
    assert parse_uid("1234") == 1234
    with pytest.raises(UsageError):
        parse_uid("no such user")


def test_a_target_of_nothing_is_refused():
    with pytest.raises(UsageError):
        Target().check()


def test_a_process_that_does_not_exist_is_named():
    with pytest.raises(IsotraceError) as error:
        Target(ppid=(1 << 22) - 1).check()
    assert "no such process" in error.value.message and error.value.status == 1


def test_a_name_longer_than_the_kernel_keeps_is_refused():
    with pytest.raises(UsageError):
        Target(comm="a-name-of-sixteen").check()


def test_conditions_become_constants():
    defines = Target(ppid=7, uid=0, comm="sh", follow=True).defines()
    assert {"FILTER_PPID=7", "FILTER_UID=0", "FOLLOW", f"SELF={os.getpid()}"} <= set(defines)
    assert f"FILTER_COMM_0={int.from_bytes(b'sh', 'little')}ULL" in defines


def test_a_process_is_read_whatever_its_name():
    own = read_process(os.getpid())
    assert own is not None and own.ppid == os.getppid()


@pytest.mark.parametrize(
    ("release", "package"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "apt-get install python3-bpfcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-bcc"),
        ("ID=arch\n", "pacman -S python-bcc"),
        ("ID=plan9\n", "python3-bpfcc (Debian, Ubuntu)"),
    ],
)
def test_the_package_that_has_bcc(release, package):
    assert package in install_hint(release)


def test_sources_are_one_file_for_bcc():
    text = expand("trace.c")
    assert '#include "' not in text
    assert "struct event {" in text and "is_watched(" in text


def test_no_two_files_of_tests_have_one_name():
    """pytest does not collect two of one name, and what runs only a part of them does not notice."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
