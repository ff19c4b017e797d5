"""What bpf/block_{paths,globs,nets,unix}.h do with their tables, in Python: a model to test the tables with.

A place is (device, names from the root of its file system); a mount knows where it hangs. Reads the packed bytes, not the
objects that they were made from.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isotrace.enforce.automaton import Names
from isotrace.enforce.objects import CLASSES, EXECUTE, MEET, MOVE, READ, WRITE, Packed
from isotrace.enforce.spelling import FOLDED, OTHERS, PIECE, UNSURE, fold, key

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
    """One walk; ``open`` are the accesses not yet decided, ``denied`` the slot of the rule that denies."""

    open: int
    state: list[int] = field(default_factory=lambda: [0, 0])
    kept: list[int] = field(default_factory=lambda: [0, 0])
    denied: int = 0
    moves: list[int] = field(default_factory=lambda: [0, 0])
    cover: int = 0
    unsure: bool = False


def _verdict(raw: bytes) -> tuple[int, int, tuple[int, ...]]:
    decided, denied, *rules = struct.unpack("=BB6HH", raw)
    return decided, denied, tuple(rules)


class Kernel:
    """The tables in place. ``filesystems`` has the devices of every anchor, as the enforcer enters them."""

    def __init__(self, packed: Packed, names: Names, mounts: tuple[Mount, ...], folds: bool = False) -> None:
        self._packed, self._mounts, self._folds = packed, mounts, folds
        words = _pairs(names.pack()) if names.start else ([0, 0],) * 5
        self._start, self._loop, self._any, self._unsure, self._odd = words
        self._words = {key: struct.unpack("=QQQ", value) for key, value in names.pack_words().items()}
        letters = names.pack_letters(folds)
        self._letters = struct.unpack(f"={1 + 512 + 48}Q", letters) if names.stars else ()

    def mount_of(self, names: tuple[str, ...]) -> Mount:
        return max(
            (one for one in self._mounts if names[: len(one.point)] == one.point), key=lambda one: len(one.point)
        )

    def judge(self, path: str, access: int, with_mount: bool = True) -> int:
        """The slot of the rule that denies the access, 0 where none does; some hooks do not know the mount."""
        return self._walk(path, access, with_mount)[0]

    def judge_socket(self, path: str, rest: int) -> int:
        """The slot of the rule that denies meeting a socket's file; ``rest`` denies what no rule on paths decides."""
        denied, left = self._walk(path, MEET, True)
        return denied or (rest if left else 0)

    def may_move(self, old: str, new: str, moves: Mapping[int, Sequence[int]]) -> bool:
        """Whether a directory may get another name, of which nothing is there yet, as far as its content is concerned."""
        (left, before), (_, after) = self._places(old), self._places(new)
        if left or self.judge(new, WRITE):
            return False
        same = (before.moves, before.cover) == (after.moves, after.cover) and not before.unsure | after.unsure
        return same or not any(before.moves[bit // 64] >> bit % 64 & 1 for bit, slots in moves.items() if slots)

    def _places(self, path: str) -> tuple[int, Walk]:
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
        at, below, (directory, span) = anchor[:16], anchor[16:32], struct.unpack("=II", anchor[32:40])
        if directory and came and self._child(walk, directory, *came):
            return True
        if span and self._globs(walk, span):
            return True
        *moves, cover = struct.unpack("=QQQ", anchor[40:])
        walk.moves = [old | state & bits for old, state, bits in zip(walk.moves, walk.state, moves, strict=True)]
        walk.cover += cover
        return _decide(walk, at if first else below)

    def _child(self, walk: Walk, directory: int, name: str, is_object: bool) -> bool:
        raw = name.encode("utf-8", "surrogateescape")
        children = self._packed.children
        if self._folds:
            origin = directory | FOLDED
            denied = children.get(key(origin, fold(raw)), children.get(key(origin, OTHERS)))
            if denied and _decide(walk, denied[:16] if is_object else denied[16:32]):
                return True
        found = None
        for piece in _pieces(raw):
            found = children.get(key(directory, piece))
            if found is None:
                return False
            directory = struct.unpack("=I", found[32:])[0]
        return found is not None and _decide(walk, found[:16] if is_object else found[16:32])

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
        walk.unsure |= self._folds
        matched = self._matched(raw)
        walk.state = [
            _step(state, found, loop) for state, found, loop in zip(walk.state, matched, self._loop, strict=True)
        ]

    def _matched(self, raw: bytes) -> list[int]:
        found, origin = list(self._any), 0
        for piece in _pieces(raw):
            *bits, origin = self._words.get(key(origin, piece), (0, 0, 0x7FFFFFFF))
            found = _or(found, bits)
        if self._letters:
            found = self._match_letters(found, raw)
        if self._folds:
            text = fold(raw)
            found = _or(found, self._odd)
            found = _or(found, self._unsure if text == UNSURE else self._words.get(key(FOLDED, text), (0, 0))[:2])
        return found

    def _match_letters(self, found: list[int], raw: bytes) -> list[int]:
        state = self._letters[0]
        for letter in raw + b"\0":
            state = ((state << 1 & ALL) & self._letters[1 + letter]) | (state & self._letters[257 + letter])
        for star in range(16):
            if state >> self._letters[513 + star] & 1:
                found = _or(found, self._letters[529 + 2 * star : 531 + 2 * star])
        return found


def _or(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [left | right for left, right in zip(one, other, strict=True)]


def _pieces(name: bytes) -> list[bytes]:
    """As the kernel reads it: as long as a piece is full there may be more."""
    found = [name[: PIECE - 1]]
    while len(found[-1]) == PIECE - 1:
        name = name[PIECE - 1 :]
        found.append(name[: PIECE - 1])
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


def judge_net(table: list[bytes], version: int, address: bytes, port: int, protocol: int) -> int:
    """The slot of the rule that denies the address, 0 where none does; ``address`` as in memory, canonical already."""
    words = address.ljust(16, b"\0")
    for raw in table:
        low, high, asked, wanted, verdict = struct.unpack("=HHBBH", raw[32:])
        differs = any((one ^ other) & bits for one, other, bits in zip(raw[:16], words, raw[16:32], strict=True))
        if (asked in (0, version)) and wanted in (0, protocol) and low <= port <= high and not differs:
            return 0 if verdict & 0x8000 else verdict
    return 0


def judge_name(packed: bytes, room: int, name: bytes) -> int:
    """The slot of the rule that denies an abstract name, 0 where none does."""
    table = struct.unpack(f"={257 * room}H", packed)
    state = 0
    for byte in name:
        state = table[(state & (room - 1)) << 8 | byte]
    return table[256 * room + (state & (room - 1))]
