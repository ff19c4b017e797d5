"""Standing rules: what is part of every policy that security hooks enforce."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys

from isotrace.backends.loader import expand
from isotrace.enforce import describe, plan, switches
from isotrace.enforce.findings import Found
from isotrace.enforce.hooks import coverage, guard, standing
from isotrace.enforce.mechanisms import FEATURES
from isotrace.enforce.selftest import child, trials
from isotrace.policy import names, paths
from isotrace.policy.model import Action, CallRule, Group, Policy, StandingRule
from isotrace.trace.target import Target

YES = Found("yes", "here")
HOOKED = {"lsm_bpf": YES, "fmod_ret_security": YES, "unpreempted": YES}
ALL = dict.fromkeys(FEATURES, YES)
TARGET = Target(pid=1234)


def _plan(*actions: Action, findings=HOOKED, backend="auto") -> plan.EnforcementPlan:
    rules = tuple(CallRule("mkdir", names.parse("mkdir").calls, action=action) for action in actions)
    return plan.make(Policy((Group("", rules),)), findings, TARGET, backend)


def test_every_judge_is_a_function_of_the_programs():
    source = expand("block_lsm.c")
    defined = set(re.findall(r"^static __always_inline int (\w+)\(u64 \*ctx\)", source, re.M))
    assert {judge for one in standing.TABLE for judge in one.judges.values()} <= defined


def test_standing_rules_come_after_the_user_s_and_go_to_the_same_mechanism():
    found = _plan(Action(), Action())
    assert [one.number for one in found.all_enforced] == list(range(2 + len(found.standing)))
    assert found.standing
    assert {one.mechanism for one in found.all_enforced} == {"lsm"}
    assert found.by_mechanism()["lsm"] == found.all_enforced
    assert all(isinstance(one.rule, StandingRule) and one.action == Action() for one in found.standing)


def test_where_no_hook_holds_a_rule_there_are_no_standing_ones():
    found = _plan(Action(), findings={"kprobe": YES, "override": YES, "unpreempted": YES}, backend="override")
    assert found.enforced
    assert not found.standing


def test_beside_programs_at_the_calls_they_are_held_at_hooks_where_this_kernel_has_them():
    findings = {**HOOKED, "kprobe": YES, "override": YES}
    found = _plan(Action(), findings=findings, backend="override")
    assert [one.mechanism for one in found.enforced] == ["override"]
    assert {one.mechanism for one in found.standing} == {"lsm"}
    assert set(found.by_mechanism()) == {"override", "lsm"}


def test_a_policy_that_only_reports_refuses_nothing():
    assert {one.action.kind for one in _plan(Action("audit")).standing} == {"audit"}
    assert {one.action.kind for one in _plan(Action("audit"), Action()).standing} == {"errno"}


def test_each_is_told_once_with_what_it_does_not_hold():
    lines = describe.plan_lines(_plan(Action(), Action()))
    assert len([line for line in lines if line.startswith("protects isotrace → EPERM: lsm")]) == 1
    assert len([line for line in lines if "what another root user does, or systemd" in line]) == 1


def test_a_hook_that_takes_no_program_is_told():
    findings = {**HOOKED, "lsm:perf_event_open": Found("no", "no such hook")}
    lines = describe.plan_lines(_plan(Action(), findings=findings))
    assert any("not at perf_event_open" in line for line in lines)


def test_several_judges_at_one_hook_are_asked_in_turn():
    text = standing.function(3, [("first", 7), ("second", 8)], "task_kill")
    assert text.index("first(ctx)) rule = 7") < text.index("second(ctx)) rule = 8")


def test_isotrace_and_its_threads_are_its_own_and_what_it_runs_in_is_not_if_it_is_the_target():
    found = guard.processes(TARGET)
    assert found[os.getpid()] == guard.OWN
    if os.getsid(0) == os.getsid(os.getppid()):
        assert found[os.getppid()] == guard.OUTER
    assert os.getppid() not in guard.processes(Target(tree=os.getppid()))


def test_what_isotrace_does_not_share_a_session_with_it_does_not_run_in():
    ask = "from isotrace.enforce.hooks import guard\nfrom isotrace.trace.target import Target\n"
    ask += "print(*guard.processes(Target(ppid=1)))"
    run = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, start_new_session=True, check=True
    )
    assert not {str(os.getpid()), "1"} & set(run.stdout.split())


def test_hooks_of_standing_rules_have_kernel_functions_of_their_own():
    asked = {hook for one in standing.TABLE for hook in one.judges}
    assert {coverage.function(hook) for hook in asked} == {f"security_{hook}" for hook in asked}


def test_switches_are_those_of_how_programs_are_attached(tmp_path, monkeypatch):
    def descriptor(name):
        path = tmp_path / name.replace("/", "-")
        path.write_text("1\n")
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr(switches, "_descriptor", descriptor)
    found = switches.Switches(["hook", "raw_tracepoint", "kprobe"])
    assert found.off() == ""
    (tmp_path / "kprobes-enabled").write_text("0\n")
    assert found.off() == "kprobes/enabled is 0"
    found.close()
    assert found.off() == ""
    only = switches.Switches(["hook"])
    (tmp_path / "kernel.ftrace_enabled").write_text("0\n")
    assert only.off() == "kernel.ftrace_enabled is 0"
    only.close()


def test_a_switch_that_this_kernel_does_not_have_is_none(monkeypatch):
    def absent(_name):
        raise FileNotFoundError

    monkeypatch.setattr(switches, "_descriptor", absent)
    assert switches.Switches(["hook"]).off() == ""


def test_what_another_security_module_refuses_first_is_refused():
    assert trials.is_refused("ptrace_access_check", errno.EPERM)  # Yama with ptrace_scope 3
    assert trials.is_refused("file_open", child.REFUSED)
    assert not trials.is_refused("file_open", errno.EPERM)
    assert not trials.is_refused("ptrace_access_check", 0)


def test_bpf_programs_for_networking_may_be_loaded_and_no_others():
    text = expand("block_lsm.c").replace("\\\n", "")
    shifts = re.search(r"#define HARMLESS_TYPES \((.*)\)", text)[1].replace("ULL", "")
    allowed = {kind for kind in range(64) if eval(shifts) >> kind & 1}
    tracing = {2, 5, 7, 17, 24, 26, 27, 28, 29, 31}  # kprobe … lsm, syscall: enum bpf_prog_type
    elsewhere = {18, 23, 30}  # cgroup_sock_addr, cgroup_sysctl, sk_lookup: they change what others asked for
    assert allowed == set(range(1, 33)) - tracing - elsewhere


def test_best_effort_leaves_out_the_rule_against_detours_and_says_so():
    asked = Policy((Group("", (paths.parse("w:/etc/**", allow=False),)),))
    usual = plan.make(asked, ALL, TARGET)
    lenient = plan.make(asked, ALL, TARGET, best_effort=True)
    assert "no detour by others" in {one.rule.title for one in usual.standing} and not usual.left_out
    assert "no detour by others" not in {one.rule.title for one in lenient.standing}
    assert "no detour by others: left out by --best-effort" in "\n".join(describe.plan_lines(lenient))
