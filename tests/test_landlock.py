"""Landlock: what it is told allows nothing that the policy denies, and what it cannot hold is turned down."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.enforce import Guarantees, Unsupported, describe, plan
from isotrace.enforce.calls import cbpf
from isotrace.enforce.landlock import beside, performed, places, ports, rights, tree
from isotrace.enforce.landlock.mechanism import READABLE, Landlock
from isotrace.enforce.landlock.places import Entry
from isotrace.kernel import landlock as kernel
from isotrace.kernel.procfs import Mount
from isotrace.policy import Action, Group, NetRequest, PathRequest, Policy, decide, names, nets, paths
from isotrace.policy.decide import SocketRequest
from isotrace.policy.families import AF_INET, AF_INET6, DGRAM, RAW, STREAM
from isotrace.trace.target import Target

RIGHT_OF = {
    "r": (kernel.READ_FILE, kernel.READ_DIR),
    "w": (kernel.WRITE_FILE, kernel.TRUNCATE, kernel.IOCTL_DEV),
    "x": (kernel.EXECUTE,),
}
ENTRIES = [1 << bit for bit in range(14) if rights.ENTRIES & 1 << bit]
NEWEST = 7


@dataclass(frozen=True)
class Fake:
    verdict: str = "yes"
    why: str = "as was tried"
    remedy: str = "another kernel"


FOUND = {name: Fake() for name in ("landlock", "seccomp", "seccomp_notify")}
COMMAND = Target(command=("true",))


@dataclass
class Files:
    """A ``Tree`` of a dictionary: a directory is a dictionary, a file the number of its names, a link None."""

    root: dict
    others: dict = field(default_factory=dict)

    def entries(self, path):
        found = self.root
        for name in filter(None, path.split("/")):
            found = found[name]
        return [
            Entry(name, isinstance(one, dict), one is None, one if isinstance(one, int) else 1)
            for name, one in found.items()
        ]

    def elsewhere(self, path):
        return self.others.get(path, ())


def every(node, path=""):
    """(path, whether it is a directory) of all there is, and in each directory of one that is not there."""
    yield path or "/", True
    for name, one in node.items():
        if isinstance(one, dict):
            yield from every(one, f"{path}/{name}")
        elif one is not None:
            yield f"{path}/{name}", False
    for name in ("new", "a", "b"):
        if name not in node:
            yield f"{path}/{name}", False
            yield f"{path}/{name}/new", False


def rules_of(*words):
    return [paths.parse(word.lstrip("+-"), allow=word[0] == "+") for word in words]


def policy(rules):
    return Policy((Group("", tuple(rules)),))


def denied(rules, path, letters):
    return decide(policy(rules), PathRequest(path, frozenset(letters))).denied


def allows(found, rules, path, right):
    """What a kernel would say: what no ruleset handles it allows."""
    handled = rights.handled(places.denied_letters(rules), NEWEST)
    return not handled & right or places.model(found, path, right)


_NAMES = st.sampled_from(["a", "b", "ab", "c"])
_TREES = st.recursive(
    st.sampled_from([1, 1, 2, None]), lambda inner: st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
).filter(lambda one: isinstance(one, dict))
_PARTS = st.sampled_from(["a", "b", "ab", "c", "*", "a*", "*b"])
_LETTERS = st.sampled_from(["", "r:", "w:", "x:", "rw:", "rx:", "wx:"])


@st.composite
def _words(draw):
    allow = draw(st.booleans())
    parts = draw(st.lists(_PARTS, max_size=3))
    end = draw(st.sampled_from(["", "/**"] if parts else ["**"]))
    if allow and parts and draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts) - 1)), "**")
    return ("+" if allow else "-") + draw(_LETTERS) + "/" + "/".join(parts) + end


@settings(max_examples=600, deadline=None)
@given(_TREES, st.lists(_words(), min_size=1, max_size=5), st.booleans())
def test_nothing_is_allowed_that_the_policy_denies(root, words, mounted):
    rules = rules_of(*words)
    files = Files(root, {"/a": ("/b/c",), "/a/b": ("/c",)} if mounted else {})
    found = places.allowed(rules, files, NEWEST)
    letters = places.denied_letters(rules)
    for path, directory in every(root):
        for letter in letters:
            for right in RIGHT_OF[letter]:
                if allows(found, rules, path, right):
                    assert not denied(rules, path, letter), (path, letter, found)
        above = path.rpartition("/")[0] or "/"
        if any(allows(found, rules, above, right) for right in ENTRIES) and path != "/":
            assert not denied(rules, path, "w")
        if all(allows(found, rules, above, right) for right in ENTRIES) and path != "/":
            assert not denied(rules, path, "rw"), "a rename is a removal and a making"
        if not letters & {"r", "w"}:
            continue
        if allows(found, rules, above, kernel.REFER) and path != "/":
            assert not denied(rules, path, "rw")
        assert not allows(found, rules, path, kernel.MAKE_BLOCK) and not allows(found, rules, path, kernel.MAKE_CHAR)
        assert directory or path not in {one.path for one in found if one.directory}


@settings(max_examples=300, deadline=None)
@given(_TREES, st.lists(_words(), min_size=1, max_size=4))
def test_other_names_of_what_is_denied_are_denied(root, words):
    """By another path to the same directory, nothing is allowed either."""
    rules = rules_of(*words)
    found = places.allowed(rules, Files(root, {"/a": ("/b",)}), NEWEST)
    for place in found:
        if place.path == "/a":
            for letter in places.denied_letters(rules):
                assert not any(place.rights & right for right in RIGHT_OF[letter]) or not denied(rules, "/b", letter)


HOME = {"home": {"u": {".ssh": {"key": 1}, "work": {"f": 1}, "notes": 1}}, "tmp": {}, "usr": {"bin": {"sh": 1}}}


def test_a_list_of_directories_is_held_exactly():
    rules = rules_of("-w:/**", "+w:/home/u/work/**", "+w:/tmp/**")
    found = places.allowed(rules, Files(HOME), NEWEST)
    assert {one.path for one in found} == {"/home/u/work", "/tmp"}
    for path, _ in every(HOME):
        assert allows(found, rules, path, kernel.WRITE_FILE) is not denied(rules, path, "w")
        assert allows(found, rules, path, kernel.READ_FILE)


def test_what_lies_beside_a_denied_directory_is_allowed_one_by_one():
    rules = rules_of("-r:/home/u/.ssh/")
    found = places.allowed(rules, Files(HOME), NEWEST)
    assert {one.path for one in found} == {"/tmp", "/usr", "/home/u/work", "/home/u/notes"}
    assert not allows(found, rules, "/home/u/made-later", kernel.READ_FILE)
    assert not allows(found, rules, "/home/u", kernel.READ_DIR)


def test_stars_are_expanded():
    root = {"etc": {"a.conf": 1, "b.conf": 1, "motd": 1}}
    found = places.allowed(rules_of("-w:/etc/*.conf"), Files(root), NEWEST)
    assert [(one.path, one.directory) for one in found] == [("/etc/motd", False)]


def test_a_file_of_several_names_is_not_told_apart():
    root = {"d": {"secret": 2, "alias": 2, "other": 1}}
    found = places.allowed(rules_of("-r:/d/secret"), Files(root), NEWEST)
    assert [one.path for one in found] == ["/d/other"]


def test_a_directory_that_is_mounted_where_it_is_denied_is_not_allowed():
    files = tree.Files([Mount(1, "/", "/"), Mount(1, "/srv/data", "/denied"), Mount(2, "/", "/proc")])
    assert files.elsewhere("/srv/data/x") == ["/denied/x"] and files.elsewhere("/denied") == ["/srv/data"]
    assert files.elsewhere("/srv") == [] and files.elsewhere("/proc/1") == []
    root = {"srv": {"data": {"x": 1}, "other": {}}, "denied": {"x": 1}}
    found = places.allowed(rules_of("-r:/denied/", "-r:/srv/q"), Files(root, {"/srv/data": ("/denied",)}), NEWEST)
    assert "/srv/data" not in {one.path for one in found} and "/srv/other" in {one.path for one in found}


def test_ten_thousand_siblings_are_allowed_one_by_one():
    root = {"d": {f"f{at}": 1 for at in range(10_000)} | {"secret": 1}}
    found = places.allowed(rules_of("-r:/d/secret"), Files(root), NEWEST)
    assert len(found) == 10_000 and not places.model(found, "/d/secret", kernel.READ_FILE)


def test_more_files_than_can_be_told_are_turned_down(monkeypatch):
    monkeypatch.setattr(places, "MOST", 100)
    with pytest.raises(places.TooMany):
        places.allowed(rules_of("-r:/d/secret"), Files({"d": {f"f{at}": 1 for at in range(101)}}), NEWEST)


def test_what_may_be_executed_may_be_read_only_where_that_is_said():
    learned = rules_of("-/**", "+r:/usr/lib/**", "+x:/usr/bin/sh")
    assert READABLE in Landlock(rules=tuple(learned)).guarantees(learned[0], FOUND).short
    strict = rules_of("-/**", "+rx:/usr/lib/**", "+x:/usr/bin/sh")
    assert not Landlock(rules=tuple(strict)).guarantees(strict[0], FOUND).short


@pytest.mark.parametrize("abi", range(1, NEWEST + 1))
def test_an_abi_is_asked_for_no_right_that_it_lacks(abi):
    highest = {1: kernel.MAKE_SYM, 2: kernel.REFER, 3: kernel.TRUNCATE, 4: kernel.TRUNCATE}.get(abi, kernel.IOCTL_DEV)
    assert rights.handled("rwx", abi) < highest << 1
    assert rights.granted("rwx", "rwx", abi, True) & ~rights.handled("rwx", abi) == 0


# ---- what is turned down, and said --------------------------------------------------------------------------------


def answer(word, rules=None, found=FOUND, **options):
    kind = nets if any(word.lstrip("+-").startswith(one) for one in ("tcp:", "udp:", "any:", "unix:", "10.")) else paths
    rule = kind.parse(word.lstrip("+-"), allow=word[0] == "+", **options)
    return Landlock(rules=tuple(rules or (rule,))).guarantees(rule, found)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("-r:/srv/**/key", "do not exist yet"),
        ("-tcp:10.0.0.0/8:443", "no addresses"),
        ("+tcp:127.0.0.1:443", "no addresses"),
        ("-udp:*:53", "TCP alone"),
        ("+udp:*:53", "TCP alone"),
        ("-any:*:53", "TCP alone"),
        ("-unix:/run/docker.sock", "unix sockets by their names"),
        ("+unix:@dbus", "unix sockets by their names"),
    ],
)
def test_what_landlock_does_not_know_is_turned_down(word, reason):
    found = answer(word)
    assert isinstance(found, Unsupported) and reason in found.reason


@pytest.mark.parametrize("kind", ["kill", "audit"])
def test_it_only_refuses(kind):
    found = answer("-w:/etc/**", action=Action(kind))
    assert isinstance(found, Unsupported) and kind in found.reason


def test_another_error_is_turned_down_and_the_one_that_is_given_is_shown():
    found = answer("-w:/etc/**", action=Action(errno=2))
    assert isinstance(found, Unsupported) and "EACCES" in found.hint
    made = plan.make(policy(rules_of("-w:/etc/**")), FOUND, COMMAND)
    assert describe.plan_lines(made)[0].startswith("deny-path w:/etc/** → EACCES: landlock · ")


def test_calls_are_not_its_business():
    assert isinstance(Landlock().guarantees(names.parse("open"), FOUND), Unsupported)


def test_execution_is_held_where_reading_is_denied_as_well():
    assert answer("-x:/srv/**").short
    assert not answer("-rx:/srv/**").short
    both = rules_of("-rx:/srv/**", "+r:/srv/lib/**")
    assert Landlock(rules=tuple(both)).guarantees(both[0], FOUND).short
    both = rules_of("-rx:/srv/**", "+rx:/srv/lib/**")
    assert not Landlock(rules=tuple(both)).guarantees(both[0], FOUND).short


@pytest.mark.parametrize(("word", "needs"), [("-w:/etc/**", 3), ("-tcp:", 4), ("-unix:@*", 6), ("-any:", 4)])
def test_an_abi_that_lacks_what_a_rule_needs(word, needs):
    found = answer(word, found=FOUND | {f"landlock:{needs}": Fake("no", f"the ABI is {needs - 1}")})
    assert isinstance(found, Unsupported) and f"ABI is {needs - 1}" in found.reason


def test_attributes_and_sockets_take_a_supervisor():
    without = FOUND | {"seccomp_notify": Fake("no", "another supervisor is there")}
    for word in ("-w:/etc/**", "-tcp:", "-unix:"):
        found = answer(word, found=without)
        assert isinstance(found, Unsupported) and "another supervisor" in found.reason
    assert isinstance(answer("-r:/etc/**", found=without), Guarantees)


def test_it_works_in_commands_alone():
    made = plan.make(policy(rules_of("-w:/etc/**")), FOUND, Target(pid=frozenset({1})))
    assert not made.ok and "only in a command" in "\n".join(describe.plan_lines(made))


def test_what_stands_beside_the_rules_is_in_the_plan():
    rules = [*rules_of("-w:/**", "+w:/tmp/**"), nets.parse("tcp:", allow=False), names.parse("ptrace")]
    made = plan.make(policy(rules), FOUND, COMMAND)
    assert [one.mechanism for one in made.enforced] == ["landlock", "landlock", "landlock", "seccomp"]
    assert [one.rule.name for one in made.standing] == [beside.ATTRIBUTES, beside.QUEUES, beside.SOCKETS]
    assert {one.mechanism for one in made.standing} == {"seccomp"}
    assert not plan.make(policy(rules_of("-r:/root/")), FOUND, COMMAND).standing


# ---- ports and sockets --------------------------------------------------------------------------------------------

_PORT = st.sampled_from(["", "*:0", "*:22", "*:80-443", "*:443", "*:8000-9000", "*:65535"])
_NET = st.tuples(st.booleans(), st.sampled_from(["tcp", "any"]), _PORT).map(
    lambda one: nets.parse(f"{one[1]}:{one[2]}", allow=one[0])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_NET, min_size=1, max_size=5), st.sampled_from([0, 21, 22, 23, 79, 80, 443, 444, 8500, 65535]))
def test_the_ports_are_those_that_the_policy_leaves(rules, port):
    request = NetRequest("tcp", ip_address("2001:db8::1"), port)
    assert (port in set(ports.allowed(rules))) is not decide(policy(rules), request).denied


@pytest.mark.parametrize(
    ("words", "socket", "refused"),
    [
        (("-tcp:",), (AF_INET, STREAM, 0), False),
        (("-tcp:",), (AF_INET6, STREAM, 6), False),
        (("-tcp:",), (AF_INET, STREAM, 262), True),
        (("-tcp:",), (43, STREAM, 0), True),
        (("-tcp:",), (AF_INET, RAW, 6), True),
        (("-tcp:",), (AF_INET, DGRAM, 17), False),
        (("-udp:",), (AF_INET, DGRAM, 17), True),
        (("-udp:",), (AF_INET, DGRAM, 136), True),
        (("-udp:",), (AF_INET, DGRAM, 1), False),
        (("-udp:",), (AF_INET, STREAM, 0), False),
        (("-any:",), (AF_INET, DGRAM, 1), True),
        (("-any:",), (40, STREAM, 0), True),
        (("-any:",), (1, STREAM, 0), False),
        (("-unix:",), (1, STREAM, 0), True),
        (("-unix:",), (AF_INET, STREAM, 0), False),
        (("-any:", "+any:*:443"), (AF_INET, DGRAM, 17), True),
        (("-any:", "+udp:"), (AF_INET, DGRAM, 17), False),
        (("-any:", "+udp:"), (AF_INET6, DGRAM, 0), False),
        (("-any:", "+udp:"), (AF_INET, DGRAM, 136), False),
        (("-any:", "+udp:"), (AF_INET, DGRAM, 1), True),
        (("-any:", "+udp:"), (AF_INET, STREAM, 132), True),
        (("-any:", "+udp:"), (AF_INET, RAW, 17), True),
        (("-any:", "+udp:"), (40, DGRAM, 0), True),
        (("-any:", "-udp:", "+udp:"), (AF_INET, DGRAM, 17), True),
        (("-any:", "+any:"), (AF_INET, DGRAM, 17), True),
    ],
)
def test_sockets_that_are_not_judged_by_port_are_not_made(words, socket, refused):
    rules = [nets.parse(word[1:], allow=word[0] == "+") for word in words]
    assert ports.refused(rules, *socket) is refused


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["tcp:", "udp:", "any:"])), min_size=1, max_size=3),
    st.integers(0, 47),
    st.integers(0, 10),
    st.sampled_from([0, 1, 6, 17, 33, 58, 132, 136, 256, 262]),
)
def test_a_socket_that_the_policy_refuses_whole_is_not_made(words, family, kind, protocol):
    rules = [nets.parse(word, allow=allow) for allow, word in words]
    if decide(policy(rules), SocketRequest(family, kind, protocol)).denied:
        assert ports.refused(rules, family, kind, protocol)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["udp", "any"]), _PORT).map(
            lambda one: nets.parse(f"{one[1]}:{one[2]}", allow=one[0])
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0, 21, 22, 23, 79, 80, 443, 444, 8500, 65535]),
)
def test_udp_is_made_only_where_the_policy_leaves_every_port(rules, port):
    if decide(policy(rules), NetRequest("udp", ip_address("192.0.2.7"), port)).denied:
        assert ports.refused(rules, AF_INET, DGRAM, 17)


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        (("-unix:",), True),
        (("-unix:/**", "-unix:@*"), True),
        (("-unix:/**", "-unix:/run/docker.sock"), True),
        (("-unix:/**", "+unix:/run/x"), False),
        (("-unix:", "+unix:@dbus"), False),
        (("-unix:@*",), False),
        (("-unix:/run/**",), False),
    ],
)
def test_unix_sockets_are_not_made_where_every_file_is_denied_and_nothing_excepted(words, closed):
    rules = [nets.parse(word[1:], allow=word[0] == "+") for word in words]
    held = [Landlock(rules=tuple(rules)).guarantees(rule, FOUND) for rule in rules]
    assert all(isinstance(one, Guarantees) and not one.short for one in held) is closed
    assert ports.closes_unix(rules) is closed is beside.closes_sockets(rules)
    assert ports.refused(rules, 1, STREAM, 0) is closed


def test_pairs_of_unix_streams_are_made():
    rules = [nets.parse("unix:", allow=False)]
    assert not ports.refused(rules, 1, STREAM, 0, pair=True) and not ports.refused(rules, 1, 5, 0, pair=True)
    assert all(ports.refused(rules, 1, kind, 0, pair=True) for kind in range(16) if kind not in (STREAM, 5))


# ---- the filter beside ----------------------------------------------------------------------------------------------


def table(*words):
    rules = [
        *rules_of(*(word for word in words if "/" in word)),
        *(nets.parse(w[1:], allow=False) for w in words if "/" not in w),
    ]
    made = plan.make(policy(rules), FOUND, COMMAND)
    return beside.table(beside.of(made.standing), "x86_64"), made


NATIVE = 0xC000003E


def entry(found, call, *args, abi="x86_64", arch=NATIVE):
    number = performed.catalog.by_name(abi)[call].number
    return cbpf.find(found, arch, number, (*args, *[0] * (6 - len(args))))


def test_what_changes_attributes_meets_the_filter_and_terminals_do_not():
    found, _ = table("-w:/etc/**")
    for call in performed.CALLS & performed.catalog.by_name("x86_64").keys():
        assert entry(found, call).rule >= 0
    for call in ("io_uring_setup", "open_by_handle_at", "ioctl"):
        assert bool(entry(found, call, 3, 0x40086602)) is (call != "open_by_handle_at")
    assert entry(found, "ioctl", 3, 0x5401).rule < 0 and entry(found, "ioctl", 3, 0x40086602).rule >= 0
    assert entry(found, "ioctl", 3, 0x80086601).rule < 0, "asking for flags changes none"
    assert entry(found, "chmod", abi="i386", arch=cbpf.I386).rule >= 0


def test_queues_are_neither_made_nor_removed_and_those_that_are_there_are_opened():
    found, _ = table("-w:/etc/**")
    for abi, arch in (("x86_64", NATIVE), ("i386", cbpf.I386)):
        assert entry(found, "mq_unlink", abi=abi, arch=arch).rule >= 0
        made = entry(found, "mq_open", 0, os.O_CREAT | os.O_RDWR, abi=abi, arch=arch)
        assert beside.judge(beside.Beside("", beside.QUEUES), None, made, None, lambda: True).refused
        assert entry(found, "mq_open", 0, os.O_RDONLY, abi=abi, arch=arch) is None
    assert entry(table("-r:/etc/**")[0], "mq_unlink") is None


def test_a_fast_open_is_no_way_round_connect():
    found, _ = table("-tcp:")
    assert entry(found, "sendto", 3, 0, 0, 0x20000000).rule >= 0 and entry(found, "sendto", 3, 0, 0, 0) is None
    assert (
        entry(found, "sendmsg", 3, 0, 0x20004000).rule >= 0 and entry(found, "sendmmsg", 3, 0, 1, 0x20000000).rule >= 0
    )
    assert entry(found, "setsockopt", 3, 6, 31).rule >= 0 and entry(found, "setsockopt", 3, 6, 1) is None
    assert entry(found, "socketcall", 16, abi="i386", arch=cbpf.I386).rule >= 0


def test_the_harmless_commands_are_those_of_the_hooks():
    text = (tree.__file__).split("/isotrace/")[0] + "/bpf/block_ioctls.h"
    with open(text) as header:
        body = header.read().partition("switch (command)")[2].partition("return 1;")[0]
    listed = {int(word.strip(":"), 0) for line in body.splitlines() for word in line.split()[1:2] if "case" in line}
    assert listed == set(beside._HARMLESS)
