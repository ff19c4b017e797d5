"""Policies: what is refused. Pure: model, the words that people write, and the reference decision."""

from isotrace.policy.decide import CallRequest, Decision, NetRequest, PathRequest, Request, decide, decide_all
from isotrace.policy.model import Action, CallRule, Group, NetRule, PathRule, Policy, Rule, asks
from isotrace.policy.patterns import Pattern

__all__ = [
    "Action",
    "CallRequest",
    "CallRule",
    "Decision",
    "Group",
    "NetRequest",
    "NetRule",
    "PathRequest",
    "PathRule",
    "Pattern",
    "Policy",
    "Request",
    "Rule",
    "asks",
    "decide",
    "decide_all",
]
