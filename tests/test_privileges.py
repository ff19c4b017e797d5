"""What is said to whoever may not trace: what helps on that machine."""

from __future__ import annotations

import os
import shutil

import pytest

from isotrace.errors import KernelError
from isotrace.kernel import features, namespaces, probe_system
from isotrace.kernel.answer import no


def hint(monkeypatch, programs=(), uid=1000, initial=True):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in programs else None)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(namespaces, "is_initial", lambda _kind: initial)
    monkeypatch.setattr(probe_system, "privileges", lambda: no("it has none"))
    monkeypatch.setattr(features, "_AT_A_GLANCE", (features._Requirement("privileges", probe_system.privileges, "no"),))
    monkeypatch.setattr(features, "_kept", {})
    with pytest.raises(KernelError) as caught:
        features.require_log()
    return caught.value.hint


@pytest.mark.parametrize(
    ("programs", "begins"),
    [(("sudo", "doas"), "sudo isotrace …,"), (("doas",), "doas isotrace …,"), ((), "become root: su -c 'isotrace …',")],
)
def test_a_user_is_told_how_to_become_root_here(monkeypatch, programs, begins):
    found = hint(monkeypatch, programs)
    assert found.startswith(begins) and "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE" in found and "strace" not in found


def test_strace_is_named_where_it_is_and_what_it_costs(monkeypatch):
    assert hint(monkeypatch, ["strace"]).endswith("strace -f CMD needs no root, and stops CMD at each call")


def test_root_of_a_container_is_told_what_the_container_lacks(monkeypatch):
    assert "--cap-add" in hint(monkeypatch, ["sudo", "strace"], uid=0)


def test_in_a_rootless_container_only_the_host_helps(monkeypatch):
    found = hint(monkeypatch, ["sudo", "strace"], uid=0, initial=False)
    assert "on the host" in found and "sudo" not in found
