"""The floors of kernel_fallback/: no file of the module includes a header, or uses a function, from above it."""

from __future__ import annotations

import re

import pytest

from isotrace.kmod import SOURCES

#: From the ground up, as ARCHITECTURE.md has them; on one floor a file stands above those that come before it.
FLOORS = {
    "what copies": ("call", "capture", "ring"),
    "who is watched": ("state", "watch"),
    "what makes records": ("records",),
    "what judges": ("judge",),
    "what is hooked": ("table", "entry", "hooks"),
    "who owns": ("session", "device", "netlink", "main"),
}
ORDER = [name for floor in FLOORS.values() for name in floor]
#: What belongs to no floor: contracts with user space, and what differs between kernels.
GROUND = ("event", "isotrace_uapi", "compat")
#: What one file declares and another defines, on the same floor.
ELSEWHERE = {"table_entry": "entry"}

FILES = sorted(file.name for file in SOURCES.iterdir() if file.suffix in (".c", ".h", ".S"))
_PROTOTYPE = re.compile(r"^(?!static|typedef|#)[\w*][\w\s*]*?\b(\w+)\([^;{}]*\);", re.MULTILINE)
_DEFINED = re.compile(r"^(?!static)\w[^;{}=]*?\b(\w+)\([^;{}]*\)\n\{|^SYM_FUNC_START\((\w+)\)", re.MULTILINE)


def code(name: str) -> str:
    """A file without its comments and strings."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", (SOURCES / name).read_text(), flags=re.DOTALL)
    return re.sub(r'(?<!#include )"(?:[^"\\\n]|\\.)*"', '""', text)


def declared(name: str) -> set[str]:
    """The functions that the header of ``name`` declares."""
    return set(_PROTOTYPE.findall(code(f"{name}.h"))) if f"{name}.h" in FILES else set()


def included(file: str) -> set[str]:
    return {name.removesuffix(".h") for name in re.findall(r'^#include "(.+?)"', code(file), re.MULTILINE)}


def test_every_file_has_a_floor() -> None:
    assert {file.split(".")[0] for file in FILES} == {*ORDER, *GROUND}
    assert {name for name in ORDER if declared(name)} == {*ORDER} - {"entry", "main"}


@pytest.mark.parametrize("file", FILES)
def test_no_file_includes_a_header_from_above(file: str) -> None:
    own = file.split(".")[0]
    below = ORDER[: ORDER.index(own) + 1] if own in ORDER else []
    assert included(file) - {*GROUND, *below} == set()


@pytest.mark.parametrize("file", [file for file in FILES if file.split(".")[0] in ORDER])
def test_no_file_uses_a_function_that_is_declared_above(file: str) -> None:
    own = file.split(".")[0]
    words = set(re.findall(r"\w+", re.sub(r"^#include.*$|(?:->|\.)\s*\w+", "", code(file), flags=re.MULTILINE)))
    above = {function: name for name in ORDER[ORDER.index(own) + 1 :] for function in declared(name)}
    assert {function: above[function] for function in words & above.keys()} == {}


@pytest.mark.parametrize("name", ORDER)
def test_what_a_header_declares_is_defined_beside_it(name: str) -> None:
    defined: dict[str, str] = {}
    for file in (file for file in FILES if file.endswith((".c", ".S"))):
        text = code(file)
        assert not re.search(r"^\s*extern\b", text, re.MULTILINE), f"{file} declares what its header should"
        for match in _DEFINED.finditer(text):
            defined[match[1] or match[2]] = file.split(".")[0]
    there = declared(name)
    assert {function: defined.get(function) for function in there} == {
        function: ELSEWHERE.get(function, name) for function in there
    }
