"""The planner: each rule goes to the best mechanism that can truthfully enforce it, and what is not enforced is said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.enforce import Counts, Guarantees, describe, plan, registry
from isotrace.enforce.hooks import coverage
from isotrace.enforce.mechanisms import FEATURES
from isotrace.errors import UsageError
from isotrace.policy import CallRequest, CallRule, Group, NetRequest, PathRequest, Policy, decide, names, nets, paths
from isotrace.policy.model import IO_URING, Action
from isotrace.trace.target import Target

RUNNING, COMMAND = Target(ppid=1), Target(command=("true",))
ALL_BUILT = dict.fromkeys(registry.BUILT, "somewhere")
NEEDS = {
    "lsm": {"lsm_bpf"},
    "fmod_ret": {"fmod_ret_security"},
    "fmod_ret_call": {"fmod_ret_syscall"},
    "override": {"kprobe", "override"},
    "seccomp": {"seccomp"},
    "signal": {"signal", "raw_tracepoint"},
    "lkm": {"lkm"},
    "landlock": {"landlock"},
}


@dataclass(frozen=True)
class Fake:
    verdict: str
    why: str = "as was tried"
    remedy: str = "another kernel"


#: What makes no mechanism by itself, and what a usual kernel has.
USUAL = ("unpreempted", "lsm_unskipped", "io_threads", "ia32", "perf_events")


def findings(*present, unknown=(), usual=USUAL):
    there = {*present, *usual}
    return {name: Fake("yes" if name in there else "unknown" if name in unknown else "no") for name in FEATURES}


def policy(*rules):
    return Policy((Group("", rules),))


def mechanism_of(rule, found, target=RUNNING, **options):
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(policy(rule), found, target, **options)
    return made.enforced[0].mechanism if made.enforced else None


OPEN = names.parse("open")
KILL_OPEN = names.parse("open", action=Action("kill"))
WRITE_ETC = paths.parse("w:/etc/**", allow=False)
PORT_53 = nets.parse(":53", allow=False)


@pytest.mark.parametrize(
    ("rule", "present", "target", "expected"),
    [
        (OPEN, ("lsm_bpf", "fmod_ret_security", "kprobe", "override", "seccomp"), COMMAND, "lsm"),
        (OPEN, ("fmod_ret_security", "kprobe", "override"), RUNNING, "fmod_ret"),
        (OPEN, ("fmod_ret_syscall", "kprobe", "override"), RUNNING, "fmod_ret_call"),
        (OPEN, ("kprobe", "override", "seccomp", "seccomp_notify"), COMMAND, "override"),
        (OPEN, ("override", "seccomp", "seccomp_notify"), COMMAND, "seccomp"),
        (OPEN, ("seccomp", "seccomp_notify", "signal", "raw_tracepoint"), RUNNING, None),
        (names.parse("getrandom"), ("lsm_bpf", "kprobe", "override"), RUNNING, "override"),
        (names.parse("openat"), ("lsm_bpf", "seccomp", "seccomp_notify"), COMMAND, "lsm"),
        (WRITE_ETC, ("lsm_bpf", "fmod_ret_security"), RUNNING, "lsm"),
        (PORT_53, ("fmod_ret_security", "seccomp"), COMMAND, "fmod_ret"),
        (WRITE_ETC, ("fmod_ret_syscall", "kprobe", "override", "seccomp", "seccomp_notify", "signal"), COMMAND, None),
        (PORT_53, ("fmod_ret_syscall", "kprobe", "override", "seccomp", "seccomp_notify", "signal"), COMMAND, None),
        (OPEN, (), COMMAND, None),
    ],
)
def test_the_best_mechanism_that_holds_it(rule, present, target, expected):
    assert mechanism_of(rule, findings(*present), target) == expected


def test_what_may_be_there_is_not_counted_on():
    assert mechanism_of(OPEN, findings(unknown=("lsm_bpf",))) is None


def test_a_backend_asked_for_is_the_only_one():
    found = findings("lsm_bpf", "kprobe", "override", "seccomp", "seccomp_notify", "lkm")
    assert mechanism_of(OPEN, found, backend="override") == "override"
    assert mechanism_of(OPEN, found, COMMAND, backend="seccomp") == "seccomp"
    assert mechanism_of(OPEN, found, backend="lkm") == "lkm"
    assert mechanism_of(WRITE_ETC, found, backend="override") is None


def test_a_signal_comes_after_the_fact_and_only_when_that_is_accepted():
    found = findings("signal", "raw_tracepoint")
    assert mechanism_of(KILL_OPEN, found) is None and mechanism_of(OPEN, found, best_effort=True) is None
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(policy(KILL_OPEN), found, RUNNING, best_effort=True)
        refused = plan.make(policy(KILL_OPEN), found, RUNNING)
    assert made.ok and made.enforced[0].guarantees.after_the_fact and made.enforced[0].guarantees.short
    assert "LESS THAN ASKED" in "\n".join(describe.plan_lines(made))
    assert not refused.ok and "--best-effort" in "\n".join(describe.plan_lines(refused))


def test_a_mechanism_without_an_implementation_is_never_claimed():
    with mock.patch.dict(registry.BUILT, dict.fromkeys(registry.BUILT)):
        made = plan.make(policy(OPEN), findings(*FEATURES), COMMAND)
    assert not made.ok and not made.enforced
    said = dict(made.unenforceable[0].reasons)
    assert (
        "not built into this version" in said["lsm"].reason and "not built into this version" in said["seccomp"].reason
    )


def test_the_reason_is_what_the_kernel_lacks():
    found = findings() | {
        "lsm_bpf": Fake("no", "an LSM program: EPERM although privileged", "lift it"),
        "unlocked": Fake("no", "locked down: integrity", "boot without lockdown="),
        "kprobe": Fake("no", "no event source", "CONFIG_KPROBES=y"),
        "seccomp": Fake("yes"),
    }
    made = plan.make(policy(OPEN, OPEN), found, RUNNING)
    lines = describe.plan_lines(made, every=True)
    assert "deny open → EPERM: NOT ENFORCEABLE" in lines and "deny open → EPERM: NOT ENFORCEABLE, as above" in lines
    lsm = next(line for line in lines if line.startswith("  lsm:"))
    assert "EPERM although privileged; locked down: integrity" in lsm and "would help: boot without lockdown=" in lsm
    override = next(line for line in lines if line.startswith("  override:"))
    assert "no kprobe: no event source" in override and "CONFIG_KPROBES=y" in override
    assert any("seccomp: works only in a command" in line for line in lines)
    needs_command = [
        "  seccomp: works only in a command that isotrace starts",
        "  → give -- CMD, without --uid, --comm and the like",
    ]
    assert describe.lacking(made) == ["deny open; deny open", *needs_command]
    (said,) = [line for line in describe.plan_lines(made) if line.startswith("  ")]
    assert said.startswith(needs_command[0])


def test_the_reason_against_a_rule_is_the_one_that_takes_least():
    found = findings() | {
        "lsm_bpf": Fake("no", "an LSM program", "boot with lsm=…,bpf"),
        "fmod_ret_security": Fake("no", "no trampoline", "CONFIG_FUNCTION_TRACER=y"),
    }
    made = plan.make(policy(*[OPEN] * 6, WRITE_ETC), found, COMMAND)
    told = ["deny open; deny open; deny open; deny open and 3 more", "  lsm: no lsm_bpf: an LSM program"]
    assert describe.lacking(made) == [*told, "  → boot with lsm=…,bpf"]
    killed = plan.make(policy(KILL_OPEN), found | {"signal": Fake("yes"), "raw_tracepoint": Fake("yes")}, RUNNING)
    assert describe.lacking(killed)[-1] == "  → --best-effort accepts that"


def test_seccomp_is_not_for_a_part_of_a_command():
    found = findings("seccomp", "seccomp_notify")
    assert mechanism_of(OPEN, found, Target(command=("true",), uid=1000)) is None


def test_without_notification_seccomp_neither_audits_nor_refuses_exec():
    found = findings("seccomp")
    assert mechanism_of(OPEN, found, COMMAND) == "seccomp"
    assert mechanism_of(names.parse("open", action=Action("audit")), found, COMMAND) is None
    assert mechanism_of(names.parse("exec"), found, COMMAND) is None


@pytest.mark.parametrize(
    ("rule", "details", "expected"),
    [
        (OPEN, {"lsm:file_open": "no"}, "fmod_ret"),
        (OPEN, {"lsm:file_open": "no", "fmod_ret:file_open": "unknown"}, "override"),
        (OPEN, {"lsm:socket_bind": "no"}, "lsm"),
        (WRITE_ETC, {"lsm:path_rename": "no"}, "fmod_ret"),
        (WRITE_ETC, {"lsm:mmap_file": "no"}, "lsm"),
        (names.parse("getrandom"), {"override:getrandom": "no"}, None),
        (names.parse("getrandom"), {"override:getrandom@i386": "no"}, None),
        (names.parse("getrandom"), {"override:getrandom@i386": "no", "ia32": "no"}, "override"),
    ],
)
def test_a_place_that_takes_no_program_holds_nothing(rule, details, expected):
    found = findings("lsm_bpf", "fmod_ret_security", "kprobe", "override")
    found |= {name: Fake(verdict) for name, verdict in details.items()}
    assert mechanism_of(rule, found) == expected


@pytest.mark.parametrize(
    "present", [("lsm_bpf",), ("fmod_ret_security",), ("kprobe", "override"), ("fmod_ret_syscall",)]
)
def test_where_nothing_can_be_attached_that_follows_the_target_nothing_is_held(present):
    assert mechanism_of(OPEN, findings(*present))
    assert mechanism_of(OPEN, findings(*present, usual=set(USUAL) - {"perf_events"})) is None


@pytest.mark.parametrize(
    ("present", "usual", "expected"),
    [
        (("lsm_bpf", "fmod_ret_security"), ("lsm_unskipped",), "lsm"),
        (("lsm_bpf", "fmod_ret_security"), ("unpreempted",), "lsm"),
        (("lsm_bpf", "fmod_ret_security"), (), None),
        (("fmod_ret_security", "kprobe", "override"), ("lsm_unskipped",), None),
    ],
)
def test_where_the_kernel_may_pass_a_program_over_a_rule_is_not_held(present, usual, expected):
    found = findings(*present, usual=(*usual, "perf_events"))
    assert mechanism_of(OPEN, found) == expected
    enforced = plan.make(policy(OPEN), found, RUNNING, best_effort=True).enforced
    assert enforced and bool(enforced[0].guarantees.short) == (expected is None)


def test_path_rules_stay_together():
    both = policy(WRITE_ETC, paths.parse("w:/etc/motd", allow=True), OPEN)
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(both, findings("fmod_ret_security", "override", "kprobe"), RUNNING)
    assert [one.mechanism for one in made.enforced] == ["fmod_ret"] * 3


def test_best_effort_leaves_out_what_cannot_be_held_and_says_it():
    mixed = policy(WRITE_ETC, OPEN)
    strict = plan.make(mixed, findings("seccomp", "seccomp_notify"), COMMAND)
    lenient = plan.make(mixed, findings("seccomp", "seccomp_notify"), COMMAND, best_effort=True)
    assert not strict.ok and lenient.ok
    assert [one.number for one in lenient.enforced] == [1] and [one.number for one in lenient.unenforceable] == [0]
    assert "deny-path w:/etc/** → EPERM: NOT ENFORCEABLE" in describe.plan_lines(lenient)
    assert not plan.make(policy(WRITE_ETC), findings("seccomp"), COMMAND, best_effort=True).ok


def test_a_hostile_policy_cannot_write_to_the_terminal():
    rule = CallRule("/a\x1b[2J/", frozenset({"read"}))
    assert all(line.isprintable() for line in describe.plan_lines(plan.make(policy(rule), findings(), RUNNING)))


def test_what_only_reports_weakens_nothing_that_refuses():
    soft = paths.parse("r:/home/", allow=False, action=Action("audit"))
    with mock.patch.dict(registry.BUILT, ALL_BUILT):
        made = plan.make(policy(soft, WRITE_ETC), findings("lsm_bpf"), RUNNING)
    assert made.ok and not any(one.guarantees.short for one in made.enforced)


_COMPONENT = st.sampled_from(["a", "b", "*", "**", "a*"])
_ACTIONS = st.sampled_from([Action(), Action("kill"), Action("audit")])


@st.composite
def rules(draw):
    action, allowed = draw(_ACTIONS), draw(st.booleans())
    match draw(st.sampled_from(["call", "path", "net"])):
        case "call":
            terms = st.sampled_from([*names.words(), "openat", "%process", "@file-system", "!connect", "getrandom"])
            try:
                return names.parse(",".join(draw(st.lists(terms, min_size=1, max_size=2))), action=action)
            except UsageError:
                return names.parse("open", action=action)
        case "path":
            parts = draw(st.lists(_COMPONENT, min_size=1, max_size=3))
            access = draw(st.sampled_from(["r:", "w:", ""]))
            return paths.parse(f"{access}/{'/'.join(parts)}", allow=allowed, action=action)
        case _:
            text = draw(
                st.sampled_from(["10.0.0.0/8", "10.0.0.1:80", "tcp:*:80-90", "any:", ":53", "unix:/a/**", "unix:"])
            )
            return nets.parse(text, allow=allowed, action=action)


_REQUESTS = st.one_of(
    st.builds(
        CallRequest,
        st.sampled_from(["open", "openat2", "sendto", "connect", "fork", "chmod", "getrandom"]),
        st.booleans(),
    ),
    st.builds(
        lambda parts, access: PathRequest("/" + "/".join(parts), frozenset(access)),
        st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3),
        st.sampled_from(["r", "w", "rw", "x"]),
    ),
    st.builds(
        NetRequest,
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from([ip_address("10.0.0.1"), ip_address("9.9.9.9"), ip_address("::1")]),
        st.sampled_from([53, 80, 85]),
    ),
    st.builds(lambda path: NetRequest("unix", path=path), st.sampled_from(["/a/s", "/b"])),
)
_FINDINGS = st.dictionaries(
    st.sampled_from(FEATURES), st.sampled_from([Fake("yes"), Fake("yes"), Fake("no"), Fake("unknown")])
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(rules(), min_size=1, max_size=6),
    _FINDINGS,
    st.sampled_from([RUNNING, COMMAND]),
    st.sampled_from(sorted(registry.BACKENDS)),
    st.booleans(),
    st.sets(st.sampled_from(sorted(registry.BUILT))),
    st.lists(_REQUESTS, min_size=1, max_size=10),
)
def test_never_less_than_asked_without_saying_so(rules, found, target, backend, best_effort, missing, requests):
    asked = policy(*rules)
    with mock.patch.dict(registry.BUILT, ALL_BUILT | dict.fromkeys(missing)):
        made = plan.make(asked, found, target, backend, best_effort)
    said = {one.number for one in made.unenforceable} | {one.number for one in made.enforced if one.guarantees.short}
    assert {one.number for one in made.enforced} | {one.number for one in made.unenforceable} == set(range(len(rules)))
    if made.ok and not best_effort:
        assert not said
    enforced = policy(*(one.rule for one in made.enforced))
    for request in requests:
        decided = decide(asked, request)
        if decided.denied and not said:
            assert decide(enforced, request) == decided
        elif decided.denied:
            known = [number for number, rule in enumerate(rules) if rule == decided.rule and number in said]
            after = decide(enforced, request)
            assert after.denied or known
            assert known or (after.rule is not None and after.rule.action.kind == decided.rule.action.kind)
    for enforced in made.enforced:
        check_claim(enforced, found, target, backend, missing)


def check_claim(enforced, found, target, backend, missing):
    """What a plan says of a rule, held against what is known of mechanisms, apart from their own code."""
    name, guarantees = enforced.mechanism, enforced.guarantees
    assert name in registry.BACKENDS[backend] and name not in missing
    assert all(feature in found and found[feature].verdict == "yes" for feature in NEEDS[name])
    by_object = name in ("lsm", "fmod_ret", "landlock")
    assert by_object or isinstance(enforced.rule, CallRule)
    assert name not in ("seccomp", "landlock") or (target.command and not guarantees.ends)
    assert name != "signal" or (
        enforced.rule.action.kind == "kill" and guarantees.after_the_fact and not guarantees.toctou_safe
    )
    assert guarantees.toctou_safe or guarantees.short
    assert guarantees.io_uring != "passes" or guarantees.short
    certain = {feature for feature in found if found[feature].verdict == "yes"}
    threads = "io_threads" not in found or "io_threads" in certain
    assert not isinstance(enforced.rule, CallRule) or guarantees.io_uring != "judged", "what is linked runs in any call"
    judged = {"judged", "closed"} if name == "landlock" else {"judged" if threads else "closed"}
    assert isinstance(enforced.rule, CallRule) or guarantees.io_uring in judged
    assert guarantees.io_uring != "closed" or any("io_uring" in note for note in guarantees.notes)
    skips = "unpreempted" not in certain and not (name == "lsm" and "lsm_unskipped" in certain)
    assert name in ("seccomp", "lkm", "landlock") or not skips or guarantees.short
    if by_object and isinstance(enforced.rule, CallRule):
        assert all(coverage.enforcing(call) or call in coverage.NEEDLESS for call in enforced.rule.calls)
    if isinstance(enforced.rule, CallRule) and names.closes(enforced.rule.calls) & IO_URING:
        assert guarantees.io_uring == "closed"


def test_guarantees_are_shown_as_doctor_does():
    assert Guarantees(True, "closed", True).text == "TOCTOU-safe yes · io_uring closed · 32-bit yes"
    late = Guarantees(False, "not concerned", False, after_the_fact=True)
    assert late.text == "TOCTOU-safe no · io_uring not concerned · 32-bit no · after the fact"


def test_rules_of_a_group_of_which_the_same_is_said_have_one_line():
    words = [f"w:/srv/{name}/**" for name in "abcdef"]
    rules = [paths.parse(word, allow=False, group="files") for word in words]
    rules += [nets.parse(":53", allow=False, group="files"), *(replace(rule, group="") for rule in rules)]
    made = plan.make(policy(*rules), findings("lsm_bpf"), RUNNING)
    lines = [line for line in describe.plan_lines(made) if line.startswith(("files: ", "deny-path "))]
    judged = "lsm · TOCTOU-safe yes · io_uring judged · 32-bit yes"
    assert lines[0] == f"files: deny-path {', '.join(words)} → EPERM: {judged}"
    assert lines[1] == f"files: deny-net :53 → EPERM: {judged}"
    assert lines[2:] == [f"deny-path {word} → EPERM: {judged}" for word in words]
    every = [line for line in describe.plan_lines(made, every=True) if line.startswith("files: deny-path")]
    assert every == [f"files: deny-path {word} → EPERM: {judged}" for word in words]
    refused = [line for line in describe.plan_lines(plan.make(policy(*rules), findings(), RUNNING)) if "NOT" in line]
    assert len(refused) == 8 and all(word in refused[0] for word in words)


def test_counts_of_a_group_that_are_the_same_have_one_line():
    rules = [paths.parse(f"w:/srv/{name}/**", allow=False, group="files") for name in "abcdefg"]
    made = plan.make(policy(*rules), findings("lsm_bpf"), RUNNING)
    assert describe.count_lines(made, {"lsm": Counts({}, {6: 2})})[:2] == [
        "files: deny-path w:/srv/a/**, w:/srv/b/**, w:/srv/c/**, w:/srv/d/** and 2 more → EPERM: 0 denied",
        "files: deny-path w:/srv/g/** → EPERM: 2 denied",
    ]
    silent = {"lsm": Counts({}, {}, counted=False, uncounted="nobody tells")}
    (uncounted,) = [line for line in describe.count_lines(made, silent) if line.startswith("files: ")]
    assert uncounted.endswith("and 3 more → EPERM: not counted: nobody tells")
