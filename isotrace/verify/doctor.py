"""The row of ``isotrace doctor --verify``: whether rules of every kind hold on this kernel, when they are attacked."""

from __future__ import annotations

from isotrace.enforce import plan as planning
from isotrace.enforce.findings import KernelFindings
from isotrace.errors import IsotraceError
from isotrace.kernel.features import Feature
from isotrace.policy import names, nets, paths
from isotrace.policy.model import Group, Policy, Rule
from isotrace.trace.target import Target
from isotrace.verify.run import Verdict, verify

_NAME, _WHAT = "verified", "rules of block that hold when they are attacked"
_RULES: tuple[Rule, ...] = (
    paths.parse("/isotrace-verify/**", allow=False),
    nets.parse("192.0.2.1", allow=False),  # TEST-NET-1, RFC 5737
    nets.parse("unix:@isotrace-verify", allow=False),
    *(names.parse(word) for word in ("open", "connect", "mkdir", "socket")),
)


def feature() -> Feature:
    """The row. What is refused is refused to a child that ends."""
    findings = KernelFindings()
    plan = planning.make(Policy((Group("", _RULES),)), findings, Target(tree=(1,)), best_effort=True)
    if not plan.enforced:
        return Feature(_NAME, "no", "no rule can be enforced here", "see the rows under to deny", ("refuse",), _WHAT)
    try:
        return _row(verify(plan, findings, "auto", True), len(plan.unenforceable))
    except IsotraceError as error:
        return Feature(_NAME, "unknown", error.message, error.hint, ("refuse",), _WHAT)


def _row(found: Verdict, unenforceable: int) -> Feature:
    if found.through:
        why, remedy = f"gets through: {', '.join(found.through)}", "docs/threat-model.md"
        return Feature(_NAME, "no", why, remedy, ("refuse",), _WHAT)
    left = f"; {unenforceable} of {len(_RULES)} rules cannot be enforced" if unenforceable else ""
    less = f"; as announced gets through: {', '.join(found.announced)}" if found.announced else ""
    return Feature(_NAME, "yes", f"{len(found.refused)} ways denied{less}{left}", "", ("refuse",), _WHAT)
