"""YAML of dictionaries, lists, strings, numbers and truth values: strings as JSON has them, which is YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isotrace.policy.file import string


def documents(*values: Any) -> str:
    """The documents of one file."""
    return "---\n".join("\n".join(_lines(value)) + "\n" for value in values)


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _entry(f"{key}:", inside)
    else:
        for inside in value:
            first, *rest = _lines(inside) if isinstance(inside, dict | list) and inside else [_scalar(inside)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)


def _entry(head: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from (f"  {line}" for line in _lines(value))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return string(value) if isinstance(value, str) else "{}" if isinstance(value, dict) else "[]"
