"""A TracingPolicy of Tetragon: calls by their functions in the kernel, files where the kernel asks for permission.

By its documentation: a call is answered instead of made (Override), its process killed (Sigkill), or reported (Post).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isotrace import catalog
from isotrace.handover import yaml
from isotrace.handover.calls import Judged, by_register
from isotrace.handover.model import Findings, Handed, Held, Setting
from isotrace.handover.places import Place, excepted_from, place, refuses
from isotrace.policy.model import Action, CallRule, NetRule, PathRule, Policy

#: Calls of x86-64 whose functions have other names (arch/x86/entry/syscalls/syscall_64.tbl).
_FUNCTIONS = {
    **{"stat": "newstat", "fstat": "newfstat", "lstat": "newlstat", "uname": "newuname", "umount2": "umount"},
    **{"sendfile": "sendfile64"},
}
_ADDRESS = 4  # the argument of sendto
_MOST_SELECTORS, _MOST_LETTERS = 5, 255
_MAY_WRITE, _MAY_READ = 2, 4
#: Access → (function, its arguments: type by index, a condition on one: index and value).
_HOOKS: dict[str, tuple[tuple[str, tuple[str, ...], tuple[int, int] | None], ...]] = {
    "r": (
        ("security_file_permission", ("file", "int"), (1, _MAY_READ)),
        ("security_mmap_file", ("file",), None),
    ),
    "w": (
        ("security_file_permission", ("file", "int"), (1, _MAY_WRITE)),
        ("security_path_truncate", ("path",), None),
    ),
    "x": (("security_bprm_check", ("linux_binprm",), None),),
}
_NOTES = (
    "Tetragon itself has not read this: it is by its documentation",
    "it is about pods with the label app={name}; Override needs CONFIG_BPF_KPROBE_OVERRIDE",
    "a kernel that has not all of the functions may reject the policy: take those out that it does not have",
)


def export(policy: Policy, setting: Setting) -> Handed:
    """The YAML of one TracingPolicy."""
    findings = Findings(policy)
    lists, kprobes = _calls(policy, findings)
    kprobes += _files(policy, findings)
    for rule in policy.rules:
        if isinstance(rule, NetRule):
            held = Held.EXACT if rule.allow else Held.NOT
            findings.say(rule, held, "nothing denies it there" if rule.allow else "rules on addresses are not exported")
    spec: dict[str, Any] = {"podSelector": {"matchLabels": {"app": setting.name}}}
    if lists:
        spec["lists"] = lists
    found = {
        "apiVersion": "cilium.io/v1alpha1",
        "kind": "TracingPolicy",
        "metadata": {"name": setting.name},
        "spec": {**spec, "kprobes": kprobes},
    }
    return Handed(yaml.documents(found), findings.found(), tuple(note.format(name=setting.name) for note in _NOTES))


def _calls(policy: Policy, findings: Findings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lists of calls by what becomes of them, and what is attached to each list."""
    for rule in policy.rules:
        if isinstance(rule, CallRule):
            _find(rule, findings)
    judged = {call: one for call, one in by_register(policy).items() if call in catalog.by_name("x86_64")}
    groups: dict[Action, list[str]] = {}
    for call, one in judged.items():
        if one.plain is not None:
            groups.setdefault(one.plain.action, []).append(f"sys_{_FUNCTIONS.get(call, call)}")
    lists = []
    kprobes: list[dict[str, Any]] = []
    for action, functions in groups.items():
        name = f"calls-{action.name.lower()}"
        lists.append({"name": name, "type": "syscalls", "values": functions})
        kprobes.append({"call": f"list:{name}", "syscall": True, "selectors": [{"matchActions": _actions(action)}]})
    return lists, [*kprobes, *_addressed(judged)]


def _addressed(judged: Mapping[str, Judged]) -> Iterator[dict[str, Any]]:
    for call, one in judged.items():
        if one.conditional and one.addressed is not None:
            match = {"index": _ADDRESS, "operator": "NotEqual", "values": ["0"]}
            yield {
                "call": f"sys_{call}",
                "syscall": True,
                "args": [{"index": _ADDRESS, "type": "uint64"}],
                "selectors": [{"matchArgs": [match], "matchActions": _actions(one.addressed.action)}],
            }


def _find(rule: CallRule, findings: Findings) -> None:
    findings.say(rule, Held.PART, "calls of 32-bit programs and of x32 are not judged")
    if rule.action.kind == "ask":
        findings.say(rule, Held.WIDER, "nobody is asked: it is denied")
    if rule.addressed - {"sendto"}:
        findings.say(rule, Held.WIDER, "sendmsg and sendmmsg are denied with and without an address")


def _actions(action: Action) -> list[dict[str, Any]]:
    if action.kind == "audit":
        return [{"action": "Post"}]
    refused = [{"action": "Override", "argError": -action.errno}]
    kills = action.kills
    return [*refused, {"action": "Sigkill"}] if kills else refused


def _files(policy: Policy, findings: Findings) -> list[dict[str, Any]]:
    """A kprobe a function, with a selector for each way to match and what becomes of it."""
    hooks: dict[tuple[str, tuple[str, ...]], dict[tuple[str, tuple[int, int] | None, Action], list[str]]] = {}
    for rule in policy.rules:
        if not isinstance(rule, PathRule) or rule.allow:
            continue
        where = place(rule.pattern)
        if where is None or len(where.path.encode()) > _MOST_LETTERS:
            findings.say(rule, Held.NOT, "paths there are whole, or a beginning of up to 255 bytes, without stars")
            continue
        _find_file(rule, policy, findings)
        for letter in sorted(rule.access & _HOOKS.keys()):
            for function, types, condition in _HOOKS[letter]:
                selectors = hooks.setdefault((function, types), {})
                for operator, value in _values(where):
                    key = (operator, condition, rule.action)
                    if key not in selectors and len(selectors) >= _MOST_SELECTORS:
                        findings.say(rule, Held.NOT, f"there are five ways to match at {function} at most")
                    else:
                        selectors.setdefault(key, []).append(value)
    return [_kprobe(function, types, selectors) for (function, types), selectors in hooks.items()]


def _find_file(rule: PathRule, policy: Policy, findings: Findings) -> None:
    does = {"r": "read and mapped", "w": "written and cut", "x": "executed"}
    when = ", ".join(does[letter] for letter in sorted(rule.access & does.keys()))
    findings.say(rule, Held.PART, f"only where it is {when}: it is opened, made, moved, removed and changed otherwise")
    for letter in sorted(rule.access):
        for one in excepted_from(rule, letter, policy) if refuses(rule) else ():
            held = Held.WIDER if one.allow else Held.NOT
            findings.say(one, held, f"is denied: {rule.title} has no exceptions there")


def _values(where: Place) -> Iterator[tuple[str, str]]:
    if where.path != "/":
        yield "Equal", where.path
    if where.below:
        yield "Prefix", where.path.rstrip("/") + "/"


def _kprobe(
    function: str, types: tuple[str, ...], selectors: Mapping[tuple[str, tuple[int, int] | None, Action], list[str]]
) -> dict[str, Any]:
    listed = []
    for (operator, condition, action), values in selectors.items():
        matches: list[dict[str, Any]] = [{"index": 0, "operator": operator, "values": list(dict.fromkeys(values))}]
        if condition is not None:
            matches.append({"index": condition[0], "operator": "Equal", "values": [str(condition[1])]})
        listed.append({"matchArgs": matches, "matchActions": _actions(action)})
    arguments = [{"index": index, "type": kind} for index, kind in enumerate(types)]
    return {"call": function, "syscall": False, "args": arguments, "selectors": listed}
