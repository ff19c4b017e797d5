"""Answers for always, written into the policy file: beside what stands there, in groups of their own."""

from __future__ import annotations

import re
import threading
import tomllib
from typing import Any

from isotrace.asking.lasting import Written
from isotrace.errors import IsotraceError
from isotrace.policy.file import PolicyError, read, replace_whole, string

_HEAD = "version = 1\n"
_KEYS = ("description", "action", "allow", "deny", "allow-path", "deny-path", "allow-net", "deny-net")
_DESCRIPTION = "what isotrace ask was answered for always"


class AnswersFile:
    """The policy file at ``path``, which may not exist yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, written: Written) -> None:
        """Write the rule, so that the file has it whole or not at all. Raises ``IsotraceError``."""
        with self._lock:
            try:
                replace_whole(self.path, with_rule(self._text(), written))
            except OSError as error:
                raise IsotraceError(f"cannot write {self.path}: {error.strerror or error}") from None
            except (PolicyError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise IsotraceError(f"cannot add to {self.path}: {str(error).splitlines()[0]}") from None

    def _text(self) -> str:
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return _HEAD


def with_rule(text: str, written: Written) -> str:
    """The text of a policy with the rule in it, which reads as a policy. Raises ``PolicyError`` or ``IsotraceError``."""
    raw = tomllib.loads(text)
    known = raw.get("groups", {}).get(written.group) if isinstance(raw.get("groups"), dict) else None
    group: dict[str, Any] = dict(known) if isinstance(known, dict) else {"description": _DESCRIPTION}
    if written.kind.startswith("deny"):
        wanted = written.action.name
        if group.get("action", "EPERM") != wanted and (known is not None or not written.group.partition("-")[2]):
            raise IsotraceError(f"cannot add to the policy: the action of its group {written.group} is not {wanted}")
        if written.group.partition("-")[2]:
            group["action"] = wanted
    listed = group.get(written.kind, [])
    listed = [listed] if isinstance(listed, str) else list(listed)
    group[written.kind] = listed if written.word in listed else [*listed, written.word]
    header = f"[groups.{written.group}]"
    lines = text.splitlines()
    at = next((n for n, line in enumerate(lines) if re.sub(r"\s|#.*", "", line) == header), None)
    if known is not None and at is None:
        raise IsotraceError(f"cannot add to the policy: it has the group {written.group}, but no line {header}")
    if at is None:
        made = [*lines, "", *_group(header, group)]
    else:
        end = next((n for n in range(at + 1, len(lines)) if re.match(r"\s*\[[^\[\]\"',]+\]", lines[n])), len(lines))
        made = [*lines[:at], *_group(header, group), *([""] if end < len(lines) else []), *lines[end:]]
    result = "\n".join(made) + "\n"
    read(result)
    return result


def _group(header: str, group: dict[str, Any]) -> list[str]:
    lines = [header]
    for key in (*_KEYS, *(key for key in group if key not in _KEYS)):
        if key in group:
            lines += _value(key, group[key])
    return lines


def _value(key: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        return [f"{key} = {string(value)}"]
    return [f"{key} = [", *(f"    {string(one)}," for one in value), "]"]
