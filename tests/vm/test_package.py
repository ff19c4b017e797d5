"""The Debian package in a guest: isotrace as it is installed, with the distribution's BCC and nothing of the checkout.

Its files are where they belong by bind mounts, without dpkg: unpacking would take longer than all of this under emulation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TREE = Path(os.environ.get("ISOTRACE_VM_PACKAGE", "/nonexistent"))
_PATIENCE = float(os.environ.get("ISOTRACE_TEST_PATIENCE", "120"))
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


@pytest.fixture(scope="module", autouse=True)
def installed():
    """The package's files in place, for these tests."""
    mounted = [Path("/usr/lib/isotrace"), Path("/usr/share/man/man1")]
    launcher, cache = Path("/usr/bin/isotrace"), Path("/var/cache/isotrace")
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(TREE / "var/cache/isotrace", cache)
    shutil.copy(TREE / "usr/bin/isotrace", launcher)
    for place in mounted:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", TREE / place.relative_to("/"), place], check=True)
    yield
    for place in mounted:
        subprocess.run(["umount", place], check=True)
    launcher.unlink()


def run(*words):
    """What ``isotrace WORDS`` leaves."""
    return subprocess.run(
        ["isotrace", *map(str, words)], env=_ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=2 * _PATIENCE
    )


def test_it_is_the_packages_isotrace_with_its_man_pages():
    found = subprocess.run(
        ["/usr/bin/python3", "-P", "-c", "import sys; sys.path.insert(0, '/usr/lib/isotrace'); import isotrace, numpy;"
         "print(isotrace.__file__, numpy.__file__)"],
        env=_ENVIRONMENT, cwd="/", capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert found == ["/usr/lib/isotrace/isotrace/__init__.py", "/usr/lib/isotrace/numpy/__init__.py"]
    assert run("--version").stdout.startswith("isotrace, version ")
    assert Path("/usr/share/man/man1/isotrace-log.1.gz").exists()


def test_it_logs_a_command_and_keeps_what_it_compiled(tmp_path):
    assert os.stat("/var/cache/isotrace").st_mode & 0o777 == 0o700
    for compiled in (True, False):
        done = run("-v", "log", "-o", tmp_path / "log", "--", "ls", "/etc/hostname")
        assert (done.returncode, done.stdout) == (0, "/etc/hostname\n"), done.stderr
        assert ("BCC compiles it" in done.stderr) is compiled
        assert ("from the cache, /var/cache/isotrace/" in done.stderr) is not compiled
        last = done.stderr.splitlines()[-1]
        assert last.startswith("isotrace: ") and last.endswith(" 0 lost"), last
        log = (tmp_path / "log").read_text()
        assert 'execve("/usr/bin/ls", ["ls", "/etc/hostname"]' in log and "+++ exited with 0 +++" in log


def test_it_blocks_a_command(tmp_path):
    made = tmp_path / "made"
    done = run("block", "--deny", "mkdir", "--", "mkdir", made)
    assert done.returncode == 1 and not made.exists(), done.stderr
    assert "isotrace: deny mkdir → EPERM: 1 " in done.stderr
