"""Rules: the words that people write, and what the reference decides about a request."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace import catalog
from isotrace.catalog import refuse
from isotrace.errors import UsageError
from isotrace.policy import (
    Action,
    CallRequest,
    Group,
    NetRequest,
    PathRequest,
    Policy,
    decide,
    names,
    nets,
    paths,
    patterns,
)


def policy(*rules):
    return Policy((Group("", rules),))


def deny(text):
    return paths.parse(text, allow=False)


def allow(text):
    return paths.parse(text, allow=True)


def deny_net(text):
    return nets.parse(text, allow=False)


def allow_net(text):
    return nets.parse(text, allow=True)


def refused(rules, path, access="r"):
    return decide(policy(*rules), PathRequest(path, frozenset(access))).denied


def reached(rules, protocol, address, port, **more):
    return not decide(policy(*rules), NetRequest(protocol, ip_address(address), port, **more)).denied


class TestWords:
    def test_open_is_what_a_person_means(self):
        assert names.parse("open").calls == {"open", "openat", "openat2", "creat", "open_by_handle_at"}
        assert names.parse("=open").calls == {"open"}
        assert names.parse("openat").calls == {"openat"}

    @pytest.mark.parametrize(
        ("word", "sibling"),
        [
            ("chmod", "fchmodat2"),
            ("fork", "clone3"),
            ("kill", "pidfd_send_signal"),
            ("ptrace", "process_vm_writev"),
            ("mount", "open_tree_attr"),
            ("mount", "mount_setattr"),
            ("truncate", "truncate64"),
            ("stat", "statx"),
            ("setuid", "setresuid32"),
            ("rename", "renameat2"),
        ],
    )
    def test_a_word_covers_late_and_32_bit_siblings(self, word, sibling):
        assert sibling in names.parse(word).calls
        assert word in names.words_of(sibling)

    def test_every_call_of_the_table_exists_and_can_be_refused(self):
        for word in names.words().values():
            assert word.calls <= catalog.names(), word.name
            assert not word.calls & refuse.NEVER.keys(), word.name
            assert word.addressed <= word.calls
        assert catalog.names() >= names.VIA_IO_URING

    def test_connect_means_sending_with_an_address(self):
        rule = names.parse("connect")
        assert decide(policy(rule), CallRequest("sendto", address=True)).denied
        assert not decide(policy(rule), CallRequest("sendto", address=False)).denied
        assert decide(policy(rule), CallRequest("connect")).denied
        both = policy(names.parse("connect,sendto"))
        assert decide(both, CallRequest("sendto", address=False)).denied
        assert decide(policy(names.parse("sendto,connect")), CallRequest("sendto", address=False)).denied

    def test_taking_away_a_word_leaves_what_it_has_only_with_an_address(self):
        calls = names.parse("%network,!connect").calls
        assert "connect" not in calls and "sendto" in calls

    def test_families_leave_out_what_cannot_be_refused(self):
        assert "%process" in catalog.families_of("exit_group")
        assert "exit_group" not in names.parse("%process").calls
        assert names.parse("all").calls == catalog.names() - refuse.NEVER.keys() - refuse.NO_CODE

    def test_io_uring_is_closed_where_it_could_do_the_same(self):
        assert names.closes(names.parse("open").calls) == {"io_uring_setup", "io_uring_enter", "io_uring_register"}
        assert names.closes(names.parse("connect").calls) and names.closes(names.parse("rename").calls)
        assert not names.closes(names.parse("ptrace").calls)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("opne", "did you mean"),
            ("exit", "cannot be denied"),
            ("vserver", "need not be denied"),
            ("", "empty term"),
            ("open,,read", "empty term"),
            ("%nosuch", "unknown"),
            ("open,!open", "names no call"),
            ("\x1b[31m", '"\\x1b[31m"'),
        ],
    )
    def test_mistakes_are_one_line(self, text, says):
        with pytest.raises(UsageError) as raised:
            names.parse(text)
        message = f"{raised.value.message} {raised.value.hint}"
        assert says in message and message.isprintable()

    def test_of_two_rules_the_one_that_refuses_wins(self):
        audit, errno = names.parse("open", action=Action("audit")), names.parse("openat")
        assert decide(policy(audit, errno), CallRequest("openat")).rule == errno
        assert decide(policy(audit, errno), CallRequest("creat")).rule == audit


class TestPaths:
    @pytest.mark.parametrize(
        ("pattern", "inside", "outside"),
        [
            ("/etc/shadow", ["/etc/shadow"], ["/etc/shadow/x", "/etc/shadow-", "/etc"]),
            ("/etc/", ["/etc", "/etc/a", "/etc/a/b"], ["/etca", "/"]),
            ("/etc/**", ["/etc", "/etc/a", "/etc/a/b"], ["/etca", "/"]),
            ("/home/*/.ssh/**", ["/home/a/.ssh", "/home/a/.ssh/k"], ["/home/.ssh", "/home/a/b/.ssh", "/home/a/.sshx"]),
            ("/srv/**/key", ["/srv/key", "/srv/a/b/key"], ["/srv/a/keys", "/key"]),
            ("/a*z", ["/az", "/abz", "/a\nz"], ["/a/z", "/abzc"]),
            (r"/a\*", ["/a*"], ["/ab"]),
            ("/a.b", ["/a.b"], ["/axb"]),
            ("/", ["/", "/a", "/a/b"], []),
            ("//a//./b/../c", ["/a/c"], ["/a/b/c"]),
        ],
    )
    def test_what_a_pattern_matches(self, pattern, inside, outside):
        found = patterns.parse(pattern)
        assert [path for path in inside if not found.matches(path)] == []
        assert [path for path in outside if found.matches(path)] == []

    def test_mechanisms_learn_the_simple_shapes(self):
        assert patterns.parse("/etc/shadow").exact == "/etc/shadow"
        assert patterns.parse("/etc/**").subtree == "/etc" and patterns.parse("/").subtree == "/"
        assert patterns.parse("/*/x/**").subtree is None and patterns.parse("/a*").exact is None

    def test_the_more_specific_wins_and_a_tie_denies(self):
        rules = (deny("/srv/**"), allow("/srv/app/**"), deny("/srv/app/*.key"), allow("/srv/app/public.key"))
        assert refused(rules, "/srv/other") and not refused(rules, "/srv/app/x")
        assert refused(rules, "/srv/app/my.key") and not refused(rules, "/srv/app/public.key")
        assert refused((allow("/etc/"), deny("/etc/**")), "/etc/x")

    def test_accesses_are_told_apart(self):
        rules = (deny("w:/etc/**"),)
        assert refused(rules, "/etc/x", "w") and refused(rules, "/etc/x", "rw")
        assert not refused(rules, "/etc/x", "r") and not refused(rules, "/etc/x", "x")

    @pytest.mark.parametrize(
        "text",
        ["etc/passwd", "~/.ssh", "q:/etc", "/a/**b", "/*/..", "/" + "a" * 256, "/a" * 200, "/" + "a/" * 2048, "/\x1b"],
    )
    def test_mistakes_are_one_line_with_a_hint(self, text):
        with pytest.raises(UsageError) as raised:
            deny(text)
        assert raised.value.hint and raised.value.message.isprintable()


_NAME = st.text("ab", min_size=1, max_size=3)
_COMPONENT = st.one_of(_NAME, st.sampled_from(["*", "**", "a*", "*b", "a*b"]))
_PATH = st.lists(_NAME, min_size=0, max_size=4).map(lambda parts: "/" + "/".join(parts))


def narrowed(draw, component):
    """Components that match no more than ``component`` does, and less where it is a wildcard."""
    if component == "**":
        return draw(st.sampled_from([[], ["**"], ["*", "**"], ["**", "a"], ["a", "**"], ["b"], ["*"], ["a*"]]))
    if "*" in component:
        return [draw(st.sampled_from([component, component.replace("*", "a"), component.replace("*", "*b")]))]
    return [component]


@st.composite
def nested(draw):
    """A pattern, and one that matches a part of what it does."""
    wide = draw(st.lists(_COMPONENT, min_size=1, max_size=4))
    narrow = [one for component in wide for one in narrowed(draw, component)]
    return "/" + "/".join(wide), "/" + "/".join(narrow) if narrow else "/x"


@given(nested(), _PATH)
def test_a_part_is_never_less_specific_than_the_whole(pair, path):
    wide, narrow = (patterns.parse(text.rstrip("/") or "/") for text in pair)
    if pair[1] != "/x":
        assert narrow.specificity >= wide.specificity, pair
        assert wide.matches(path) or not narrow.matches(path)


@given(st.lists(_COMPONENT, max_size=5))
def test_a_normalised_pattern_reads_back_as_itself(components):
    found = patterns.parse("/" + "/".join(components)) if components else patterns.parse("/")
    assert patterns.parse(str(found)) == found


@given(
    st.lists(st.tuples(st.booleans(), st.lists(_COMPONENT, min_size=1, max_size=3), st.sampled_from(["r", "w", "rw"]))),
    _PATH,
)
def test_order_does_not_matter_and_a_denial_needs_a_matching_rule(raw, path):
    rules = [paths.parse(f"{access}:/{'/'.join(parts)}", allow=allowed) for allowed, parts, access in raw]
    request = PathRequest(path, frozenset("w"))
    forward, backward = decide(policy(*rules), request), decide(policy(*reversed(rules)), request)
    assert forward.denied == backward.denied
    matching = [rule for rule in rules if "w" in rule.access and rule.pattern.matches(path)]
    assert (forward.rule is None) == (not matching)
    if matching and all(not rule.allow for rule in matching):
        assert forward.denied


class TestNets:
    @pytest.mark.parametrize(
        ("text", "protocol", "network", "ports"),
        [
            ("tcp:10.0.0.0/8:443", "tcp", "10.0.0.0/8", (443, 443)),
            ("[::1]:80", "any", "::1/128", (80, 80)),
            (":53", "any", "None", (53, 53)),
            ("udp:0.0.0.0/0", "udp", "0.0.0.0/0", None),
            ("fe80::/10", "any", "fe80::/10", None),
            ("[fd00::]/8:1-2", "any", "fd00::/8", (1, 2)),
            ("10.1.2.3/8", "any", "10.0.0.0/8", None),
            ("::ffff:10.0.0.0/104", "any", "10.0.0.0/8", None),
            ("tcp:", "tcp", "None", None),
            ("*:80", "any", "None", (80, 80)),
        ],
    )
    def test_what_is_written_is_meant(self, text, protocol, network, ports):
        rule = deny_net(text)
        assert (rule.protocol, str(rule.network), rule.ports) == (protocol, network, ports)

    def test_unix_sockets_have_paths_and_abstract_names(self):
        assert str(deny_net("unix:/run/docker.sock").path) == "/run/docker.sock"
        rules = policy(
            deny_net("unix:"), allow_net("unix:@dbus*"), deny_net("unix:@dbus-9"), allow_net("unix:/run/ok/**")
        )
        for name, wanted in (("dbus-1", False), ("dbus-9", True), ("x", True)):
            assert decide(rules, NetRequest("unix", abstract=name)).denied is wanted
        assert not decide(rules, NetRequest("unix", path="/run/ok/s")).denied
        assert decide(rules, NetRequest("unix", path="/run/bad")).denied
        assert decide(rules, NetRequest("unix")).denied

    def test_the_longer_prefix_wins_then_the_narrower_ports_then_the_protocol(self):
        rules = (deny_net("any:"), allow_net("127.0.0.0/8"), deny_net("127.0.0.1:22"), allow_net("tcp:127.0.0.1:22"))
        assert not reached(rules, "tcp", "8.8.8.8", 53) and reached(rules, "tcp", "127.0.0.2", 22)
        assert reached(rules, "tcp", "127.0.0.1", 22) and not reached(rules, "udp", "127.0.0.1", 22)
        assert not reached((allow_net("10.0.0.0/8:1-9"), deny_net("10.0.0.0/8:1-9")), "tcp", "10.0.0.1", 5)

    def test_ipv4_inside_ipv6_is_ipv4(self):
        assert not reached((deny_net("10.0.0.0/8"),), "tcp", "::ffff:10.1.1.1", 80)
        assert reached((deny_net("::/0"),), "tcp", "::ffff:10.1.1.1", 80)

    def test_connecting_to_nowhere_is_connecting_to_this_host(self):
        rules = (deny_net("127.0.0.1"), deny_net("::1"))
        assert not reached(rules, "tcp", "0.0.0.0", 80) and not reached(rules, "tcp", "::", 80)
        assert reached(rules, "tcp", "0.0.0.0", 80, outward=False)

    @pytest.mark.parametrize(
        "text",
        [
            "foo:1",
            "",
            "localhost:80",
            "1.2.3.4:99999",
            "tcp:1.2.3.4:",
            "unix:run/x",
            "fe80::1%eth0",
            "[::1",
            "1.2.3.4/33",
            "sctp:1.2.3.4",
            "unix:@",
            "1.2.3.4:9-1",
            "0.0.0.0",
            "tcp:[::]:443",
            "\x1b:1",
            "1.2.3.4:0080x",
        ],
    )
    def test_mistakes_are_one_line_with_a_hint(self, text):
        with pytest.raises(UsageError) as raised:
            deny_net(text)
        assert raised.value.hint and raised.value.message.isprintable()


@given(st.text(max_size=30))
def test_no_text_is_more_than_a_usage_error(text):
    for parse in (names.parse, deny, deny_net):
        try:
            parse(text)
        except UsageError as error:
            assert "\n" not in error.message
