"""Changes of attributes in a caller's place, of this process itself: of the file that is meant, or of none."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess

import pytest

from isotrace.enforce.calls import lookup
from isotrace.enforce.calls.lookup import Caller
from isotrace.enforce.landlock import performed
from isotrace.kernel import procfs

OWN = Caller(os.getpid(), os.getpid())
THE_ABI = "x86_64" if os.uname().machine == "x86_64" else "arm64"


def made_mode(path, mode, waits=lambda: True):
    """What fchmodat(2) of ``path``, made in this process's place where everything may be written, comes to."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    args = (lookup.AT_FDCWD, ctypes.addressof(text), mode, 0, 0, 0)
    return performed.perform(OWN, "fchmodat", THE_ABI, args, lambda path: True, waits)


@pytest.fixture
def some(tmp_path):
    (tmp_path / "some").touch(0o600)
    return tmp_path / "some"


def test_a_caller_that_has_gone_changes_nothing(some):
    assert made_mode(some, 0o640, waits=lambda: False) == errno.ESRCH and some.stat().st_mode & 0o777 == 0o600
    assert made_mode(some, 0o640) == 0 and some.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("of", performed._LABELS)
def test_who_is_held_by_another_security_module_is_not_what_isotrace_is(some, monkeypatch, of):
    read = procfs.read
    monkeypatch.setattr(procfs, "read", lambda *parts: b"held" if parts == (OWN.tid, "attr", of) else read(*parts))
    assert made_mode(some, 0o640) is None and some.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["again", "some (deleted)", "some"])
def test_a_file_that_gets_another_name_while_it_is_judged_is_not_known_by_it(some, monkeypatch, name):
    """It has one name when that is counted, and another one than the one that it was opened by."""
    os.link(some, some.with_name("elsewhere"))
    opened = os.open(some, os.O_RDONLY)
    os.unlink(some)

    def meanwhile(path):
        assert os.fstat(opened).st_nlink == 1
        os.link(some.with_name("elsewhere"), some.with_name(name))
        return True

    monkeypatch.setattr(performed, "_await_removal", meanwhile)
    try:
        assert not performed._is_known_by_its_path(opened, lambda path: True)
    finally:
        os.close(opened)
    assert some.with_name(name).exists()


def test_a_removal_is_awaited_by_a_name_that_is_not_there(some):
    assert performed._await_removal(str(some)) and os.listdir(some.parent) == [some.name]


def test_descriptors_of_another_process_lead_nowhere(some):
    with subprocess.Popen(("sleep", "60"), cwd=some.parent, stdin=some.open()) as other:
        try:
            for way in (f"{other.pid}/cwd/some", f"{other.pid}/fd/0", f"{other.pid}/task/{other.pid}/fd/0"):
                assert made_mode(f"/proc/{way}", 0o640) is None
        finally:
            other.kill()
    assert some.stat().st_mode & 0o777 == 0o600
    with some.open() as own:
        for mode, way in enumerate((f"self/fd/{own.fileno()}", f"{OWN.pid}/fd/{own.fileno()}"), 0o610):
            assert made_mode(f"/proc/{way}", mode) == 0 and some.stat().st_mode & 0o777 == mode


def test_a_link_of_proc_that_comes_between_leads_nowhere(some, monkeypatch):
    """The way was looked up as one without such, and by the time of the opening there is one."""
    monkeypatch.setattr(lookup, "way", lambda *words, **more: lookup.Way(str(some)))
    with some.open() as own:
        assert made_mode(f"/proc/self/fd/{own.fileno()}", 0o640) == errno.ELOOP
    assert some.stat().st_mode & 0o777 == 0o600


def test_a_path_of_more_steps_than_there_are_in_any_leads_nowhere(some):
    (some.parent / "x").mkdir()
    os.symlink("some", some.with_name("0"))
    for number in range(1, 9):
        os.symlink("x/../" * 700 + str(number - 1), some.with_name(str(number)))
    assert made_mode(some.with_name("2"), 0o640) == 0 and made_mode(some.with_name("8"), 0o600) is None
    assert some.stat().st_mode & 0o777 == 0o640
