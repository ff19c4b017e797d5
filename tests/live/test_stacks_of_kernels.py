"""User stacks on every kernel: the copy of the stack, and what perf tells of mappings, by build id or by inode.

The program has no library, so that all of its code is in one file, where a file has one number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tracer
from test_stack_traces import CHAIN, FRAME, names, only, run, stacks, without_start

Compile = Callable[..., Path]


@pytest.mark.parametrize("flags", [(), ("-Wl,--build-id=none",)], ids=["with build id", "without"])
def test_the_callers_of_a_static_program(compiled: Compile, flags: tuple[str, ...]) -> None:
    program = compiled("stacks", "-static", *flags)
    found = only(run(program, "chain"))
    assert without_start(names(found)) == [*CHAIN, "_start"]
    assert {FRAME.fullmatch(line)["path"] for line in found} == {str(program)}


def test_a_program_that_gives_way_to_another(compiled: Compile) -> None:
    one, other = compiled("stacks", "-static"), compiled("stacks", "-static", "-DOTHER", "-g")
    found = [stack for stack in stacks(run(one, "exec", other).file, "write") if "third" in names(stack)]
    assert [FRAME.fullmatch(stack[-1])["path"] for stack in found] == [str(one), str(other)]


def test_every_kind_of_program_is_loaded(compiled: Compile) -> None:
    """Those for all calls, with whatever else makes a record longer."""
    done = tracer.log(
        "-k", "-yy", "-T", "--lossless", "--string-limit", 4096, "--", compiled("stacks", "-static"), "thread"
    )
    assert done.status == 0 and done.counts[2] == 0, done.err
    assert without_start(names(only(done)))[:4] == CHAIN[:4]
