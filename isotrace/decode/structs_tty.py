"""Terminals."""

from __future__ import annotations

import struct

from . import xlat
from .layout import STRUCTS, Struct, add
from .scalars import hexa

_DELAYS = (
    ("term_oflags_nldly", 0o400),
    ("term_oflags_crdly", 0o3000),
    ("term_oflags_tabdly", 0o14000),
    ("term_oflags_bsdly", 0o20000),
    ("term_oflags_vtdly", 0o40000),
    ("term_oflags_ffdly", 0o100000),
)
_SPEED, _INPUT_SPEED, _SIZE = 0o10017, 0o10017 << 16, 0o60


def _left(set_name: str, value: int) -> str:
    return xlat.flags(set_name, value) if value else ""


def _oflag(value: int) -> str:
    parts = []
    for set_name, mask in _DELAYS:
        parts += [xlat.enum(set_name, value & mask)]
        value &= ~mask
    return "|".join([*parts, _left("term_oflags", value)])


def _cflag(value: int) -> str:
    parts = [xlat.enum("baud_options", value & _SPEED)]
    if value & _INPUT_SPEED:
        parts.append(f"{xlat.enum('baud_options', (value & _INPUT_SPEED) >> 16)}<<IBSHIFT")
    parts += [
        xlat.enum("term_cflags_csize", value & _SIZE),
        _left("term_cflags", value & ~(_SPEED | _INPUT_SPEED | _SIZE)),
    ]
    return "|".join(parts)


#: What the control characters are for, by their places; the last two are for nothing.
_CHARACTERS = (
    *("VINTR", "VQUIT", "VERASE", "VKILL", "VEOF", "VTIME", "VMIN", "VSWTC", "VSTART", "VSTOP", "VSUSP", "VEOL"),
    *("VREPRINT", "VDISCARD", "VWERASE", "VLNEXT", "VEOL2", "17", "18"),
)


def _flags(data: bytes) -> str:
    iflag, oflag, cflag, lflag = struct.unpack_from("<IIII", data)
    text = f"c_iflag={_left('term_iflags', iflag)}, c_oflag={_oflag(oflag)}, "
    return f"{text}c_cflag={_cflag(cflag)}, c_lflag={_left('term_lflags', lflag)}"


def _termios(data: bytes) -> str:
    return f"{{{_flags(data)}, ...}}"


def _termios_full(data: bytes) -> str:
    """The line discipline, the control characters, and, of a struct termios2, the speeds."""
    discipline, characters = xlat.enum("term_line_discs", data[16]), zip(_CHARACTERS, data[17:36], strict=True)
    shown = [_flags(data), f"c_line={discipline}"]
    shown.append(f"c_cc=[{', '.join(f'[{name}]={hexa(value)}' for name, value in characters)}]")
    if len(data) > 36:
        shown.append("c_ispeed={}, c_ospeed={}".format(*struct.unpack_from("<II", data, 36)))
    return f"{{{', '.join(shown)}}}"


def _termio(data: bytes) -> str:
    """The struct of System V, whose flags have 16 bits."""
    return _termios(b"".join([data[at : at + 2] + bytes(2) for at in (0, 2, 4, 6)]))


STRUCTS |= {
    "termio": Struct(18, _termio),
    "termios": Struct(36, _termios, full=Struct(36, _termios_full)),
    "termios2": Struct(44, _termios, full=Struct(44, _termios_full)),
}
add("""
winsize = ws_row:H ws_col:H ws_xpixel:H ws_ypixel:H
""")
