"""What a distribution's package is made of: its version, its launcher, and isotrace in a directory of its own."""

from __future__ import annotations

import importlib.util
import json
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


def test_the_rpm_has_the_version_of_isotrace_and_needs_what_no_library_gives():
    spec = (ROOT / "rpm/isotrace.spec").read_text()
    assert re.search(r"^Version: (.*)$", spec, re.MULTILINE)[1] == isotrace.__version__
    assert {"python3-bcc", "python(abi) = %{python}"} <= {*re.findall(r"^Requires: (.*)$", spec, re.MULTILINE)}


@pytest.mark.skipif(shutil.which("rpmspec") is None, reason="needs rpmspec: of the package rpm")
@pytest.mark.parametrize("other", ["", "3.42"])
def test_the_rpm_is_for_the_python_that_was_asked_for(other):
    version = "import sys; print('3.%d' % sys.version_info.minor)"
    own = subprocess.run(["/usr/bin/python3", "-c", version], capture_output=True, text=True, check=True).stdout.strip()
    defined = ["--define", f"other_python {other}"] if other else []
    query = ["rpmspec", "-q", "--requires", *defined, ROOT / "rpm/isotrace.spec"]
    needs = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [need for need in needs if need.startswith("python(abi)")] == [f"python(abi) = {other or own}"]


def libraries():
    """tools/libraries.py, which is no package."""
    spec = importlib.util.spec_from_file_location("libraries", ROOT / "tools/libraries.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_pip_would_install_is_vendored_without_isotrace(tmp_path):
    pip = tmp_path / "pip"
    names = [("Typing_Extensions", "4.1"), ("isotrace", "0.1.0"), ("click", "8.4")]
    report = json.dumps({"install": [{"metadata": {"name": name, "version": version}} for name, version in names]})
    pip.write_text(f"#!/bin/sh\nprintf '%s ' \"$@\" >{tmp_path}/words\ncat <<'EOF'\n{report}\nEOF\n")
    pip.chmod(0o755)
    found = libraries().resolved(str(pip), "isotrace.whl", ["--python-version=3.13"])
    assert found == [("click", "8.4"), ("typing-extensions", "4.1")]
    assert (
        "--dry-run" in (tmp_path / "words").read_text() and "--python-version=3.13" in (tmp_path / "words").read_text()
    )


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
