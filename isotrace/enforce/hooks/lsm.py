"""Refusing at the kernel's security hooks, as an LSM or by fmod_ret on the functions that run the hooks."""

from __future__ import annotations

import logging
import os
import resource
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from isotrace.backends.attached import u32
from isotrace.enforce import Enforced, programs
from isotrace.enforce.hooks import addresses, coverage, guard, objects, sockets, standing
from isotrace.enforce.hooks.nfa import BITS, mask
from isotrace.enforce.hooks.objects import EXECUTE, FIXED, LETTERS, PEER, AnchorRule, Anchors
from isotrace.enforce.hooks.sockets import Sockets
from isotrace.enforce.programs import Programs, Refusing
from isotrace.enforce.selftest import child, trials
from isotrace.enforce.tables import RuleTable, calls_by_strictness, hook_table, hooks_for
from isotrace.errors import KernelError
from isotrace.kernel import attachable, bpf, btf
from isotrace.kernel.facts import Facts, facts
from isotrace.policy.decide import strictness
from isotrace.policy.model import HELD, CallRule, PathRule, StandingRule
from isotrace.policy.patterns import EVERYTHING
from isotrace.trace import plan
from isotrace.trace.events import SLOTS
from isotrace.trace.plan import Attachment
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
_OFFSETS = btf.OBJECTS | {
    "OFF_MSG_NAME": ("msghdr", "msg_name"),
    "OFF_D_SB": ("dentry", "d_sb"),
    "OFF_D_FLAGS": ("dentry", "d_flags"),
    "OFF_S_ROOT": ("super_block", "s_root"),
    "OFF_S_TYPE": ("super_block", "s_type"),
    "OFF_FS_FLAGS": ("file_system_type", "fs_flags"),
    "OFF_FS_NAME": ("file_system_type", "name"),
    "OFF_FILE_INODE": ("file", "f_inode"),
    "OFF_F_FLAGS": ("file", "f_flags"),
    "OFF_F_MODE": ("file", "f_mode"),
    "OFF_I_DENTRY": ("inode", "i_dentry"),
    "OFF_MOUNT_NS": ("mount", "mnt_ns"),
    "OFF_VM_FILE": ("vm_area_struct", "vm_file"),
    "OFF_PERSONALITY": ("task_struct", "personality"),
    "OFF_SK_TYPE": ("sock", "sk_type"),
}
_UNIX_OFFSETS = {"OFF_UNIX_PATH": ("unix_sock", "path")} | btf.UNIX_NAMES
_CGROUP_OFFSETS = {"OFF_TASK_CGROUPS": ("task_struct", "cgroups"), "OFF_CSS_DEFAULT": ("css_set", "dfl_cgrp")}
_LEARN_AT = "sb_statfs"
_BLOOM = 4096  # bpf/block_paths.h

_HELD = 1 << 9  # no access, as FIXED: reading what is open already
_BITS = {**LETTERS, HELD: _HELD, "u": PEER, "k": FIXED}


def by_lsm(hook: str, lsm: bool) -> bool | None:
    """Whether the hook takes an LSM program, as ``lsm`` asks for first, else fmod_ret; None where it takes neither."""
    if lsm and attachable.lsm(hook).verdict == "yes":
        return True
    return False if attachable.fmod_ret(coverage.function(hook)).verdict == "yes" else None


def _path_judges(denied: int, lsm: bool) -> dict[str, str]:
    """Hook → what judges there, for what rules on paths deny."""
    found = {}
    for hook, (judge, letters) in coverage.PATHS.items():
        means = by_lsm(hook, lsm) if denied & sum(_BITS[letter] for letter in letters) else None
        if means is not None:
            found[hook] = _dentry_judge(hook, means) if judge == "judge_dentry" else judge
    return found


def _dentry_judge(hook: str, lsm: bool) -> str:
    """By the position of the dentry among the arguments: kernels differ in what comes before it."""
    attached = f"bpf_lsm_{hook}" if lsm else coverage.function(hook)
    position = btf.vmlinux().parameters(attached).index("dentry")
    return ("judge_first", "judge_second")[position]


def _offsets(unix: bool) -> dict[str, int]:
    wanted = _OFFSETS | guard.OFFSETS | (_UNIX_OFFSETS if unix else {})
    found = btf.required(wanted, "see: isotrace doctor")
    found["OFF_D_ALIAS"] = _alias()
    with suppress(KeyError):  # a kernel without cgroups
        found |= {name: btf.vmlinux().offset(*path) for name, path in _CGROUP_OFFSETS.items()}
    user_path = _user_path()
    found |= {"BORROWED_PATH": 1} if user_path is None else {"OFF_BACKING_PATH": user_path}
    found["OFF_D_HASH"] = found["OFF_D_NAME"]  # a qstr begins with its hash and length
    found["OFF_D_NAME"] += btf.QSTR_NAME
    found["OFF_SK_ADDRESS6"] = _address6(found["OFF_SK_ADDRESS"])
    dentry = [found[name] for name in ("OFF_D_PARENT", "OFF_D_INODE", "OFF_D_NAME")]
    return found | {"DENTRY_FROM": min(dentry), "DENTRY_BYTES": max(dentry) + 8 - min(dentry)}


def _alias() -> int:
    """Where a dentry hangs in its inode's list of names: a member of a union that has no name since 7.0."""
    with suppress(KeyError):
        return btf.vmlinux().offset("dentry", "d_alias")
    return btf.vmlinux().offset("dentry", "d_u")


def _user_path() -> int | None:
    """Where a file that an overlay opens in a layer has the overlay's path beside its own (6.8); None: it has no other."""
    with suppress(KeyError):
        return btf.vmlinux().offset("backing_file", "user_path")
    return None


def _address6(other: int) -> int:
    """Of a socket; a kernel without IPv6 has none, and ``other`` is as good."""
    try:
        return btf.vmlinux().offset("sock_common", "skc_v6_rcv_saddr")
    except KeyError:
        return other


def _anchor_rules(enforced: Sequence[Enforced], rule_table: RuleTable) -> list[AnchorRule]:
    """The rules on paths, those of unix sockets too, the most specific first."""
    found = [(one, one.rule.pattern, _accesses(one.rule)) for one in enforced if isinstance(one.rule, PathRule)]
    found += [(one, rule.path, PEER) for one, rule in sockets.rules(enforced) if rule.path]
    found.sort(key=lambda entry: strictness(entry[0].rule))
    found.sort(key=lambda entry: entry[1].specificity, reverse=True)
    return [AnchorRule(rule_table.add(one), one.rule.allow, accesses, pattern) for one, pattern, accesses in found]


def _closed(rule_table: RuleTable, rules: Sequence[AnchorRule], unix: Sockets | None) -> dict[str, int]:
    """The rules that answer for what cannot be judged: when a file is used, and when something with sockets moves."""
    on_sockets = unix.closed if unix else 0
    on_files = rule_table.strictest([rule.index for rule in rules if not rule.allow and rule.accesses != PEER])
    both = rule_table.strictest([index for index in (on_sockets, on_files) if index])
    return {"CLOSED_RULE": on_files or both, "MOVE_CLOSED": both}


def _standing(
    enforced: Sequence[Enforced], rule_table: RuleTable, exists: Callable[[str], bool]
) -> dict[str, list[tuple[str, int]]]:
    """Hook → what judges there for standing rules, and the indexes of these."""
    rules = [(rule_table.add(one), one.rule) for one in enforced if isinstance(one.rule, StandingRule)]
    return {hook: asked for hook, asked in standing.judges(rules).items() if exists(hook)}


def _executing(rule_table: RuleTable, rules: Sequence[AnchorRule]) -> dict[str, int]:
    """The rules that answer for programs that no path has, and for memory that no file is known of."""
    on_programs = [rule for rule in rules if rule.accesses & EXECUTE]
    everywhere = next((rule for rule in on_programs if rule.pattern == EVERYTHING), None)
    closed = rule_table.strictest([rule.index for rule in on_programs if not rule.allow])
    return {"NOWHERE": 0 if everywhere is None or everywhere.allow else everywhere.index, "EXECUTE_CLOSED": closed}


def _accesses(rule: PathRule) -> int:
    return sum(LETTERS[letter] for letter in rule.access if letter != HELD)


class Hooks(Refusing):
    """An ``Enforcer`` at the security hooks."""

    def __init__(self, enforced: Sequence[Enforced], target: Target, lsm: bool) -> None:
        rule_table, exists = RuleTable(), lambda hook: by_lsm(hook, lsm) is not None
        self._rules: list[tuple[int, CallRule]] = [
            (rule_table.add(one), rule) for one, rule in calls_by_strictness(enforced)
        ]
        anchor_rules = _anchor_rules(enforced, rule_table)
        self._anchors = Anchors(anchor_rules) if anchor_rules else None
        self._packed = objects.pack(self._anchors) if self._anchors else None
        self._nets = addresses.table(enforced, rule_table)
        self._sockets = sockets.table(enforced, rule_table, anchor_rules)
        rest = self._sockets.rest if self._sockets else 0
        if self._anchors and rest:
            self._anchors.denied |= PEER
        self._rule_table = rule_table
        self._closed = _closed(rule_table, anchor_rules, self._sockets) | _executing(rule_table, anchor_rules)
        self._close_rings(enforced, rule_table)
        self._pinned: list[int] = []
        calls = hooks_for([rule for _, rule in self._rules], exists)
        accesses = self._anchors.denied | (FIXED if self._anchors.fixtures else 0) if self._anchors else 0
        self._held = any(isinstance(one.rule, PathRule) and HELD in one.rule.access for one in enforced)
        accesses |= _HELD if self._held else 0
        peers = self._sockets.judges() if self._sockets else {}
        judges = {**(coverage.NETS if self._nets else {}), **peers, **_path_judges(accesses, lsm)}
        self._standing = _standing(enforced, rule_table, exists)
        self._user_hooks = {*calls, *judges}
        self._hooks = {hook: by_lsm(hook, lsm) is True for hook in (*calls, *judges, *self._standing)}
        self._learner = coverage.symbol(_LEARN_AT, by_lsm(_LEARN_AT, lsm) is True) if self._anchors else ""
        known = facts()
        wanted = self._plan(rule_table, programs.constants(target, rule_table, known), judges)
        super().__init__(target, self._programs(wanted, known), known)

    def _programs(self, wanted: Programs, known: Facts) -> Programs:
        """What is loaded beside the programs at hooks."""
        return wanted

    def _close_rings(self, enforced: Sequence[Enforced], rule_table: RuleTable) -> None:
        """Refuse to set up io_uring where the guarantees say so, in the name of the strictest rule that asks for it."""
        closing = [one for one in enforced if one.guarantees.io_uring == "closed" and not one.rule.allow]
        first = min(closing, key=lambda one: strictness(one.rule), default=None)
        if first:
            index = rule_table.numbers.index(first.number)
            self._rules.append((index, CallRule("io_uring", frozenset({"io_uring_setup"}), action=first.action)))

    def _plan(self, rule_table: RuleTable, constants: list[str], judges: Mapping[str, str]) -> Programs:
        constants += [f"{name}={value}" for name, value in _offsets(self._sockets is not None).items()]
        constants += [f"HEARTBEAT={[*self._hooks].index(guard.BEATS)}"] if guard.BEATS in self._hooks else []
        constants += [f"HOOKS={max(1, len(self._hooks))}", *self._sizes(), *(["CALLS"] if self._rules else [])]
        if self._nets:
            constants += [f"NETS={len(self._nets.nets)}", f"NETS_CLOSED={self._nets.closed}"]
        symbols = {hook: coverage.symbol(hook, lsm) for hook, lsm in self._hooks.items()}
        lines = ["\n"]
        for index, (hook, symbol) in enumerate(symbols.items()):
            lines.append(self._hook(index, hook, symbol, judges.get(hook, "judge_nothing")))
        if self._learner:
            lines.append(f"LEARN({self._learner})\n")
        loaded = [*symbols.values(), *([self._learner] if self._learner else [])]
        kinds = {symbol: "LSM" if symbol.startswith("lsm__") else "TRACING" for symbol in loaded}
        attach = [Attachment("hook", "", symbol) for symbol in symbols.values()]
        return Programs("block_lsm.c", constants, kinds, attach, self._maps(), "".join(lines), rule_table)

    def broken(self) -> str:
        """Whether a program at a hook that isotrace comes to by itself does not run, though it was given three chances.

        One that the kernel skips because it runs already on that CPU is there: that is counted.
        """
        if guard.BEATS not in self._hooks:
            return ""
        program = coverage.symbol(guard.BEATS, self._hooks[guard.BEATS])
        before, heartbeat = self._missed(program), self._loaded.maps["heartbeat"]
        if any(guard.beats(heartbeat) for _ in range(3)) or self._missed(program) != before:
            return ""
        return f"the kernel does not run the programs any more ({super().broken() or 'nothing says why'})"

    def _hook(self, index: int, hook: str, symbol: str, judge: str) -> str:
        """The C text of the program at ``hook``."""
        asked = self._standing.get(hook, ())
        text, beside = (standing.function(index, asked, hook), f"standing_{index}") if asked else ("", "no_standing")
        if hook in self._user_hooks:
            address = "message_address" if hook == "socket_sendmsg" else "no_address"
            return f"{text}HOOK({index}, {symbol}, {judge}, {address}, {beside})\n"
        return f"{text}{'ALWAYS' if hook in standing.ALWAYS else 'STANDING'}({index}, {symbol}, {beside})\n"

    def _maps(self) -> list[str]:
        found = [*guard.MAPS, *(["call_rules"] if self._rules else [])]
        found += ["nets", "socket_kinds"] if self._nets else []
        found += ["abstract_names"] if self._sockets and self._sockets.names else []
        if self._anchors:
            found += ["anchors", "filesystems", "children", "fixtures", "learned", "anchor_bloom", "remembered"]
            found += ["path_nfa", "words", "glob_entries", "move_rules", "departed"] if self._anchors.nfa.start else []
            found += ["name_nfa"] if self._anchors.nfa.stars else []
        return found

    def _sizes(self) -> list[str]:
        found = {**(self._sockets.constants() if self._sockets else {}), **self._anchor_sizes()}
        return [f"{name}={value}" for name, value in found.items()]

    def _anchor_sizes(self) -> dict[str, int | str]:
        if not self._anchors or not self._packed:
            return {}
        found: dict[str, int | str] = {"PATH_ACCESSES": self._anchors.denied, "ROOTS": len(self._packed.roots)}
        found |= self._closed | {"UNIX_DEEP": int(self._anchors.deep)} if self._sockets else self._closed
        found |= {"ANCHORS": 2 * len(self._packed.objects) + 2, "FILESYSTEMS": 1024}
        found["FIXTURES"] = 2 * len(self._anchors.fixtures) + 2
        found["CHILDREN"] = 2 * len(self._packed.children) + 2
        if self._anchors.nfa.start:
            found |= {"GLOBS": len(self._packed.globs), "WORDS": 2 * len(self._anchors.nfa.words) + 2}
            found["ANCHOR_GLOBS"] = self._anchors.most_globs
            found |= self._move_masks(self._anchors)
        if self._anchors.nfa.stars:
            found["STARS"] = len(self._anchors.nfa.stars)
        return found

    def _move_masks(self, anchors: Anchors) -> dict[str, str]:
        """The bits of the state that forbid moves, those that only report them, and those that ``anchors`` tells apart."""
        denying = {
            bit: self._rule_table.reports(self._rule_table.strictest(indexes))
            for bit, indexes in anchors.moves.items()
            if indexes
        }
        kinds: dict[str, list[int]] = {
            "REFUSED_MOVES": [bit for bit, reports in denying.items() if not reports],
            "AUDITED_MOVES": [bit for bit, reports in denying.items() if reports],
            "EVERYWHERE": [*anchors.everywhere],
            "WRITTEN": [*anchors.written],
            "NAMED": [*anchors.named],
        }
        parts = {name: zip(("LOW", "HIGH"), mask(bits), strict=True) for name, bits in kinds.items()}
        return {f"{name}_{part}": f"{word}ULL" for name, words in parts.items() for part, word in words}

    def _fill(self) -> None:
        super()._fill()
        guard.fill(self._loaded, self._target)
        calls = plan.own_calls()
        for index, hook in enumerate(self._hooks):
            if not self._rules or hook not in coverage.on_calls():  # one that only looks at paths or addresses
                continue
            found = hook_table(hook, self._rules, calls)
            entries = {u32(index * SLOTS + slot): struct.pack("=HH", *entry) for slot, entry in found.items()}
            bpf.map_update_all(self._loaded.maps["call_rules"], entries)
        if self._nets:
            bpf.map_update_all(self._loaded.maps["nets"], {u32(at): net for at, net in enumerate(self._nets.nets)})
            bpf.map_update(self._loaded.maps["socket_kinds"], u32(0), self._nets.kinds)
        if self._sockets and self._sockets.names:
            bpf.map_update(self._loaded.maps["abstract_names"], u32(0), self._sockets.names.pack())
        if self._anchors and self._packed:
            self._fill_patterns()
            self._fill_anchors()

    def _fill_patterns(self) -> None:
        assert self._anchors and self._packed
        maps, nfa = self._loaded.maps, self._anchors.nfa
        bpf.map_update_all(maps["children"], self._packed.children)
        if not nfa.start:
            return
        bpf.map_update(maps["path_nfa"], u32(0), nfa.pack())
        words = {word.ljust(64, b"\0"): struct.pack("=QQ", *mask(bits)) for word, bits in nfa.words.items()}
        bpf.map_update_all(maps["words"], words)
        bpf.map_update_all(maps["glob_entries"], {u32(at): entry for at, entry in enumerate(self._packed.globs)})
        moves = {
            struct.pack("=QQ", 1 << bit % BITS, bit // BITS): struct.pack("=H", self._rule_table.strictest(indexes))
            for bit, indexes in self._anchors.moves.items()
        }
        bpf.map_update_all(maps["move_rules"], moves)
        if nfa.stars:
            bpf.map_update(maps["name_nfa"], u32(0), nfa.pack_name_nfa())

    def _fill_anchors(self) -> None:
        """Ask the kernel for the inodes' addresses, and keep the inodes."""
        assert self._packed
        assert self._anchors
        _room_for_descriptors(len(self._packed.objects) + len(self._anchors.fixtures))
        link = bpf.raw_tracepoint_open("", self._loaded.programs[self._learner])
        devices, bloom = set(self._packed.roots), [0] * (_BLOOM // 64)
        try:
            for path, value in self._packed.objects.items():
                inode, device, number = self._learn(path)
                bpf.map_update(self._loaded.maps["anchors"], struct.pack("=Q", inode), value)
                devices.add(device)
                bloom[number % _BLOOM // 64] |= 1 << number % 64
            for path, indexes in self._anchors.fixtures.items():
                rule = struct.pack("=H", self._rule_table.strictest(indexes))
                bpf.map_update(self._loaded.maps["fixtures"], struct.pack("=Q", self._learn(path)[0]), rule)
        finally:
            os.close(link)
        roots = {u32(device): self._packed.roots.get(device, objects.NOTHING) for device in devices}
        bpf.map_update_all(self._loaded.maps["filesystems"], roots)
        bpf.map_update_all(
            self._loaded.maps["anchor_bloom"], {u32(at): struct.pack("=Q", word) for at, word in enumerate(bloom)}
        )

    def _learn(self, path: str) -> tuple[int, int, int]:
        """The object's inode by address, its device, its inode number."""
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._pinned.append(descriptor)
        os.fstatvfs(descriptor)
        raw = [bpf.map_lookup(self._loaded.maps["learned"], u32(index), 8) for index in range(3)]
        inode, device, number = (struct.unpack("=Q", value or bytes(8))[0] for value in raw)
        bpf.map_update(self._loaded.maps["learned"], u32(0), bytes(8))
        if not inode:
            raise KernelError(f"the kernel does not tell which object {path} is", "see: isotrace doctor")
        return inode, device, number

    def _self_test(self) -> None:
        guard.fill_links(self._loaded, self._links)
        tried = [hook for hook in trials.ACTIONS if hook in self._hooks]
        later = coverage.PEERS.keys() | (coverage.BENEATH if self._anchors else frozenset())
        failed = self._not_refused([hook for hook in tried if hook not in later])
        numbers = {hook: number for number, hook in enumerate(self._hooks, 1)}
        for hook in sorted(later & numbers.keys() & set(tried)):
            failed += self._not_refused([hook], numbers[hook])
        if failed:
            raise KernelError(
                f"programs at {', '.join(failed)} are attached, but do not deny", "see: isotrace doctor; --backend"
            )

    def _not_refused(self, tried: Sequence[str], only: int = 0) -> list[str]:
        """Those hooks at which the self-test is not refused, by program number ``only`` where that is not 0."""
        _LOG.debug("self-test at %s", ", ".join(tried))
        with trials.directory() as directory:
            things = trials.Things(Path(directory))
            arm = partial(self._arm_self_test, hook=only)
            found = child.ask(trials.at_hooks(tried, things), arm, things.prepare)
        return [hook for hook, result in zip(tried, found, strict=True) if not trials.is_refused(hook, result)]

    def close(self) -> None:
        """Detach, and let go of what rules name."""
        super().close()
        while self._pinned:
            os.close(self._pinned.pop())


def _room_for_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
