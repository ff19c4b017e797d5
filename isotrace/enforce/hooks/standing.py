"""Standing rules: part of every policy that security hooks enforce, beside the user's rules.

A row of ``TABLE`` names the hooks and what judges there: C functions ``int judge(u64 *ctx)`` (``judge(u64 *ctx, struct
judged *judged)`` in ``JUDGED``) of bpf/block_guard.h and the like, which say whether the rule applies. They are asked
before the user's rules on paths and addresses, and after those on calls. Several rows may have the same hook. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from isotrace.enforce import Enforced, Findings, Guarantees, Note
from isotrace.policy.model import Action, PathRule, Rule, StandingRule

#: Mechanisms that enforce standing rules, most preferred first, and the features that they need.
MECHANISMS = {"lsm": "lsm_bpf", "fmod_ret": "fmod_ret_security"}
#: Mechanisms that are BPF programs, but at no security hooks: standing rules are enforced beside them where that can be.
BESIDE = frozenset({"fmod_ret_call", "override", "signal"})
#: Hooks where the current task says nothing about who acts: what is refused there is refused to everybody.
ALWAYS = frozenset({"file_send_sigiotask"})
#: Hooks that kernels have which split them from another hook of the same rule, as 6.8 did (commit f1bb47a31dff).
SPLIT = frozenset({"file_ioctl_compat"})


def _any(_rules: Sequence[Rule]) -> bool:
    return True


def _on_paths(rules: Sequence[Rule]) -> bool:
    return any(isinstance(rule, PathRule) and not rule.allow for rule in rules)


@dataclass(frozen=True)
class Standing:
    """A standing rule. ``title`` is shown in the plan and with each refusal; ``notes`` are told with the plan.

    ``judges``: hook → C function. ``needed`` says for the rules that are enforced whether it is part of the policy.
    ``without``: what is said where the user accepts less and it is left out; "" for one that never is.
    """

    name: str
    title: str
    judges: Mapping[str, str]
    notes: tuple[str, ...] = ()
    needed: Callable[[Sequence[Rule]], bool] = _any
    without: str = ""


TABLE: tuple[Standing, ...] = (
    Standing(
        "guard",
        "protects isotrace",
        {
            "task_kill": "guard_kill",
            "file_send_sigiotask": "guard_sigio",
            "ptrace_access_check": "guard_ptrace",
            "ptrace_traceme": "guard_traceme",
            "task_setrlimit": "guard_limits",
            "bpf": "guard_bpf",
            "perf_event_open": "guard_perf",
            "perf_event_alloc": "guard_probe",
            "file_open": "guard_open",
        },
        notes=(
            Note(
                "the target cannot signal or trace isotrace, use its BPF objects, or write to what names programs that "
                "the kernel starts",
                "the target cannot signal or trace isotrace, nor the shell and sudo that it runs in, use its BPF "
                "objects, load "
                "BPF programs but for packets, set probes by perf, or write to debugfs, tracefs, "
                "kernel.ftrace_enabled, "
                "sysrq-trigger, cgroup.kill, core_pattern and the like, which name programs that the kernel starts",
            ),
            Note(
                "not prevented: what another root user, systemd or cron do, modules, /dev/mem, kexec, reboot",
                "what another root user does, or systemd and cron do when they are asked to, is not prevented; nor are "
                "modules, /dev/mem, kexec, reboot, that isotrace is killed for want of memory, and who may write to "
                "its own "
                "files or to programs that the kernel starts (Python, libraries, /sbin/modprobe, /sbin/request-key)",
            ),
        ),
    ),
    Standing(
        "outside",
        "no detour by others",
        {
            "ptrace_access_check": "outside_ptrace",
            "path_mknod": "outside_mknod",
            "sb_set_mnt_opts": "outside_superblock",
            "sb_pivotroot": "outside_pivot",
            "file_ioctl": "outside_ioctl",
            "file_ioctl_compat": "outside_ioctl",
        },
        notes=(
            Note(
                "the target cannot trace processes outside of it, make device nodes or mount devices",
                "the target cannot trace processes outside of it, make device nodes, mount what lies on a device, or "
                "ecryptfs, "
                "change the root by pivot_root, or make and remove snapshots (btrfs, bcachefs)",
            ),
            Note(
                "not prevented: device nodes that exist, a second procfs, sysfs or network file system, file servers, "
                "helpers outside the target",
                "not prevented: device nodes that exist, core_pattern, a second procfs, sysfs or network file system, "
                "file "
                "servers, helpers outside the target, also those that the kernel starts (request-key), a mount that is "
                "taken "
                "off or moved away, files that a ring of another process puts into one of the target "
                "(IORING_MSG_SEND_FD)",
            ),
        ),
        needed=_on_paths,
        without="the target may trace processes that are not of it, make device nodes and mount what it likes",
    ),
    Standing(
        "typing",
        "types into no terminal",
        {"file_ioctl": "guard_typing", "file_ioctl_compat": "guard_typing"},
    ),
)
_BY_NAME = {one.name: one for one in TABLE}


def of(rule: StandingRule) -> Standing:
    """The row of a rule."""
    return _BY_NAME[rule.name]


def enforced(
    user: Sequence[Enforced], findings: Findings, first: int, best_effort: bool
) -> tuple[tuple[Enforced, ...], tuple[str, ...]]:
    """The standing rules beside ``user``, the user's rules that are enforced, and what to say of those that are left out.

    Their numbers begin with ``first``. They go to the first of ``MECHANISMS`` that is in use, else, beside other BPF
    programs, to the first that this kernel has. Where every rule only reports, they do too. ``best_effort`` leaves out
    those that protect the rules and not isotrace.
    """
    mechanism = _mechanism({one.mechanism for one in user}, findings)
    if mechanism is None:
        return (), ()
    rules = [one.rule for one in user]
    audit = all(rule.action.kind == "audit" for rule in rules if not rule.allow)
    wanted = [one for one in TABLE if one.needed(rules)]
    kept = [one for one in wanted if not (best_effort and one.without)]
    found = tuple(
        Enforced(first + index, _rule(one, audit), mechanism, _guarantees(one, mechanism, findings))
        for index, one in enumerate(kept)
    )
    return found, tuple(f"{one.title}: left out by --best-effort: {one.without}" for one in wanted if one not in kept)


def _mechanism(used: Collection[str], findings: Findings) -> str | None:
    if found := next((name for name in MECHANISMS if name in used), None):
        return found
    if not BESIDE & set(used):
        return None
    return next((name for name, feature in MECHANISMS.items() if _is(findings, feature)), None)


def _is(findings: Findings, name: str) -> bool:
    finding = findings.get(name)
    return finding is not None and finding.verdict == "yes"


def _rule(one: Standing, audit: bool) -> StandingRule:
    return StandingRule(one.title, one.name, Action("audit") if audit else Action())


def _guarantees(one: Standing, mechanism: str, findings: Findings) -> Guarantees:
    lacks = sorted(hook for hook in one.judges.keys() - SPLIT if not _there(findings, f"{mechanism}:{hook}"))
    notes = (*one.notes, *([f"{one.title}: not at {', '.join(lacks)}, which take no program here"] if lacks else []))
    return Guarantees(True, "not concerned", True, notes=notes)


def _there(findings: Findings, name: str) -> bool:
    finding = findings.get(name)
    return finding is None or finding.verdict == "yes"


def judges(rules: Iterable[tuple[int, StandingRule]]) -> dict[str, list[tuple[str, int]]]:
    """``{hook: [(C function, index)]}`` of the rules, which come with their indexes."""
    found: dict[str, list[tuple[str, int]]] = {}
    for index, rule in rules:
        for hook, judge in of(rule).judges.items():
            found.setdefault(hook, []).append((judge, index))
    return found


def function(index: int, asked: Sequence[tuple[str, int]], hook: str) -> str:
    """C text of ``standing_INDEX``, which gives the index of the first of ``asked`` that applies, or 0.

    isotrace's own further processes, which compile and try things, are refused nothing though they may be of the target.
    """
    own = "" if hook in ALWAYS else "\tif (rule && guard_of(CURRENT()) == GUARD_OWN) rule = 0;\n"
    lines = "".join(f"\tif (!rule && {judge}(ctx)) rule = {index};\n" for judge, index in asked)
    return (
        f"static __always_inline u32 standing_{index}(u64 *ctx, struct judged *judged)\n"
        f"{{\n\tu32 rule = 0;\n{lines}{own}\treturn number_of(rule);\n}}\n"
    )
