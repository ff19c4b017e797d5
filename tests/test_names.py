"""Names of processes and patterns of them: the table that the kernel program matches by."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.errors import UsageError
from isotrace.trace import names
from isotrace.trace.target import Target

WORDS = st.text("ab[]!-^*?", max_size=8)


def by_words(table: names.Table, name: bytes) -> bool:
    """As word_matches of bpf/filter.h does: a word of 64 bits at a time, without what goes over its end."""
    for word in range(table.words):
        repeating, state = table.bytes[256][word], table.bytes[257][word]
        state |= (state & repeating) << 1
        for byte in name:
            accepted = state & table.bytes[byte][word]
            state = ((accepted & ~repeating) << 1 | accepted & repeating) & (1 << 64) - 1
            state |= (state & repeating) << 1 & (1 << 64) - 1
        if state & table.bytes[0][word]:
            return True
    return False


@given(WORDS.filter(lambda word: "^" not in word), st.text("ab[]!-*?", max_size=8))
def test_a_pattern_matches_what_the_shell_would(pattern, name):
    assert names.match((pattern,), name.encode()) == fnmatch.fnmatchcase(name, pattern)


@given(st.lists(WORDS, min_size=1, max_size=7), st.text("ab[]!-^*?", max_size=15))
def test_the_kernel_s_words_say_the_same(patterns, name):
    patterns = tuple(patterns)
    assert by_words(names.table(patterns), name.encode()) == names.match(patterns, name.encode())


@pytest.mark.parametrize(
    ("name", "pattern"), [("nginx", False), ("ngin*", True), ("a[b", False), ("a[b]", True), ("?", True)]
)
def test_what_is_more_than_a_name(name, pattern):
    assert names.is_pattern(name) == pattern
    assert bool(Target(comm=name).table) == pattern


def test_names_that_cannot_be_are_refused():
    Target(comm=("fifteen-letters*", "*?")).check_name()
    for bad in ("sixteen--letters*", "?" * 16):
        with pytest.raises(UsageError, match="longer than a process name can be"):
            Target(comm=bad).check_name()
    with pytest.raises(UsageError, match="too many"):
        Target(comm=tuple(f"name-{i:03}-*" for i in range(40))).defines()


def test_of_several_one_must_hold():
    defines = Target(pid=(7, 8), ppid=9, comm=("a", "b*")).defines()
    assert {"FILTER_PIDS", "FILTER_PPID=9", "FILTER_COMM_WORDS=1"} <= set(defines)
    assert not any(define.startswith(("FILTER_PID=", "FILTER_COMM_0")) for define in defines)
    assert {"chosen", "comm_bytes"} <= set(Target(pid=(7, 8), comm=("a", "b*")).maps)
    assert str(Target(pid=(7, 8), comm=("a", "b*"), follow=True)) == "--pid 7 --pid 8 --comm a --comm b* -f"
