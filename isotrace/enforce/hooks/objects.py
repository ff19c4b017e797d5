"""Where path rules are anchored: the directories and files that exist now, and what is left of each pattern below them.

``Anchors`` is what bpf/block_paths.h works with, but for the inodes' addresses, which the kernel tells when the
enforcer asks (lsm.py).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from isotrace.enforce.hooks.nfa import PathNfa, TooMuch, mask, name_of, residuals
from isotrace.kernel.procfs import Mount, mounts
from isotrace.policy.patterns import Component, Pattern

READ, WRITE, EXECUTE, MOVE, PEER = 1, 2, 4, 8, 16
FIXED = 1 << 8  # no access: what a rule's path leads through stays where it is
CLASSES = (READ, WRITE, EXECUTE, MOVE, PEER)
LETTERS = {"r": READ, "w": WRITE, "x": EXECUTE}
PREFIX_NAME = 60
ANCHOR_GLOBS = 16  # bpf/block_globs.h
_MOST_STEPS = 1024  # of a path with links in it; the kernel follows 40 links
_FS_IOC_GETFLAGS, _FS_CASEFOLD_FL = 0x80086601, 0x40000000
_FOLDING = frozenset(
    (
        *("vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3"),
        *("hfs", "hfsplus", "hpfs", "iso9660", "jfs", "adfs", "affs"),
    )
)
_SUBTREE = (Component(anything=True),)
_BELOW = (Component(("", "")), *_SUBTREE)


@dataclass(frozen=True)
class AnchorRule:
    """A rule on a pattern: ``index`` is its index in the map `rules`; the smaller one is more specific."""

    index: int
    allow: bool
    accesses: int
    pattern: Pattern


#: A rule and what its pattern still asks for below the anchor.
Placed = tuple[AnchorRule, tuple[Component, ...]]


@dataclass
class Verdict:
    """``struct verdict``: index of the rule that decides each access; the first rule given for one stays."""

    rules: dict[int, tuple[int, bool]] = field(default_factory=dict)

    def add(self, index: int, allow: bool, accesses: int) -> None:
        """A rule; of two on one access the more specific one decides."""
        for access in CLASSES:
            if accesses & access and (access not in self.rules or index < self.rules[access][0]):
                self.rules[access] = (index, allow)

    def over(self, other: Verdict) -> Verdict:
        """This verdict, and where it says nothing the other's."""
        return Verdict({**other.rules, **self.rules})

    def pack(self) -> bytes:
        """``struct verdict`` of bpf/block_paths.h."""
        decided = sum(self.rules)
        denied = sum(access for access, (_index, allow) in self.rules.items() if not allow)
        return struct.pack("=BB5H", decided, denied, *(self.rules.get(access, (0, True))[0] for access in CLASSES))

    def pack_single(self, bit: int) -> bytes:
        """``struct glob``: a verdict of one rule."""
        index, allow = next(iter(self.rules.values()))
        return struct.pack("=HHBBH", index, bit, sum(self.rules), 0 if allow else sum(self.rules), 0)


@dataclass
class Anchor:
    """What is decided at an object, below it, by the names right below it, and by patterns: (index, bit, verdict).

    ``placed`` are the rules with what their patterns still ask for below; ``Anchors`` makes the rest of it. ``moves`` are
    the bits that say that a pattern leads through an object below it, ``cover`` stands for the exceptions for all below it.
    ``folds``: names right below it may be spelled otherwise.
    """

    placed: list[Placed] = field(default_factory=list)
    at: Verdict = field(default_factory=Verdict)
    below: Verdict = field(default_factory=Verdict)
    names: dict[bytes, tuple[Verdict, Verdict]] = field(default_factory=dict)
    globs: list[tuple[int, int, Verdict]] = field(default_factory=list)
    moves: set[int] = field(default_factory=set)
    cover: int = 0
    folds: bool = False

    def put(self, rule: AnchorRule, left: tuple[Component, ...]) -> None:
        """A rule whose pattern still asks for ``left`` below."""
        if (rule, left) not in self.placed:
            self.placed.append((rule, left))


class Anchors:
    """The anchors of ``rules`` on the file systems as they are now.

    ``fixtures``: what rules' paths lead through → the indexes of these. ``moves``: bit of a pattern that leads through a
    directory → the indexes of its denials; ``everywhere``: those of them that any directory matches; ``written``: those of
    denials of writing, and ``named``: those of these that ask for a name, so that few directories match.
    """

    def __init__(self, rules: Sequence[AnchorRule], mounted: Sequence[Mount] | None = None) -> None:
        self.nfa = PathNfa()
        self.objects: dict[str, Anchor] = {}
        self.roots: dict[int, Anchor] = {}
        self._mounts = mounts() if mounted is None else list(mounted)
        self.denied = 0
        self.moves: dict[int, list[int]] = {}
        self.everywhere: set[int] = set()
        self.written: set[int] = set()
        self.named: set[int] = set()
        self.fixtures: dict[str, list[int]] = {}
        exceptions = [rule for rule in rules if rule.allow]
        self._later: set[AnchorRule] = set()
        self._opened = {rule for rule in rules if not rule.allow and any(_opens(one, rule) for one in exceptions)}
        for rule in rules:
            self.denied |= 0 if rule.allow else rule.accesses
            self._place(rule)
        self._join_roots()
        anchors = (*self.objects.values(), *self.roots.values())
        for anchor in anchors:
            self._settle(anchor)
            anchor.globs.sort(key=lambda glob: glob[0])
        self._settle_moves(anchors, rules)
        self.deep = any(_is_deep(rule, left) for anchor in anchors for rule, left in anchor.placed)
        self.most_globs = max((len(anchor.globs) for anchor in anchors), default=0)
        if self.most_globs > ANCHOR_GLOBS:
            raise TooMuch("too many patterns below one directory", f"{ANCHOR_GLOBS} is what fits")

    def _place(self, rule: AnchorRule) -> None:
        components = rule.pattern.components
        texts, there = _plain(rule)
        literal = len(texts)
        if rule.allow and there < literal:
            self._later.add(rule)
        real = os.path.realpath("/" + "/".join(texts[:there]))
        self._object(real).put(rule, components[there:])
        if there == literal and there and len(components) - literal <= 1 and components[literal:] in ((), _SUBTREE):
            parent = os.path.realpath("/" + "/".join(texts[: there - 1]))
            self._object(parent).put(rule, components[there - 1 :])
        self._inherit(rule, real, components[there:])
        self._fix(rule, [] if rule.allow else [rule.index])

    def _fix(self, rule: AnchorRule, indexes: Sequence[int]) -> None:
        """What the rule's path leads through, by plain names, stays where it is, says each of ``indexes``."""
        texts, there = _plain(rule)
        for path in led_through(texts[:there], last=len(rule.pattern.components) > there) if indexes else ():
            self.fixtures.setdefault(path, []).extend(indexes)

    def _object(self, path: str) -> Anchor:
        if path not in self.objects:
            self.objects[path] = Anchor(folds=folds(path, self._kind_at(path)))
        return self.objects[path]

    def _kind_at(self, path: str) -> str:
        """The type of the file system that the path is on."""
        above = [mount for mount in self._mounts if f"{path}/".startswith(f"{mount.point.rstrip('/')}/")]
        return max(above, key=lambda mount: len(mount.point)).kind if above else ""

    def _join_roots(self) -> None:
        """Where a file system is mounted, its root as an object is met before its root as a device, and hides it."""
        for mount in self._mounts:
            anchor = self.objects.get(os.path.realpath(mount.point))
            if anchor and mount.root == "/":
                for rule, left in self.roots.get(mount.device, Anchor()).placed:
                    anchor.put(rule, left)

    def _settle(self, anchor: Anchor) -> None:
        """The kernel looks at names, then patterns, then the subtree: what this order would hide becomes a pattern."""
        patterns = [one for one in anchor.placed if not _is_name(one[1]) and not _is_whole(one[1])]
        named = [one for one in anchor.placed if _is_name(one[1])]
        least = max((rule.index for rule, _ in (*patterns, *named)), default=0)
        for rule, left in anchor.placed:
            if not _is_whole(left):
                continue
            anchor.at.add(rule.index, rule.allow, rule.accesses)
            if left and rule.index < least:
                patterns.append((rule, _BELOW))
            elif left:
                anchor.below.add(rule.index, rule.allow, rule.accesses)
        for rule, left in named:
            if anchor.folds or _is_hidden(rule, left[0], patterns):
                patterns.append((rule, left))
            else:
                _put_name(anchor, rule, left)
        for rule, left in patterns:
            self._put_pattern(anchor, rule, left)

    def _put_pattern(self, anchor: Anchor, rule: AnchorRule, left: tuple[Component, ...]) -> None:
        verdict = Verdict()
        verdict.add(rule.index, rule.allow, rule.accesses)
        anchor.globs.append((rule.index, self.nfa.add(left, not rule.allow), verdict))

    def _settle_moves(self, anchors: Sequence[Anchor], rules: Sequence[AnchorRule]) -> None:
        """Which patterns lead through a directory, where a denial does: those have to stay the same when it moves.

        So have the exceptions for what is in it, whose own paths are fixed then.
        """
        if not any(not rule.allow and self._leads_through(rule, left) for one in anchors for rule, left in one.placed):
            return
        self.denied |= MOVE
        for anchor in anchors:
            self._lead(anchor)
        denying = sorted({index for indexes in self.moves.values() for index in indexes})
        for rule in rules:
            self._fix(rule, denying if rule.allow else [])

    def _lead(self, anchor: Anchor) -> None:
        """The bits of the state for what leads through; rules that lead through the same directories share one."""
        leading: dict[tuple[Component, ...], set[Placed]] = {}
        for rule, left in anchor.placed:
            for length in self._leads_through(rule, left):
                leading.setdefault(left[:length], set()).add((rule, left[length:]))
        for head, rules in leading.items():
            bit = self.nfa.add(head, True, frozenset(rules))
            anchor.moves.add(bit)
            self.moves.setdefault(bit, []).extend(rule.index for rule, _ in rules if not rule.allow)
            if any(not rule.allow and rule.accesses & WRITE for rule, _ in rules):
                self.written.add(bit)
                self.named |= set() if head[-1].anything else {bit}
            if head == _SUBTREE and all(rule.pattern.components[0].anything for rule, _ in rules):
                self.everywhere.add(bit)
        covering = [rule.index for rule, left in anchor.placed if rule.allow and left == _SUBTREE]
        anchor.cover = _number_for(covering) if covering else 0

    def _leads_through(self, rule: AnchorRule, left: tuple[Component, ...]) -> range:
        """How many components of the pattern a directory may match whose content the rest of it, or all of it, matches.

        What a denial matches whole is not moved at all, nor is what a name right below the anchor stands for: unless an
        exception for the directory alone lets it go, or it is one that an exception is for and that is made only later.
        """
        whole = bool(left) and left[-1].anything
        if rule in self._opened:
            return range(1, len(left) + whole)
        if _is_whole(left) or (_is_name(left) and rule not in self._later):
            return range(0)
        return range(1, len(left) + (rule.allow and whole))

    def _inherit(self, rule: AnchorRule, real: str, left: tuple[Component, ...]) -> None:
        """The roots of what is mounted below the anchor. An exception counts only where the file system is mounted once."""
        for mount in self._mounts:
            below = _below(real, mount.point)
            if not below:
                continue
            for rest in sorted(residuals(left, below), key=str):
                if mount.root != "/":
                    if not rule.allow:
                        self._object(os.path.realpath(mount.point)).put(rule, rest)
                elif not rule.allow or sum(other.device == mount.device for other in self._mounts) == 1:
                    self.roots.setdefault(mount.device, Anchor()).put(rule, rest)


def _plain(rule: AnchorRule) -> tuple[list[str], int]:
    """The plain names that the rule's pattern begins with, and how many of them lead to something that exists."""
    components = rule.pattern.components
    literal = next((i for i, part in enumerate(components) if not part.literal), len(components))
    texts = [part.pieces[0] for part in components[:literal]]
    return texts, next(n for n in range(literal, -1, -1) if os.path.exists("/" + "/".join(texts[:n])))


def led_through(names: Sequence[str], last: bool = True) -> list[str]:
    """The directories and symbolic links that the path of ``names`` leads through, each by a path without links.

    The object that it leads to is one of them if it is ``last``, and a link that stands for it in any case.
    """
    at, ahead = "/", list(names)
    found: list[str] = []
    while ahead and len(found) < _MOST_STEPS:
        name = ahead.pop(0)
        if name in ("", ".", ".."):
            at = os.path.dirname(at) if name == ".." else at
            continue
        path = os.path.join(at, name)
        link = _link(path)
        if link or ahead or last:
            found.append(path)
        at = "/" if link.startswith("/") else at if link else path
        ahead = [*link.split("/"), *ahead] if link else ahead
    return list(dict.fromkeys(found))


def folds(path: str, kind: str) -> bool:
    """Whether other spellings than its own may lead to a name of the directory: on such a type of file system, or where it
    says so itself (FS_CASEFOLD_FL: ext4, f2fs since 5.4, tmpfs since 6.13).
    """
    if kind in _FOLDING:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        flags = fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8))
    except OSError:  # a file system without such flags
        return False
    finally:
        os.close(descriptor)
    return bool(int.from_bytes(flags[:4], "little") & _FS_CASEFOLD_FL)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _is_whole(left: tuple[Component, ...]) -> bool:
    """The object itself, or it and all below it."""
    return left in ((), _SUBTREE)


def _is_name(left: tuple[Component, ...]) -> bool:
    """A plain name right below, alone or with all below it."""
    return bool(left) and left[0].literal and _is_whole(left[1:])


def _is_deep(rule: AnchorRule, left: tuple[Component, ...]) -> bool:
    """Whether an exception for sockets is only for what is deeper in directories below the anchor."""
    names = left[:-1] if left and left[-1].anything else left
    return rule.allow and bool(rule.accesses & PEER) and len(names) > 1


def _opens(exception: AnchorRule, denial: AnchorRule) -> bool:
    """Whether it may be for a directory, and not for what is in it, that the denial matches with all that is in it."""
    ours, theirs = exception.pattern.components, denial.pattern.components
    if exception.index > denial.index or not exception.accesses & denial.accesses:
        return False
    if not theirs or not theirs[-1].anything or ours[-1:] == _SUBTREE:
        return False
    for one, other in zip(ours, theirs[:-1], strict=False):
        if not (one.literal and other.literal):
            return True
        if one.pieces[0].casefold() != other.pieces[0].casefold():
            return False
    return len(ours) >= len(theirs) - 1


def _number_for(indexes: Iterable[int]) -> int:
    """64 bits that stand for the rules; numbers of several anchors are added up."""
    return int.from_bytes(blake2b(repr(sorted(indexes)).encode(), digest_size=8).digest(), "little") | 1


def _is_hidden(rule: AnchorRule, name: Component, patterns: Sequence[Placed]) -> bool:
    """Whether a pattern that is more specific than the rule may match below the name."""
    return any(other.index < rule.index and (left[0] == name or not left[0].literal) for other, left in patterns)


def _put_name(anchor: Anchor, rule: AnchorRule, left: tuple[Component, ...]) -> None:
    at, below = anchor.names.setdefault(name_of(left[0], PREFIX_NAME), (Verdict(), Verdict()))
    at.add(rule.index, rule.allow, rule.accesses)
    if left[1:]:
        below.add(rule.index, rule.allow, rule.accesses)


def _below(directory: str, path: str) -> list[str]:
    """The components of ``path`` below ``directory``; none when it is not below."""
    head = directory.rstrip("/") + "/"
    return path[len(head) :].split("/") if path.startswith(head) and len(path) > len(head) else []


@dataclass(frozen=True)
class Packed:
    """The content of the maps: values by object's path, by device, by (directory, name), and the patterns in order."""

    objects: dict[str, bytes]
    roots: dict[int, bytes]
    children: dict[bytes, bytes]
    globs: list[bytes]


def pack(anchors: Anchors) -> Packed:
    """The anchors as the kernel's structs."""
    children: dict[bytes, bytes] = {}
    globs: list[bytes] = [b"\0" * 8]
    numbers = iter(range(1, 1 << 31))

    def packed(entries: Iterable[tuple[object, Anchor]]) -> dict[object, bytes]:
        return {key: _pack_anchor(anchor, children, globs, lambda: next(numbers)) for key, anchor in entries}

    objects = packed(anchors.objects.items())
    roots = packed(anchors.roots.items())
    return Packed(objects, roots, children, globs)  # type: ignore[arg-type]


#: ``struct anchor`` where nothing is decided.
NOTHING = bytes(2 * 12 + 32)


def _pack_anchor(anchor: Anchor, children: dict[bytes, bytes], globs: list[bytes], number: Callable[[], int]) -> bytes:
    directory = number() if anchor.names else 0
    for name, (at, below) in anchor.names.items():
        value = at.over(below).pack() + below.pack()
        children[struct.pack("=I", directory) + name.ljust(PREFIX_NAME, b"\0")] = value
    first = len(globs)
    globs += [verdict.pack_single(bit) for _index, bit, verdict in anchor.globs]
    span = (first | len(globs) << 16) if anchor.globs else 0
    verdicts = anchor.at.pack() + anchor.below.pack()
    return verdicts + struct.pack("=IIQQQ", directory, span, *mask(sorted(anchor.moves)), anchor.cover)
