"""Operations of io_uring in a run: whether this kernel tells of them, and saying so where it does not."""

from __future__ import annotations

from isotrace.catalog import rings as catalogue
from isotrace.enforce import rings as held
from isotrace.errors import KernelError
from isotrace.kernel import btf
from isotrace.kernel.rings import Layout, Untold, layout
from isotrace.process.telling import say
from isotrace.trace import rings
from isotrace.trace.target import Target


def asked(calls: frozenset[str] | None) -> Layout | None:
    """How this kernel tells of those that ``calls`` selects; None where it selects none, or the kernel does not.

    Raises ``KernelError`` where nothing else is asked for.
    """
    if not rings.selected(calls):
        return None
    try:
        return layout(btf.vmlinux(), rings.places())
    except Untold as error:
        if calls is not None and calls <= catalogue.names():
            raise KernelError(
                f"this kernel does not tell of io_uring's operations: {error}",
                "--calls io_uring_enter shows when they are asked for",
            ) from None
        return None


def say_untold(target: Target, calls: frozenset[str] | None, *, told: bool) -> None:
    """Say it where the target has a ring whose operations are asked for, and not ``told``."""
    if told or target.command or not rings.selected(calls):
        return
    found = held.holders(held.of_target(target))
    if found:
        say(f"{held.named(found)} may use io_uring: what is asked of it there is not shown, nothing here tells of it")
