"""What looks for the cgroup of a target that is waited for: by its path, or by a container's or a pod's name."""

from __future__ import annotations

import os
from contextlib import suppress

from isotrace.containers.find import Found, NotThere, Search
from isotrace.containers.whose import whose
from isotrace.errors import IsotraceError
from isotrace.trace.target import cgroup_mount, find_cgroup, place_of
from isotrace.trace.waited import Waited


class At:
    """A cgroup at a path, absolute or below the mount."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self) -> Found:
        """Raises ``NotThere``, and ``KernelError`` where there are no cgroups."""
        cgroup_mount()
        try:
            return Found(find_cgroup(self._path), ())
        except IsotraceError as error:
            raise NotThere(error.message, error.hint) from None

    @property
    def places(self) -> dict[str, bool]:
        """Where it comes."""
        return dict.fromkeys((os.path.abspath(self._path), str(cgroup_mount() / self._path.lstrip("/"))), False)


def at(path: str, name: str) -> Waited:
    """A cgroup by its path, there or not; ``name`` is for the user. Raises ``KernelError``."""
    return _begun(Waited(name, At(path), ends=False))


def container(container: str | None, pod: str | None, root: str | None, name: str) -> Waited:
    """A container or a pod likewise. Raises ``IsotraceError`` for what waiting does not help."""
    return _begun(Waited(name, Search(container, pod, root), ends=True))


def _begun(waited: Waited) -> Waited:
    """Where it is there already, with its cgroup."""
    with suppress(NotThere, OSError):
        found = waited.search()
        whose().tell(found)
        waited.switch(place_of(found.cgroup))
    return waited
