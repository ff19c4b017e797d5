"""Who called sudo: what a command that isotrace starts gets of them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from isotrace.errors import UsageError
from isotrace.process.caller import caller

ROOT = Path(__file__).parents[1]


@pytest.fixture
def sudo(monkeypatch):
    """Set sudo's variables, as root sees them."""
    monkeypatch.setattr(os, "getuid", lambda: 0)

    def set_variables(**variables):
        for name in ("SUDO_UID", "SUDO_GID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_nobody_called_sudo(sudo):
    sudo()
    assert caller() is None
    sudo(SUDO_GID="nonsense")
    assert caller() is None


def test_a_user_is_as_passwd_says(sudo):
    known = pwd.getpwnam("nobody")
    sudo(SUDO_UID=str(known.pw_uid), SUDO_GID="7")
    found = caller()
    assert (found.uid, found.gid, found.name, found.home) == (known.pw_uid, 7, "nobody", known.pw_dir)
    sudo(SUDO_UID=str(known.pw_uid))
    assert caller().gid == known.pw_gid


def test_a_number_without_a_name_has_no_home_of_roots(sudo):
    sudo(SUDO_UID="3999999", SUDO_GID="3999999")
    found = caller()
    assert (found.name, found.home) == ("3999999", "/")
    sudo(SUDO_UID="3999999")
    with pytest.raises(UsageError, match="SUDO_GID is ''"):
        caller()


@pytest.mark.parametrize("name", ["SUDO_UID", "SUDO_GID"])
@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", " 1", "٣", "4294967295", "99999999999999999999"])
def test_what_is_no_number_is_one_clear_error(sudo, name, value):
    sudo(**({"SUDO_UID": "1000", "SUDO_GID": "1000"} | {name: value}))
    with pytest.raises(UsageError, match=f"{name} is ") as error:
        caller()
    assert error.value.hint and error.value.status == 2


def _block(*argv, **variables):
    command = [sys.executable, "-m", "isotrace", "block", "--backend", "seccomp", "--deny", "ptrace", "--", *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes another user")
def test_a_command_has_ids_groups_and_home_of_who_called_sudo():
    known = pwd.getpwnam("nobody")
    script = 'echo "$(id -u) $(id -G) $HOME $USER $LOGNAME $SHELL"'
    words = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/roots"}
    done = _block("sh", "-c", script, SUDO_UID=str(known.pw_uid), SUDO_GID=str(known.pw_gid), **words)
    expected = [known.pw_uid, known.pw_gid, known.pw_dir, "nobody", "nobody", known.pw_shell]
    assert done.stdout.split() == [*map(str, expected)], done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo's variables are for root alone")
def test_a_group_that_is_no_number_starts_nothing(tmp_path):
    done = _block("touch", str(tmp_path / "made"), SUDO_UID="65534", SUDO_GID="wheel")
    said = [line for line in done.stderr.splitlines() if "SUDO_GID" in line]
    assert done.returncode == 2 and len(said) == 2 and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
