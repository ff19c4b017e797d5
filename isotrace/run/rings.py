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
        _refuse_alone(calls, f"this kernel does not tell of io_uring's operations: {error}")
        return None


def not_by_module(calls: frozenset[str] | None) -> None:
    """Raises ``KernelError`` where ``calls`` selects nothing but operations: the kernel module does not tell of them."""
    _refuse_alone(calls, "the kernel module does not tell of io_uring's operations")


def _refuse_alone(calls: frozenset[str] | None, why: str) -> None:
    if calls is not None and calls <= catalogue.names():
        raise KernelError(why, "--calls io_uring_enter shows when processes submit them")


def say_untold(target: Target, calls: frozenset[str] | None, *, told: bool) -> None:
    """Say it where operations are asked for and not ``told``, and who of the target may have a ring."""
    if told or not rings.selected(calls):
        return
    found = [] if target.command else held.holders(held.of_target(target))
    whose = f"; {held.named(found)} may have a ring" if found else ""
    say(f"operations of io_uring are not shown: nothing here reports them{whose}")
