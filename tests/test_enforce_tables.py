"""The tables that the programs at the security hooks work with, held against what a policy means (policy/decide.py).

The kernel's side is a model in Python, kernel_walk.py; tests/vm runs the real one.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import kernel_walk
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.hooks import addresses, lsm, objects, sockets
from isotrace.enforce.hooks.nfa import TooMuch
from isotrace.enforce.hooks.objects import LETTERS, Anchors
from isotrace.enforce.tables import RuleTable
from isotrace.policy import Group, NetRequest, PathRequest, Policy, decide, nets, paths
from isotrace.policy.decide import SocketRequest
from isotrace.policy.model import Action

HERE = tempfile.TemporaryDirectory(prefix="isotrace-places-")
BASE = str(Path(HERE.name).resolve())
for directory in ("a/a/b", "a/b", "b/ab", "ab/a", "mnt/a"):
    Path(BASE, directory).mkdir(parents=True)

ACTIONS = st.sampled_from([Action(), Action("errno", 13), Action("kill"), Action("audit")])
NAMES = st.sampled_from(["a", "b", "c", "ab", "aab"])  # below BASE there is no c
COMPONENTS = st.sampled_from(["a", "a", "b", "c", "c", "ab", "*", "**", "a*", "*b", "a*b"])


def enforced(rules, mechanism="lsm"):
    return [Enforced(number, rule, mechanism, Guarantees(True, "judged", True)) for number, rule in enumerate(rules)]


@st.composite
def path_rules(draw):
    head = draw(st.sampled_from([BASE, BASE, BASE, BASE, BASE + "/mnt", "/**"]))
    parts = draw(st.lists(COMPONENTS, min_size=1, max_size=3))
    access = draw(st.sampled_from(["", "", "r:", "w:", "rw:", "x:"]))
    end = draw(st.sampled_from(["", "", "/"]))
    return paths.parse(f"{access}{head}/{'/'.join(parts)}{end}", allow=draw(st.booleans()), action=draw(ACTIONS))


ROOT = kernel_walk.Mount(1)
MOUNTED = kernel_walk.Mount(2, tuple(f"{BASE}/mnt".split("/")[1:]), ROOT)
WORLDS = {
    "one file system": (ROOT,),
    "another one mounted below": (ROOT, MOUNTED),
}
PATHS = st.builds(
    lambda head, names: "/".join([BASE, *head, *names]), st.sampled_from([(), ("mnt",)]), st.lists(NAMES, max_size=4)
)


def compiled(rules, world, folded=False):
    """(the rule numbers by index, the kernel with the tables in place)."""
    rule_table = RuleTable()
    mounted = [objects.Mount(one.device, "/", "/" + "/".join(one.point)) for one in world]
    try:
        anchors = Anchors(lsm._anchor_rules(enforced(rules), rule_table), mounted)
    except TooMuch:
        assume(False)
    return rule_table.numbers, kernel_walk.Kernel(objects.pack(anchors), anchors.nfa, world, folded), anchors


@pytest.mark.parametrize("world", WORLDS)
@settings(max_examples=600, deadline=None)
@given(st.lists(path_rules(), min_size=1, max_size=6), st.lists(PATHS, min_size=1, max_size=12))
def test_paths_are_judged_as_the_policy_says(world, rules, tried):
    numbers, kernel, _ = compiled(rules, WORLDS[world])
    policy = Policy((Group("", tuple(rules)),))
    for path in tried:
        for letter, access in LETTERS.items():
            wanted, index = decide(policy, PathRequest(path, frozenset(letter))), kernel.judge(path, access)
            assert (rules[numbers[index]] if index else None) == (wanted.rule if wanted.denied else None), (
                path,
                letter,
            )
            assert kernel.judge(path, access, with_mount=False) or not wanted.denied, (path, letter)


HEADS = st.sampled_from(["/**", f"{BASE}/*"])


def names_of(path):
    return tuple(path.split("/")[1:])


MOVED = st.lists(st.sampled_from(["c", "d", "ccc"]), min_size=1, max_size=3)  # what no anchor is at


@pytest.mark.parametrize("world", WORLDS)
@settings(max_examples=600, deadline=None)
@given(
    st.lists(path_rules(), min_size=1, max_size=5), PATHS, MOVED, PATHS, MOVED, st.lists(NAMES, min_size=1, max_size=3)
)
def test_nothing_that_is_denied_is_free_once_a_directory_above_it_has_moved(world, rules, one, to, other, there, below):
    _, kernel, anchors = compiled(rules, WORLDS[world])
    old, new = "/".join([one, *to]), "/".join([other, *there])
    assume(not f"{new}/".startswith(f"{old}/") and kernel.mount_of(names_of(old)) == kernel.mount_of(names_of(new)))
    if not kernel.may_move(old, new, anchors):
        return
    policy = Policy((Group("", tuple(rules)),))
    for letter in LETTERS:
        before, after = (PathRequest("/".join([place, *below]), frozenset(letter)) for place in (old, new))
        assert decide(policy, after).denied or not decide(policy, before).denied, (old, new, letter)
        assert letter != "w" or decide(policy, before).denied or not decide(policy, after).denied, (old, new)


@pytest.mark.parametrize(
    ("words", "old", "new", "may"),
    [
        (["r:{}/**/key"], "a/c/x", "a/c/y", True),
        (["r:{}/**/key"], "a/c", "b/c", True),
        (["r:{}/**/key"], "a/c", "/elsewhere", False),
        (["r:{}/**/conf/key"], "a/conf", "a/other", False),
        (["r:{}/**/conf/key"], "a/x", "b/x", True),
        (["r:{}/**/key", "+r:{}/ab/**"], "a/c", "ab/c", False),
        (["r:{}/**/key", "+r:{}/ab/**"], "ab/c", "ab/d", True),
        (["r:{}/**/key", "+r:{}/*/d/**"], "a/c", "a/d", False),
        (["r:{}/*/.ssh/**"], "c", "d", True),
        (["r:{}/*/.ssh/**"], "c", "a/d", False),
        (["r:{}/*/.ssh/**"], "a/c", "b/d", True),
        (["r:/**/key"], "a/c", "/elsewhere", True),
        (["r:{}/a/**"], "b/c", "b/d", True),
        (["r:{}/*/conf/key"], "a/c/x", "a/conf", True),
        (["w:{}/*/conf/key"], "a/c/x", "a/conf", False),
        (["w:{}/*/conf/key"], "a/c/x", "a/c/y", True),
        (["+r:{}/a/b", "r:{}/a/**"], "a/b", "ab/c", False),
        (["+r:{}/a/b", "r:{}/a/**"], "a/b", "a/c", False),
        (["+r:{}/a/*", "r:{}/a/**"], "a/b", "a/c", True),
        (["+r:{}/a/c", "r:{}/a/c/**"], "a/c", "ab/c", False),
        (["+r:{}/a/*", "r:{}/a/**"], "ab/c", "a/c", True),
        (["+w:{}/a/*", "w:{}/a/**"], "ab/c", "a/c", False),
        (["+r:{}/a/b/**", "r:{}/a/**"], "a/b/c", "a/b/d", True),
        (["+r:{}/ab/c", "r:{}/a/**"], "ab/c", "ab/d", True),
        (["+r:{}/c/", "r:/**/key"], "a/c", "c", False),
        (["+w:{}/c/", "w:/**/key"], "c", "a/c", False),
        (["+r:{}/c/", "r:/**/key"], "c/c", "c", False),
        (["+r:{}/c/", "r:/**/key"], "c/c", "c/d", True),
        (["+r:{}/c/", "r:/**/key"], "a/c", "a/d", True),
    ],
)
def test_a_directory_moves_where_all_patterns_match_the_same_below_it(words, old, new, may):
    rules = [paths.parse(word.lstrip("+").format(BASE), allow=word.startswith("+")) for word in words]
    _, kernel, anchors = compiled(rules, (ROOT,))
    assert kernel.may_move(f"{BASE}/{old}", new if new.startswith("/") else f"{BASE}/{new}", anchors) == may


def test_what_the_path_of_a_rule_leads_through_is_fixed():
    link = Path(BASE, "link")
    link.symlink_to("a/a")
    (link / "b" / "file").touch()
    rules = [paths.parse(f"w:{link}/b/file", allow=False), paths.parse(f"r:{BASE}/b/**/key", allow=False)]
    fixtures = compiled(rules, (ROOT,))[2].fixtures
    below = {path.removeprefix(f"{BASE}/") for path in fixtures if path.startswith(f"{BASE}/")}
    assert below == {"link", "a", "a/a", "a/a/b", "b"}


LONG = st.sampled_from(["n" * 58, "n" * 59, "n" * 63, "n" * 64, "n" * 200, "é" * 40, "a" + "n" * 70])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["/**", f"{BASE}/*"]), COMPONENTS, COMPONENTS, st.booleans()), min_size=1, max_size=4
    ),
    st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=4),
)
def test_where_case_is_ignored_no_spelling_is_less_than_asked(patterns, names):
    rules = [paths.parse(f"r:{head}/{one}/{other}", allow=allow) for head, one, other, allow in patterns]
    _numbers, kernel, _ = compiled(rules, (ROOT,), folded=True)
    asked, known = (
        "/".join([BASE, *(name.swapcase() if other else name for name, other in names)]),
        [n for n, _ in names],
    )
    request = PathRequest("/".join([BASE, *known]), frozenset("r"))
    if decide(Policy((Group("", tuple(rules)),)), request).denied:
        assert kernel.judge(asked, LETTERS["r"])


@settings(max_examples=300, deadline=None)
@given(st.lists(path_rules(), min_size=1, max_size=4), st.lists(st.one_of(NAMES, LONG), min_size=1, max_size=4))
def test_names_that_are_too_long_to_look_at_are_never_less_than_asked(rules, names):
    _numbers, kernel, _ = compiled(rules, (ROOT,))
    policy = Policy((Group("", tuple(rules)),))
    path = "/".join([BASE, *names])
    for letter, access in LETTERS.items():
        if decide(policy, PathRequest(path, frozenset(letter))).denied:
            assert kernel.judge(path, access)


def test_what_is_too_deep_is_refused():
    _, kernel, _ = compiled([paths.parse(f"{BASE}/a", allow=False)], (ROOT,))
    assert kernel.judge(BASE + "/c" * 100, LETTERS["r"]) == kernel_walk.CLOSED


ADDRESSES = st.sampled_from(
    [
        "10.0.0.1",
        "10.1.2.3",
        "127.0.0.1",
        "0.0.0.0",
        "9.9.9.9",
        "::1",
        "::",
        "fd00::5",
        "::ffff:10.0.0.1",
        "::ffff:0.0.0.0",
        "2001:db8::1",
    ]
)
NETWORKS = [
    "",
    "*",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.1",
    "0.0.0.0/0",
    "127.0.0.0/8",
    "[::]/0",
    "[::1]",
    "[fd00::]/8",
    "0.0.0.0/32",
    "[::]/128",
]
PORTS = ["", ":53", ":50-60", ":1-65535", ":80"]


@st.composite
def net_rules(draw):
    protocol = draw(st.sampled_from(["", "tcp:", "udp:", "any:"]))
    text = protocol + draw(st.sampled_from(NETWORKS)) + draw(st.sampled_from(PORTS))
    assume(text)
    return nets.parse(text, allow=draw(st.booleans()), action=draw(ACTIONS))


def in_memory(request):
    """The address as bpf/block_nets.h has made it when it looks at the table."""
    address = request.address
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    low, high = (0, 65535) if request.port is None else (request.port, request.port)
    unspecified = (1 if address.version == 4 else 2) if request.outward and address.is_unspecified else 0
    protocol = {"tcp": 1, "udp": 2, "other": 0}[request.protocol]
    return kernel_walk.Endpoint(address.packed, low, high, address.version, protocol, unspecified)


REQUESTS = st.one_of(
    st.builds(
        NetRequest,
        st.sampled_from(["tcp", "udp", "other"]),
        ADDRESSES.map(ip_address),
        st.sampled_from([53, 55, 80, 1, 0, 65535]),
        outward=st.booleans(),
    ),
    st.builds(NetRequest, st.just("other"), ADDRESSES.map(ip_address), st.none(), outward=st.booleans()),
)
SOCKETS = st.builds(
    SocketRequest,
    st.sampled_from([1, 2, 10, 16, 17, 40, 43, 44, 21, 62, 63, 64, 1000]),
    st.integers(0, 10),
    st.one_of(st.sampled_from([0, 1, 6, 17, 33, 58, 115, 132, 136, 255, 256, 262, 511, 512]), st.integers(0, 70000)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(net_rules(), min_size=1, max_size=8), st.lists(REQUESTS, min_size=1, max_size=10))
def test_addresses_are_judged_as_the_policy_says(rules, requests):
    rule_table = RuleTable()
    table = addresses.table(enforced(rules), rule_table)
    policy = Policy((Group("", tuple(rules)),))
    for request in requests:
        index = kernel_walk.judge_net(table.nets, in_memory(request)) if table else 0
        wanted = decide(policy, request)
        assert (rules[rule_table.numbers[index]] if index else None) == (wanted.rule if wanted.denied else None), (
            request
        )


@settings(max_examples=300, deadline=None)
@given(st.lists(net_rules(), min_size=1, max_size=6), st.lists(SOCKETS, min_size=1, max_size=20))
def test_kinds_of_sockets_are_refused_as_the_policy_says(rules, requests):
    rule_table = RuleTable()
    table = addresses.table(enforced(rules), rule_table)
    policy = Policy((Group("", tuple(rules)),))
    for request in requests:
        asked = (request.family, request.type, request.protocol)
        index = kernel_walk.judge_kind(table.kinds, *asked) if table else 0
        assert (rules[rule_table.numbers[index]] if index else None) == decide(policy, request).rule, request


def test_a_destination_that_means_this_host_is_denied_with_any_of_its_addresses():
    """Who may not reach one of this host's addresses does not come to it by 0.0.0.0 or ::, whatever a socket has."""
    rules = [nets.parse(text, allow=False) for text in ("tcp:192.0.2.5:80", "udp:[fd00::1]:53")]
    policy = Policy((Group("", (*rules, nets.parse("127.0.0.0/8", allow=True))),))
    for address, protocol, port, denied in (
        ("0.0.0.0", "tcp", 80, True),
        ("::", "tcp", 80, True),
        ("::ffff:0.0.0.0", "tcp", 80, True),
        ("0.0.0.0", "tcp", 81, False),
        ("0.0.0.0", "udp", 53, False),  # an address of IPv4 alone
        ("::", "udp", 53, True),
    ):
        request = NetRequest(protocol, ip_address(address), port)
        assert decide(policy, request).denied == denied, request
        assert not decide(policy, replace(request, outward=False)).denied


ABSTRACT = st.text(alphabet="ab0*", min_size=1, max_size=4).map(lambda text: f"@{text}")
SOCKET_FILES = st.builds(
    lambda head, parts, end: f"{head}/{'/'.join(parts)}{end}",
    st.sampled_from([BASE, BASE, BASE + "/mnt", "/**"]),
    st.lists(COMPONENTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)


@st.composite
def socket_rules(draw):
    text = draw(st.one_of(ABSTRACT, SOCKET_FILES, st.sampled_from(["", "@*", "@aé*", "@*\N{SNOWMAN}"])))
    return nets.parse(f"unix:{text}", allow=draw(st.booleans()), action=draw(ACTIONS))


def compiled_sockets(rules):
    """(the rule numbers by index, the kernel with the anchors in it, the rest)."""
    rule_table, entries = RuleTable(), enforced(rules)
    anchor_rules = lsm._anchor_rules(entries, rule_table)
    try:
        anchors = Anchors(anchor_rules, [objects.Mount(1, "/", "/")])
        return (
            rule_table,
            kernel_walk.Kernel(objects.pack(anchors), anchors.nfa, (ROOT,)),
            sockets.table(entries, rule_table, anchor_rules),
        )
    except TooMuch:
        assume(False)


NAMED = st.one_of(
    st.text(alphabet="ab0\0é\N{SNOWMAN}", max_size=6),
    st.sampled_from(["a" * 107, "b" + "a" * 106, "\udcff", "00b0a", "aé"]),
)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.one_of(socket_rules(), socket_rules(), path_rules()), min_size=1, max_size=7),
    st.lists(PATHS, max_size=6),
    st.lists(NAMED, min_size=1, max_size=8),
)
def test_unix_sockets_are_judged_as_the_policy_says(rules, files, names):
    rule_table, kernel, table = compiled_sockets(rules)
    policy = Policy((Group("", tuple(rules)),))
    requests = [NetRequest("unix", path=path) for path in files] + [NetRequest("unix", abstract=name) for name in names]
    for request in [*requests, NetRequest("unix")]:
        wanted = decide(policy, request)
        index = judge_socket(kernel, table, request) if table else 0
        assert (rules[rule_table.numbers[index]] if index else None) == (wanted.rule if wanted.denied else None), (
            request
        )


def judge_socket(kernel, table, request):
    if request.path is not None:
        return kernel.judge_socket(request.path, table.rest)
    if request.abstract is None or table.names is None:
        return table.rest
    name = request.abstract.encode("utf-8", "surrogateescape")
    return kernel_walk.judge_name(table.names.pack(), table.names.room, name)


@settings(max_examples=300, deadline=None)
@given(st.lists(socket_rules(), min_size=1, max_size=6), st.text(alphabet="ab0", min_size=5, max_size=5))
def test_a_name_that_the_kernel_may_choose_is_never_less_than_asked(rules, name):
    rule_table, _kernel, table = compiled_sockets(rules)
    wanted = decide(Policy((Group("", tuple(rules)),)), NetRequest("unix", abstract=name))
    if wanted.denied:
        assert table.chosen
        assert wanted.rule.action.kind == "audit" or rule_table.actions[table.chosen].kind != "audit"


def test_what_cannot_be_judged_is_answered_for_by_a_rule_that_refuses():
    audit, refuse = Action("audit"), Action("errno", 13)
    rules = [nets.parse("unix:/run/a", allow=False, action=audit), nets.parse("unix:", allow=False, action=refuse)]
    rule_table, _kernel, table = compiled_sockets(rules)
    assert rule_table.actions[table.closed] == refuse


def test_abstract_names_that_do_not_fit_are_refused_at_the_start():
    rules = [nets.parse(f"unix:@{chr(97 + n)}*{'x' * 100}", allow=False) for n in range(26)]
    with pytest.raises(TooMuch):
        sockets.table(enforced(rules), RuleTable(), [])


def test_exceptions_alone_need_no_table():
    assert sockets.table(enforced([nets.parse("unix:@a", allow=True)]), RuleTable(), []) is None
