"""Puts isotrace and Python libraries into a directory, for a distribution's package: ``libraries.py PIP WHEEL DIR [3.N]``.

All libraries that isotrace needs, for the Python that runs this or for CPython 3.N: ``make rpm``. Debian's package takes
some from Debian: debian/vendor.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

#: What wheels for another Python than the one that runs this are to be for.
_ELSEWHERE = ("--only-binary=:all:", *(f"--platform=manylinux_{glibc}_x86_64" for glibc in ("2_17", "2_28")))
#: What only programs that are built on the libraries need, and their launchers.
_USELESS = ("bin", "share", "pyarrow/include", "pyarrow/tests", "pyarrow/src", "numpy/tests")


def resolved(pip: str, wheel: str, options: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What pip would install, as (name, version), without isotrace."""
    command = [pip, "-q", "install", "--dry-run", "--ignore-installed", "--report", "-", *options, wheel]
    done = subprocess.run(command, check=True, capture_output=True)
    found = [one["metadata"] for one in json.loads(done.stdout)["install"]]
    return sorted((name, one["version"]) for one in found if (name := _plain(one["name"])) != "isotrace")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def install(pip: str, wheel: str, chosen: Iterable[str], directory: str, options: Sequence[str] = ()) -> None:
    """The wheel and the ``chosen`` libraries, NAME==VERSION, and no others."""
    to = ["--no-deps", "--no-compile", "--target", directory, *options]
    subprocess.run([pip, "-q", "install", *to, wheel, *chosen], check=True)
    for useless in _USELESS:
        subprocess.run(["rm", "-rf", Path(directory, useless)], check=True)


def main() -> None:
    """Fill the directory."""
    pip, wheel, directory, *python = sys.argv[1:]
    options = [*_ELSEWHERE, f"--python-version={python[0]}", "--implementation=cp"] if python else []
    if options:
        options += ["--target", directory]  # pip asks for it
    chosen = [f"{name}=={version}" for name, version in resolved(pip, wheel, options)]
    install(pip, wheel, chosen, directory, options)
    print("vendored:", *chosen)


if __name__ == "__main__":
    main()
