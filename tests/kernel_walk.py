"""What bpf/block_{paths,globs,nets,unix}.h do with their tables, in Python: a model to test the tables with.

A place is (device, names from the root of its file system); a mount knows where it hangs. Reads the packed bytes, not the
objects that they were made from.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from isotrace.enforce.hooks.nfa import NAME, PathNfa, mask
from isotrace.enforce.hooks.objects import CLASSES, EXECUTE, MOVE, PEER, PREFIX_NAME, READ, WRITE, Anchors, Packed

WALK = 64
CLOSED = -1  # refused because the walk did not come to its end
ALL = (1 << 64) - 1


@dataclass(frozen=True)
class Mount:
    """A file system that is mounted at ``point`` (names, seen from the root) in the mount ``parent``; None: the root."""

    device: int
    point: tuple[str, ...] = ()
    parent: Mount | None = None


@dataclass
class Walk:
    """One walk; ``open`` are the accesses not yet decided, ``denied`` the index of the rule that denies."""

    open: int
    state: list[int] = field(default_factory=lambda: [0, 0])
    kept: list[int] = field(default_factory=lambda: [0, 0])
    denied: int = 0
    moves: list[int] = field(default_factory=lambda: [0, 0])
    cover: int = 0
    unsure: bool = False


def _has(words: Sequence[int], bit: int) -> bool:
    return bool(words[bit // 64] >> bit % 64 & 1)


def _verdict(raw: bytes) -> tuple[int, int, tuple[int, ...]]:
    decided, denied, *rules = struct.unpack("=BB5H", raw)
    return decided, denied, tuple(rules)


@dataclass(frozen=True)
class Endpoint:
    """``struct endpoint`` of bpf/block_nets.h."""

    address: bytes
    low: int
    high: int
    version: int
    protocol: int
    unspecified: int


class Kernel:
    """The tables in place. ``filesystems`` has the devices of every anchor, as the enforcer enters them."""

    def __init__(self, packed: Packed, nfa: PathNfa, mounts: tuple[Mount, ...], folded: bool = False) -> None:
        """``folded``: every directory ignores case."""
        self._packed, self._mounts, self._folded = packed, mounts, folded
        packed_names = _pairs(nfa.pack()) if nfa.start else ([0, 0],) * 5
        self._start, self._loop, self._any, self._unsure, self._doubted = packed_names
        self._words = {name: mask(bits) for name, bits in nfa.words.items()}
        self._name_nfa = struct.unpack(f"={1 + 512 + 48}Q", nfa.pack_name_nfa()) if nfa.stars else ()

    def mount_of(self, names: tuple[str, ...]) -> Mount:
        return max(
            (one for one in self._mounts if names[: len(one.point)] == one.point), key=lambda one: len(one.point)
        )

    def judge(self, path: str, access: int, with_mount: bool = True) -> int:
        """The index of the rule that denies the access, 0 where none does; some hooks do not know the mount."""
        return self._walk(path, access, with_mount)[0]

    def judge_socket(self, path: str, rest: int) -> int:
        """The index of the rule that denies a socket's file as a peer; ``rest`` denies what no rule on paths decides."""
        denied, left = self._walk(path, PEER, True)
        return denied or (rest if left else 0)

    def may_move(self, old: str, new: str, anchors: Anchors) -> bool:
        """Whether a directory may get another name, of which nothing is there yet, as far as its content is concerned."""
        (left, before), (_, after) = self._anchors(old), self._anchors(new)
        if left or self.judge(new, WRITE):
            return False
        if (before.moves, before.cover) == (after.moves, after.cover) and not before.unsure | after.unsure:
            return True
        leaves = any(_has(before.moves, bit) for bit, indexes in anchors.moves.items() if indexes)
        return not leaves and not any(_has(after.moves, bit) for bit in anchors.written)

    def _anchors(self, path: str) -> tuple[int, Walk]:
        walk = Walk(READ | WRITE | EXECUTE | MOVE)
        return self._go(walk, path, True), walk

    def _walk(self, path: str, access: int, with_mount: bool) -> tuple[int, int]:
        """As ``judge``, and the accesses that no rule decided."""
        walk = Walk(access)
        return self._go(walk, path, with_mount), walk.open

    def _go(self, walk: Walk, path: str, with_mount: bool) -> int:
        at = tuple(part for part in path.split("/") if part)
        mount, first = self.mount_of(at), True
        walk.state = list(self._start)
        came: tuple[str, bool] | None = None  # the name that the walk came from, and whether that is the object
        covered = False  # at the directory below a mount, which no path leads to
        for _ in range(WALK):
            top = at == mount.point and not covered
            if top and with_mount:
                walk.kept = list(walk.state)
            anchor = None if covered else self._packed.objects.get("/" + "/".join(at))
            if anchor is None and top:
                anchor = self._packed.roots.get(mount.device)
            if anchor and self._apply(walk, anchor, came, first):
                return walk.denied
            if not top:
                self._step(walk, at[-1])
                came, at, covered, first = (at[-1], first), at[:-1], False, False
            elif mount.parent is None or not with_mount:
                return 0
            else:
                mount, walk.state, came, covered, first = mount.parent, list(walk.kept), None, True, False
        return CLOSED

    def _apply(self, walk: Walk, anchor: bytes, came: tuple[str, bool] | None, first: bool) -> bool:
        at, below, (directory, span) = anchor[:12], anchor[12:24], struct.unpack("=II", anchor[24:32])
        if directory and came and self._child(walk, directory, *came):
            return True
        if span and self._globs(walk, span):
            return True
        *moves, cover = struct.unpack("=QQQ", anchor[32:])
        walk.moves = [old | state & bits for old, state, bits in zip(walk.moves, walk.state, moves, strict=True)]
        walk.cover += cover
        return _decide(walk, at if first else below)

    def _child(self, walk: Walk, directory: int, name: str, is_object: bool) -> bool:
        raw = name.encode("utf-8", "surrogateescape")
        if len(raw) + 1 >= PREFIX_NAME:
            return False
        found = self._packed.children.get(struct.pack("=I", directory) + raw.ljust(PREFIX_NAME, b"\0"))
        return bool(found) and _decide(walk, found[:12] if is_object else found[12:24])

    def _globs(self, walk: Walk, span: int) -> bool:
        for index in range(span & 0xFFFF, span >> 16):
            rule, bit, decided, denied, _pad = struct.unpack("=HHBBH", self._packed.globs[index])
            if not walk.state[bit // 64] >> (bit % 64) & 1:
                continue
            if walk.open & denied:
                walk.denied |= rule
                return True
            walk.open &= ~decided
        return walk.open == 0

    def _step(self, walk: Walk, name: str) -> None:
        if not any(walk.state):
            return
        raw = name.encode("utf-8", "surrogateescape")
        walk.unsure |= len(raw) + 1 >= NAME or self._folded
        matched = self._matched(raw)
        if self._folded:
            matched = [found | doubted for found, doubted in zip(matched, self._doubted, strict=True)]
        walk.state = [
            _step(state, found, loop) for state, found, loop in zip(walk.state, matched, self._loop, strict=True)
        ]

    def _matched(self, raw: bytes) -> list[int]:
        if len(raw) + 1 >= NAME:
            return [any_ | unsure for any_, unsure in zip(self._any, self._unsure, strict=True)]
        word = self._words.get(raw, (0, 0))
        found = [any_ | bits for any_, bits in zip(self._any, word, strict=True)]
        return self._match_name_nfa(found, raw) if self._name_nfa else found

    def _match_name_nfa(self, found: list[int], raw: bytes) -> list[int]:
        state = self._name_nfa[0]
        for letter in raw.ljust(NAME, b"\0"):
            state = ((state << 1 & ALL) & self._name_nfa[1 + letter]) | (state & self._name_nfa[257 + letter])
        for star in range(16):
            if state >> self._name_nfa[513 + star] & 1:
                found = [found[word] | self._name_nfa[529 + 2 * star + word] for word in (0, 1)]
        return found


def _pairs(raw: bytes) -> tuple[list[int], ...]:
    words = struct.unpack("=10Q", raw)
    return tuple(list(words[at : at + 2]) for at in range(0, 10, 2))


def _step(state: int, matched: int, loop: int) -> int:
    state = ((state & matched) << 1 & ALL) | (state & loop)
    return state | ((state & loop) << 1 & ALL)


def _decide(walk: Walk, raw: bytes) -> bool:
    decided, denied, rules = _verdict(raw)
    if refused := walk.open & denied:
        walk.denied = next(rules[index] for index, access in enumerate(CLASSES) if refused & access)
        return True
    walk.open &= ~decided
    return walk.open == 0


def judge_net(table: list[bytes], end: Endpoint) -> int:
    """The index of the rule that denies the address, 0 where none does."""
    words = end.address.ljust(16, b"\0")
    for raw in table:
        low, high, version, wanted, verdict, unspecified = struct.unpack("=HHBBHB3x", raw[32:])
        if wanted not in (0, end.protocol) or end.low < low or end.high > high:
            continue
        differs = any((one ^ other) & bits for one, other, bits in zip(raw[:16], words, raw[16:32], strict=True))
        if unspecified & end.unspecified if end.unspecified else version in (0, end.version) and not differs:
            return 0 if verdict & 0x8000 else verdict
    return 0


def judge_kind(packed: bytes, family: int, type_: int, protocol: int) -> int:
    """The index of the rule that refuses a socket whole, 0 where none does."""
    table = struct.unpack(f"={64 + 16 * 512}H", packed)
    if family not in (2, 10):
        return table[min(family, 63)]
    return table[64 + (type_ & 15) * 512 + min(protocol, 511)]


def judge_name(packed: bytes, room: int, name: bytes) -> int:
    """The index of the rule that denies an abstract name, 0 where none does."""
    table = struct.unpack(f"={257 * room}H", packed)
    state = 0
    for byte in name:
        state = table[(state & (room - 1)) << 8 | byte]
    return table[256 * room + (state & (room - 1))]
