"""What strace 6.1 printed for chosen registers and bytes (tools/record_decode_golden.py) is what the
decoders print.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isotrace.decode import quote, scalars, signals, xlat
from isotrace.decode.sockaddr import sockaddr
from isotrace.decode.structs import STRUCTS

GOLDEN = Path(__file__).parent / "golden" / "decode" / "strace.txt"
ROWS = [line.split("\t") for line in GOLDEN.read_text().splitlines()]


def decoded(table: str, name: str, value: str) -> str:
    if table in ("flags", "enum"):
        return (xlat.flags if table == "flags" else xlat.enum)(name, int(value))
    if table == "scalar":
        return signals.signal(int(value)) if name == "signal" else getattr(scalars, name)(int(value))
    data = bytes.fromhex(value)
    if table == "sockaddr":
        return sockaddr(data, len(data))
    if table == "quote":
        return quote.quote(data)
    struct = STRUCTS[name]
    if name not in ARRAYS:
        return struct.decode(data[: struct.size])
    parts = [struct.decode(data[at : at + struct.size]) for at in range(0, len(data), struct.size)]
    return f"[{', '.join(parts)}]"


ARRAYS = {"utimens", "sembuf", "pollfd"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:3])[:60])
def test_prints_what_strace_prints(row: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table, name, value, expected = row
    monkeypatch.setenv("TZ", "UTC")
    assert decoded(table, name, value) == expected


def test_the_recording_covers_every_kind() -> None:
    assert {row[0] for row in ROWS} == {"flags", "enum", "scalar", "sockaddr", "struct", "out", "quote"}
    assert len(ROWS) > 400
    assert not [row for row in ROWS if re.search(r"[^ -~]", row[3])]
