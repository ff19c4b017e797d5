"""Few rules from many paths: a directory in the place of its entries, where there are several, or it is a temporary one.

A rule is never raised to the root, a home directory, or another place that is not one program's, nor above one.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from isotrace.learning import shapes
from isotrace.learning.folding import FIRST, At
from isotrace.policy.patterns import Component, Pattern

#: Directories that no rule is raised to: they have things of many in them.
NEVER = (
    *(
        "/",
        "/etc",
        "/home",
        "/home/*",
        "/root",
        "/usr",
        "/usr/*",
        "/usr/local/*",
        "/var",
        "/var/*",
        "/opt",
        "/srv",
        "/mnt",
    ),
    *(
        "/media",
        "/media/*",
        "/media/*/*",
        "/dev",
        "/dev/shm",
        "/proc",
        "/proc/*",
        "/sys",
        "/sys/*",
        "/run",
        "/run/user",
    ),
    *("/run/user/*", "/tmp", "/boot", "/bin", "/sbin", "/lib", "/lib64", "/Users", "/Users/*", "/nix", "/nix/store"),
    *("/home/*/.ssh", "/home/*/.gnupg", "/home/*/.aws", "/home/*/.config", "/home/*/.local", "/home/*/.local/share"),
    *(
        "/root/.ssh",
        "/root/.gnupg",
        "/root/.aws",
        "/root/.config",
        "/root/.local",
        "/root/.local/share",
        "/home/*/.cache",
    ),
    "/root/.cache",
)
_BELOW = Component(anything=True)
_ONE = Component(("", ""))
_FAMILY = 3  # temporary names that begin alike


@dataclass
class Evidence:
    """What a rule is there for: how many calls, by whom, which, the first rows; and which paths, where they were raised."""

    count: int = 0
    comms: dict[bytes, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    first: list[At] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, other: Evidence) -> None:
        """And that of another."""
        self.count += other.count
        for comm, count in other.comms.items():
            self.comms[comm] = self.comms.get(comm, 0) + count
        for call, count in other.calls.items():
            self.calls[call] = self.calls.get(call, 0) + count
        self.first = sorted({*self.first, *other.first})[:FIRST]
        self.notes += [note for note in other.notes if note not in self.notes]
        known = set(self.names)
        self.names += [name for name in other.names if name not in known]


@dataclass
class Raised:
    """A pattern; it stands for the paths in the names of its evidence, which are one or more."""

    pattern: Pattern
    evidence: Evidence


@dataclass
class _Node:
    children: dict[Component, _Node] = field(default_factory=dict)
    touched: Evidence | None = None

    def join(self, other: _Node) -> None:
        """Take what is at, and below, another."""
        if other.touched is not None:
            self.touched = self.touched or Evidence()
            self.touched.add(other.touched)
        for component, child in other.children.items():
            self.children.setdefault(component, _Node()).join(child)


def _join_families(node: _Node) -> None:
    """Temporary names that begin alike, as pip-build-* and pip-unpack-*, become one: rules have little room for stars."""
    families: dict[str, list[Component]] = {}
    for component in node.children:
        word, dash, _ = component.pieces[0].partition("-") if component.pieces else ("", "", "")
        if word and dash and not component.literal:
            families.setdefault(word + dash, []).append(component)
    for beginning, members in families.items():
        if len(members) >= _FAMILY:
            children = [node.children.pop(member) for member in members]
            whole = node.children.setdefault(Component((beginning, "")), _Node())
            for child in children:
                whole.join(child)


class Tree:
    """The paths of one access. ``never``: directories beside ``NEVER``; ``momentary``: files that were made and removed."""

    def __init__(
        self, touched: Mapping[str, Evidence], never: Sequence[str] = (), momentary: Container[str] = ()
    ) -> None:
        self._root = _Node()
        self._never = (*NEVER, *(one.rstrip("/") or "/" for one in never))
        self._above = tuple(one.rstrip("/") + "/" for one in never)
        for path, evidence in touched.items():
            node = self._root
            for component in shapes.pattern(path, momentary).components:
                node = node.children.setdefault(component, _Node())
            node.touched = node.touched or Evidence()
            node.touched.add(evidence)
        for directory in shapes.TEMPORARY:
            _join_families(self._find(directory))

    def _find(self, directory: str) -> _Node:
        node = self._root
        for component in shapes.exact(directory).components:
            node = node.children.get(component, _Node())
        return node

    def raised(self, several: int) -> list[Raised]:
        """The patterns, where so many entries of a directory are ``several``: then all of it is taken."""
        return list(self._collect(self._root, (), several))

    def _collect(self, node: _Node, components: tuple[Component, ...], several: int) -> Iterator[Raised]:
        found: list[Raised] = []
        if node.touched is not None:
            found.append(Raised(Pattern(components), node.touched))
        for component, child in node.children.items():
            found += self._collect(child, (*components, component), several)
        own = len(components) > 1 and not components[-1].literal and str(Pattern(components[:-1])) in shapes.TEMPORARY
        if not (own and node.children) and (len(node.children) < several or self._is_never(components)):
            yield from found
            return
        deep = own or node.touched is not None or any(child.children for child in node.children.values())
        whole = Evidence()
        for one in found:
            whole.add(one.evidence)
        yield Raised(Pattern((*components, _BELOW if deep else _ONE)), whole)

    def _is_never(self, components: tuple[Component, ...]) -> bool:
        path = str(Pattern(components))
        if any(above.startswith(path.rstrip("/") + "/") for above in self._above):
            return True
        return any(fnmatchcase(path, one) and path.count("/") == one.count("/") for one in self._never)
