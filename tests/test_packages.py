"""What a distribution's package is made of: its version, its launcher, and isotrace in a directory of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import isotrace

ROOT = Path(__file__).parents[1]


def test_the_package_has_the_version_of_isotrace():
    first = (ROOT / "debian/changelog").read_text().partition("\n")[0]
    assert re.match(r"isotrace \((.*)\) ", first)[1] == isotrace.__version__


@pytest.fixture
def installed(tmp_path):
    """A tree as the package has it, of another version than the isotrace that Python finds by itself."""
    library = tmp_path / "usr/lib/isotrace"
    shutil.copytree(ROOT / "isotrace", library / "isotrace", ignore=shutil.ignore_patterns("__pycache__"))
    (library / "isotrace/__init__.py").write_text('"""Another."""\n__version__ = "9.8.7"\n')
    (tmp_path / "usr/bin").mkdir()
    shutil.copy(ROOT / "debian/launcher.py", tmp_path / "usr/bin/isotrace")
    return tmp_path / "usr"


def said(*words):
    return subprocess.run([sys.executable, *words], cwd="/", capture_output=True, text=True, check=True).stdout


def test_the_launcher_takes_what_is_beside_it_also_through_a_link(installed):
    (installed / "sbin").symlink_to("bin")
    for directory in ("bin", "sbin"):
        assert said("-P", installed / directory / "isotrace", "--version") == "isotrace, version 9.8.7\n"


def test_isotrace_that_runs_isotrace_runs_the_same(installed):
    run = "import sys; sys.path.insert(0, sys.argv[1]); from isotrace.process import itself; itself.run(['--version'])"
    assert said("-P", "-c", run, installed / "lib/isotrace") == "isotrace, version 9.8.7\n"
