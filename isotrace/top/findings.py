"""What is found of the kernel for refusing a call from the table, made by a child of the fork server: some probes fork."""

from __future__ import annotations

import json
import os

from isotrace.enforce import Findings
from isotrace.enforce import plan as planning
from isotrace.enforce.findings import Found, KernelFindings
from isotrace.errors import IsotraceError
from isotrace.policy.model import CallRule, Group, Policy
from isotrace.process import forkserver
from isotrace.trace.target import Target


def for_rule(rule: CallRule, target: Target, findings: Findings) -> planning.EnforcementPlan:
    """The plan for one rule, by what was found."""
    return planning.make(Policy((Group("", (rule,)),)), findings, target)


def answer(asked: int, tell: int) -> None:
    """What the child does: read which calls are to be refused, probe what the plan asks about, write what was found."""
    with os.fdopen(asked, "rb") as stream:
        rule = CallRule("", frozenset(json.loads(stream.read())))
    findings = KernelFindings()
    for_rule(rule, Target(), findings)
    found = {name: [finding.verdict, finding.why, finding.remedy] for name, finding in findings.known().items()}
    with os.fdopen(tell, "wb") as stream:
        stream.write(json.dumps(found).encode())


def ask(rule: CallRule) -> Findings:
    """What is found for a rule, from a child of the fork server in use. Raises ``IsotraceError``."""
    where = forkserver.current()
    if where is None:
        return KernelFindings()
    asked, asking = os.pipe()
    told, tell = os.pipe()
    try:
        with os.fdopen(asking, "wb") as stream:
            stream.write(json.dumps(sorted(rule.calls)).encode())
        where.spawn(f"{__name__}:answer", (asked, tell))
    finally:
        os.close(asked)
        os.close(tell)
        with os.fdopen(told, "rb") as stream:
            said = stream.read()
    if not said:
        raise IsotraceError("the probes of this kernel ended without an answer", "isotrace doctor tells more")
    return {name: Found(*entry) for name, entry in json.loads(said).items()}
