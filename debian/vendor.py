"""Puts isotrace, and the libraries that this distribution lacks, into a directory: ``vendor.py PIP WHEEL DIR SUBSTVARS``.

What the distribution has, new enough, becomes a dependency of the package.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, "tools")

import libraries

#: What is compiled in the libraries is for this Python.
_MINOR = sys.version_info.minor
_ALWAYS = ("python3-bpfcc", f"python3 (>= 3.{_MINOR})", f"python3 (<< 3.{_MINOR + 1})")


def main() -> None:
    """Fill the directory, write the substitution variable ``isotrace:Depends``."""
    pip, wheel, directory, substvars = sys.argv[1:]
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    provided = {name: found for one in declared for name, found in provided_by(one).items()}
    chosen = [f"{name}=={version}" for name, version in libraries.resolved(pip, wheel) if name not in provided]
    libraries.install(pip, wheel, chosen, directory)
    with open(substvars, "a") as file:
        print(f"isotrace:Depends={', '.join([*_ALWAYS, *sorted(provided.values())])}", file=file)
    print("of the distribution:", *sorted(provided), "\nvendored:", *chosen)


def provided_by(requirement: str) -> dict[str, str]:
    """{library: dependency} where the distribution's own is new enough, and not too new."""
    found = re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+)(?:,<([0-9.]+))?", requirement)
    assert found is not None, requirement
    name, low, high = found.groups()
    package = f"python3-{name}"
    policy = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    ).stdout
    candidate = re.search(r"^  Candidate: (\d+:)?(?!\(none\))(\S+)$", policy, re.MULTILINE)
    if candidate is None or not is_at_least(candidate[2], low) or (high and is_at_least(candidate[2], high)):
        return {}
    return {name: f"{package} (>= {candidate[1] or ''}{low})"}


def is_at_least(version: str, bound: str) -> bool:
    """Whether a package's version is one of the bound, or later."""
    return subprocess.run(["dpkg", "--compare-versions", version, "ge", bound]).returncode == 0


main()
