"""Policy files: TOML, read strictly. docs/policy.md describes the format.

Everything that is wrong is reported at once, each mistake with its line and key. A line is found by searching the
text for the key, as tomllib keeps none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from isotrace.errors import IsotraceError, UsageError
from isotrace.policy import names, nets, paths, presets, variables
from isotrace.policy.model import Action, Group, Policy, Rule
from isotrace.policy.names import parse_errno
from isotrace.process import directories

_HINT = "docs/policy.md describes the format"
MAX_BYTES = 1 << 20


def _action(text: object) -> Action:
    if text == "kill":
        return Action("kill")
    if text == "audit":
        return Action("audit")
    if text == "ask":
        return Action("ask")
    if not isinstance(text, str):
        raise ValueError("should be the name of an error, kill, audit or ask")
    return Action(errno=_checked(parse_errno, text))


def _checked(parse: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """As pydantic wants it: what is wrong is a ValueError."""
    try:
        return parse(*args, **named)
    except UsageError as error:
        raise ValueError(f"{error.message} ({error.hint})" if error.hint else error.message) from None


def _word(value: object, parse: Callable[[str], Rule]) -> str:
    if not isinstance(value, str):
        raise ValueError("should be a string")
    _checked(parse, value)
    return value


def _call_word(value: object) -> str:
    return _word(value, names.parse)


def _path_word(value: object) -> str:
    return _word(value, lambda word: paths.parse(variables.sample(word), allow=False))


def _read_word(value: object) -> str:
    return _word(value, lambda word: paths.parse_read(variables.sample(word), action=Action("ask")))


def _net_word(value: object) -> str:
    return _word(value, lambda word: nets.parse(variables.sample(word), allow=False))


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Strict = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
_Calls = Annotated[list[Annotated[str, BeforeValidator(_call_word)]], BeforeValidator(_listed)]
_Paths = Annotated[list[Annotated[str, BeforeValidator(_path_word)]], BeforeValidator(_listed)]
_Reads = Annotated[list[Annotated[str, BeforeValidator(_read_word)]], BeforeValidator(_listed)]
_Nets = Annotated[list[Annotated[str, BeforeValidator(_net_word)]], BeforeValidator(_listed)]


class _Group(BaseModel):
    model_config = _Strict
    description: str = ""
    action: Annotated[Action, BeforeValidator(_action)] = Field(default_factory=Action)
    deny: _Calls = Field(default_factory=list)
    allow: _Calls = Field(default_factory=list)
    deny_path: _Paths = Field(default_factory=list, alias="deny-path")
    allow_path: _Paths = Field(default_factory=list, alias="allow-path")
    ask_read: _Reads = Field(default_factory=list, alias="ask-read")
    deny_net: _Nets = Field(default_factory=list, alias="deny-net")
    allow_net: _Nets = Field(default_factory=list, alias="allow-net")


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise ValueError("should be 1, the only version there is")
    return value


_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]


class _File(BaseModel):
    model_config = _Strict
    version: Annotated[Literal[1], BeforeValidator(_version)]
    groups: Annotated[dict[_Name, _Group], Field(min_length=1)]


class PolicyError(UsageError):
    """A policy file with mistakes; ``mistakes`` are ``(line, key, what)``, line 0 where there is none."""

    def __init__(self, path: str, mistakes: Sequence[tuple[int, str, str]]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        lines = [f"{path}:{line or 1}: {key + ': ' if key else ''}{what}" for line, key, what in self.mistakes]
        count = f"{len(lines)} mistakes in {path}:\n  " if len(lines) > 1 else ""
        super().__init__(count + "\n  ".join(lines), _HINT)


def load(path: str) -> Policy:
    """The policy of ``FILE or @NAME``.

    Raises ``IsotraceError`` when it cannot be read, ``PolicyError`` when it is wrong, ``UsageError`` for a name that no
    preset has, and for a directory by name that cannot be meant.
    """
    if presets.is_preset(path):
        return read(presets.text(path), path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise IsotraceError(f"cannot read {path}: {error.strerror}", "check the name after --policy") from None
    if len(data) > MAX_BYTES:
        raise PolicyError(path, [(1, "", f"longer than {MAX_BYTES} bytes")])
    try:
        return read(data.decode(), path)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PolicyError(path, [(line, "", "not UTF-8 text")]) from None


def read(text: str, path: str = "policy") -> Policy:
    """The policy that ``text`` writes; ``path`` is its name in errors. Raises ``PolicyError``.

    Directories by name are those of whoever started isotrace; ``UsageError`` where one cannot be meant.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        match = re.search(r"(.*) \(at line (\d+), column (\d+)\)", str(error))
        line, what = (int(match[2]), f"{match[1]} (column {match[3]})") if match else (0, str(error))
        raise PolicyError(path, [(line, "", what)]) from None
    try:
        checked = _File.model_validate(raw)
    except ValidationError as error:
        raise PolicyError(path, [_mistake(entry, raw, text) for entry in error.errors()]) from None
    return _policy(checked, path, text)


def _policy(file: _File, path: str, text: str) -> Policy:
    groups = tuple(_group(name, group) for name, group in file.groups.items())
    empty = [(find_line(text, ("groups", one.name)), one) for one in groups if not (one.rules or one.unasked)]
    if empty:
        what = "has no rule"
        raise PolicyError(path, [(line, f"groups.{group.name}", what) for line, group in empty])
    unasked = [name for name, group in file.groups.items() if group.ask_read and group.action.kind != "ask"]
    if unasked:
        what = 'only a group with action = "ask" has it'
        lines = [(find_line(text, ("groups", name, "ask-read")), f"groups.{name}.ask-read", what) for name in unasked]
        raise PolicyError(path, lines)
    return Policy(groups)


def _group(name: str, group: _Group) -> Group:
    rules: list[Rule] = [names.parse(word, action=group.action, group=name) for word in group.deny]
    for parse, denied, allowed in (
        (paths.parse, group.deny_path, group.allow_path),
        (nets.parse, group.deny_net, group.allow_net),
    ):
        make: Callable[..., Rule] = parse
        for allow, listed in ((False, denied), (True, allowed)):
            rules += [make(word, allow=allow, action=group.action, group=name) for word in _expanded(listed, allow)]
    rules += [paths.parse_read(word, action=group.action, group=name) for word in _expanded(group.ask_read, False)]
    unasked = frozenset[str]().union(*(names.parse(word).calls for word in group.allow))
    return Group(name, tuple(rules), group.description, unasked)


def _expanded(words: Sequence[str], allow: bool) -> list[str]:
    """Directories by name written out, but those that stand there already."""
    found: list[str] = []
    for word in words:
        each = variables.expand(word, allow=allow, named=directories.named)
        found += [one for one in each if one == word or one not in found]
    return found


def _mistake(error: Any, raw: Mapping[str, Any], text: str) -> tuple[int, str, str]:
    keys = tuple(part for part in error["loc"] if part != "[key]")
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        what = "no such key" + _instead(keys)
    elif error["type"] == "string_pattern_mismatch" and error["loc"][-1] == "[key]":
        what = "a group's name is letters, digits, - and _, and begins with a letter"
    elif error["type"] == "too_short":
        what = "names no group"
    elif error["type"] in ("dict_type", "model_type"):
        what = "should be a table"
    elif error["type"] == "missing":
        what = "missing" + (": write version = 1" if keys == ("version",) else "")
    shown = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    return find_line(text, keys, _value(raw, keys)), shown, what


def _instead(keys: Sequence[str | int]) -> str:
    import difflib

    fields = _Group.model_fields if len(keys) > 2 else _File.model_fields
    known = [field.alias or name for name, field in fields.items()]
    near = difflib.get_close_matches(str(keys[-1]).replace("_", "-"), known, n=1)
    return f", did you mean {near[0]}?" if near else f": one of {', '.join(known)}"


def _value(raw: Any, keys: Sequence[str | int]) -> object:
    """What the file has there, None when the path leads nowhere."""
    for key in keys:
        try:
            raw = raw[key]
        except (LookupError, TypeError):
            return None
    return raw


def find_line(text: str, keys: Sequence[str | int], value: object = None) -> int:
    """The line (from 1) of the key that ``keys`` lead to, of the element with ``value`` when the last is an index.

    0 when it is not found: the key is missing.
    """
    lines = text.splitlines()
    names_only = [key for key in keys if isinstance(key, str)]
    at = _find_key(lines, names_only)
    if at and keys and isinstance(keys[-1], int):
        return _find_element(lines, at, value, keys[-1])
    return at


def _find_key(lines: Sequence[str], keys: Sequence[str]) -> int:
    """The header or assignment whose full name is ``keys``, else the one that comes nearest to it from above."""
    best, found, table = 0, 0, []
    for number, line in enumerate(lines, 1):
        if match := re.match(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$", line):
            table = _dotted(match[1])
            here = table
        elif match := re.match(
            r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=", line
        ):
            here = table + _dotted(match[1])
        else:
            continue
        common = next(
            (i for i, (a, b) in enumerate(zip(here, keys, strict=False)) if a != b), min(len(here), len(keys))
        )
        if common > best and (common == len(here) or common == len(keys)):
            best, found = common, number
    return found


def _dotted(text: str) -> list[str]:
    return [part.strip("\"' ") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", text) if part.strip()]


def _find_element(lines: Sequence[str], start: int, value: object, index: int) -> int:
    """The line of an array's element, from the key's line on: of its text, or of the index-th comma."""
    quoted = [f'"{value}"', f"'{value}'"] if isinstance(value, str) else [str(value)]
    for number in range(start, min(len(lines), start + index + 200) + 1):
        line = lines[number - 1]
        if number > start and re.match(r"\s*(?:\[\[?[\w.\"' -]+\]\]?\s*$|[\w-]+\s*=)", line):
            return start
        if any(word in line for word in quoted):
            return number
    return start


def string(value: object) -> str:
    """As TOML writes it: JSON's strings are such, where nothing is beyond U+FFFF as a pair."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def replace_whole(path: str, text: str) -> None:
    """Write a file so that it has all of ``text`` or what it had: by a new one in its place; a link stays one.

    Raises ``OSError``.
    """
    place = os.path.realpath(path)
    there = os.stat(place) if os.path.exists(place) else None
    if there and not os.access(place, os.W_OK):
        raise PermissionError(13, os.strerror(13))
    descriptor, name = tempfile.mkstemp(prefix=".isotrace-", dir=os.path.dirname(place))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if there:
                os.fchmod(file.fileno(), there.st_mode & 0o7777)
                if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), there.st_uid, there.st_gid)
        os.replace(name, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write(path: str, text: str) -> None:
    """``replace_whole`` of a file, or to what else is there. Raises ``IsotraceError``."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "w", encoding="utf-8") as there:
                there.write(text)
        else:
            replace_whole(path, text)
    except OSError as error:
        raise IsotraceError(f"cannot write {path!r}: {error.strerror or error}", "choose another file for -o") from None
