"""Strings as strace quotes them. What a traced process wrote is hostile: nothing here lets a control or
non-ASCII character through.
"""

from __future__ import annotations

import re

from . import style

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
_COMM = re.compile(rb"[!#-'*-;=?-Z^-~]+")
_NAMED = {0x22: '\\"', 0x5C: "\\\\", 0x09: "\\t", 0x0A: "\\n", 0x0B: "\\v", 0x0C: "\\f", 0x0D: "\\r"}
_SHORT = [_NAMED.get(c) or (chr(c) if 0x20 <= c < 0x7F else f"\\{c:o}") for c in range(256)]
_LONG = [text if _NAMED.get(c) or 0x20 <= c < 0x7F else f"\\{c:03o}" for c, text in enumerate(_SHORT)]
_DIGIT_BEHIND = re.compile(rb"[0-7](?<=[^ -~\t-\r][0-7])", re.DOTALL)  # digits are rarer than what is escaped


def escape(data: bytes) -> str:
    """``data`` with everything but plain ASCII escaped; an octal escape has three digits only where a digit
    follows.
    """
    if _PLAIN.fullmatch(data):
        return data.decode("ascii")
    found = list(map(_SHORT.__getitem__, data))
    for match in _DIGIT_BEHIND.finditer(data):
        place = match.start() - 1
        found[place] = _LONG[data[place]]
    return "".join(found)


def as_written(text: str) -> bytes:
    """The bytes that ``os.fsdecode`` made text of; a lone surrogate that cannot have come from there is escaped."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def escape_text(text: str) -> str:
    """``escape`` of such text."""
    return escape(as_written(text))


def safe(text: str) -> str:
    """The text where all of it can be printed, otherwise escaped."""
    return text if text.isprintable() else escape_text(text)


def quote(data: bytes, cut: bool = False) -> str:
    """``data`` in double quotes; ``cut`` says that there was more of it, which strace shows by ``...``
    after the quotes. With -x in hexadecimal.
    """
    text = hexbytes(data) if style.in_hex(data) else f'"{escape(data)}"'
    return f"{text}..." if cut else text


def cstring(data: bytes) -> str:
    """The NUL-terminated string in the fixed field ``data``, quoted; without a NUL it is shown as cut."""
    text, nul, _ = data.partition(b"\0")
    return quote(text, cut=not nul)


def comm(data: bytes) -> str:
    """A process name: as it is when it is one plain word, else quoted (spaces and brackets would confuse a
    reader of the line).
    """
    name = data.partition(b"\0")[0]
    return name.decode("ascii") if _COMM.fullmatch(name) else f'"{escape(name)}"'


def bare_comm(data: bytes) -> str:
    """A process name escaped, without quotes; behind its end may be what a former name has left."""
    return escape(data.partition(b"\0")[0])


def hexbytes(data: bytes) -> str:
    """``data`` as a quoted string of ``\\x`` escapes."""
    return '"' + "".join([f"\\x{c:02x}" for c in data]) + '"'
