"""Rules that refuse, ask and report, for programs of their own at the security hooks; which calls can wait where. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache

from isotrace.enforce import Enforced
from isotrace.enforce.hooks import coverage
from isotrace.policy.model import CallRule, NetRule, PathRule, Rule, StandingRule, asks
from isotrace.policy.patterns import EVERYTHING

# Hook: calls that can be begun anew there: they have done nothing yet, or nothing that they would not find as it was.
# One that may have done a part of its work (sendfile, sendmmsg, recvmmsg) is not among them, nor one whose error the
# kernel turns into another (process_vm_readv).
_CREATES = "open openat openat2 creat"
_OPENS = f"{_CREATES} open_by_handle_at"
_PATHS = f"""
file_open: {_OPENS} execve execveat
path_mknod: {_CREATES} mknod mknodat bind
inode_create: {_CREATES} mknod mknodat
inode_mknod: mknod mknodat bind
path_mkdir: mkdir mkdirat
inode_mkdir: mkdir mkdirat
path_symlink: symlink symlinkat
inode_symlink: symlink symlinkat
path_unlink: unlink unlinkat
inode_unlink: unlink unlinkat mq_unlink
path_rmdir: rmdir unlinkat
inode_rmdir: rmdir unlinkat
path_link: link linkat
inode_link: link linkat
path_rename: rename renameat renameat2
inode_rename: rename renameat renameat2
inode_setattr: {_OPENS}
mmap_file: mmap mmap2
file_permission: read pread64 readv preadv preadv2 sendfile sendfile64 splice copy_file_range getdents getdents64 readdir
socket_sendmsg: sendto sendmsg
socket_recvmsg: recvfrom recvmsg
unix_stream_connect: connect
unix_may_send: connect sendto sendmsg
"""
#: Calls that do all that they do to a path, and come to a hook that sees it: the accesses by which they ask about it.
BY_PATH = {
    **dict.fromkeys(_OPENS.split(), "rw"),
    **dict.fromkeys(("execve", "execveat"), "x"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2"), "w"),
    **dict.fromkeys(("link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "mknod", "mknodat"), "w"),
}
#: The number of a rule on paths that stands for all rules on calls.
STANDS_FOR_CALLS = -2
#: Hooks where only the calls above wait, whatever calls the hook enforces.
_ONLY = frozenset({"socket_sendmsg", "socket_recvmsg"})
#: Hooks that are met with interrupts off, or whose answer the kernel turns into a yes or no.
_NEVER = frozenset({"ptrace_access_check", "ptrace_traceme", "file_receive", "mmap_addr"})
#: What is closed beside a rule that asks, and not asked about itself.
_CLOSED = frozenset({"io_uring_setup"})


@cache
def _table() -> dict[str, frozenset[str]]:
    lines = (line.split(":") for line in _PATHS.strip().splitlines())
    return {hook: frozenset(calls.split()) for hook, calls in lines}


@cache
def can_wait(hook: str) -> frozenset[str]:
    """The calls that can wait at ``hook``, by beginning anew."""
    if hook in _NEVER:
        return frozenset()
    found = _table().get(hook, frozenset())
    if hook in coverage.on_calls() and hook not in _ONLY:
        found |= coverage.enforced_at(hook)
    return found - _CLOSED


def on_files(rule: Rule) -> bool:
    """Whether it denies something to files, or to the sockets among them."""
    return not rule.allow and (isinstance(rule, PathRule) or (isinstance(rule, NetRule) and rule.path is not None))


def _kind(rule: Rule) -> str:
    if asks(rule):
        return "ask"
    return "audit" if rule.action.kind == "audit" else "refuse"


def _dimension(rule: Rule) -> str:
    if isinstance(rule, NetRule):
        return "unix" if rule.protocol == "unix" else "inet"
    return type(rule).__name__


def split(enforced: Sequence[Enforced]) -> dict[str, list[Enforced]]:
    """``refuse``, ``ask`` and ``audit`` → the rules for programs that do that alone; a kind without rules is left out.

    A call meets them in this order. Programs of one kind have the rules of the others as exceptions, for which rule decides
    about a path or an address is the same for all: so each letter and each object of a call is refused, asked about
    or reported by its own most specific rule, and the strictest of these is what happens (``policy.decide_all``).
    """
    found = {}
    for kind in ("refuse", "ask", "audit"):
        own = [one for one in enforced if not one.rule.allow and _kind(one.rule) == kind]
        if own:
            about = {_dimension(one.rule) for one in own}
            found[kind] = [_among(one, kind) for one in enforced if one in own or _excepts(one.rule, about)]
    if calls := by_path(enforced):
        found["ask"] = _with_paths(found["ask"], enforced, calls)
    return found


def by_path(enforced: Sequence[Enforced]) -> dict[str, Enforced]:
    """Call → the rule on it that asks, by the path that the call is about."""
    rules = [(one, one.rule) for one in enforced if isinstance(one.rule, CallRule) and asks(one.rule)]
    return {call: one for one, rule in reversed(rules) for call in rule.calls if call in BY_PATH}


def _with_paths(own: list[Enforced], enforced: Sequence[Enforced], calls: dict[str, Enforced]) -> list[Enforced]:
    """The rules that ask, those on ``calls`` in the form of one on every path.

    It has the exceptions that the others on paths have. Where a rule only reports, one on calls asks.
    """
    found = [rest for one in own if (rest := _without(one, calls.keys())) and not isinstance(one.rule, PathRule)]
    on_paths = [(one, one.rule) for one in enforced if isinstance(one.rule, PathRule)]
    first = next(iter(calls.values()))
    for one, rule in on_paths:
        if _kind(rule) == "audit" and not rule.allow:
            found.append(replace(one, number=STANDS_FOR_CALLS, rule=replace(rule, action=first.action)))
        else:
            found.append(_among(one, "ask"))
    every = [rule for _, rule in on_paths if rule.pattern == EVERYTHING and _kind(rule) != "audit"]
    if access := frozenset("".join(BY_PATH[call] for call in calls)) - frozenset().union(
        *(one.access for one in every)
    ):
        whole = PathRule(first.rule.asked, False, access, EVERYTHING, first.action, first.rule.group)
        found.append(replace(first, number=STANDS_FOR_CALLS, rule=whole))
    return found


def _without(one: Enforced, calls: Collection[str]) -> Enforced | None:
    if not isinstance(one.rule, CallRule):
        return one
    rest = one.rule.calls - set(calls)
    return replace(one, rule=replace(one.rule, calls=rest, addressed=one.rule.addressed & rest)) if rest else None


def _excepts(rule: Rule, about: set[str]) -> bool:
    return not isinstance(rule, (CallRule, StandingRule)) and _dimension(rule) in about


def _among(one: Enforced, kind: str) -> Enforced:
    rule = one.rule
    if isinstance(rule, (PathRule, NetRule)) and not rule.allow and _kind(rule) != kind:
        return replace(one, rule=replace(rule, allow=True))
    return one
