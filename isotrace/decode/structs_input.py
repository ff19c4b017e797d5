"""What ioctl requests of input devices, counters and watchdogs point to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from . import xlat
from .layout import STRUCTS, Struct, add, add_full, layout, value


def _keycode(data: bytes) -> str:
    scancode, key = struct.unpack("<II", data)
    return f"[{scancode}, {xlat.enum('evdev_keycode', key)}]"


STRUCTS["keycode"] = Struct(8, _keycode)
add("""
input_absinfo = value:I minimum:I ... -:16x
input_keymap_entry = flags:B len:B ... -:38x
ff_trigger = button:H interval:H
ff_replay = length:H delay:H
ff_envelope = attack_length:H attack_level:H fade_length:H fade_level:H:x
counter_component = type:B:enum:counter_component_types scope:B:enum:counter_scopes parent:B id:B
counter_watch = component:4s:struct:counter_component event:B:enum:counter_event_types channel:B
watchdog_info = options:I:flags:watchdog_status firmware_version:I identity:32s:cstring
""")
add_full("""
input_absinfo = value:I minimum:I maximum:I fuzz:I flat:I resolution:I
input_keymap_entry = flags:B len:B index:H keycode:I:enum:evdev_keycode scancode:32B:xarray
""")

#: What of a force feedback effect is of its own kind, behind the sixteen bytes that every effect has.
_EFFECTS = {
    0x50: ("rumble", layout("strong_magnitude:H weak_magnitude:H")),
    0x51: (
        "periodic",
        layout(
            "waveform:H period:H magnitude:h offset:h phase:H envelope:8s:struct:ff_envelope -:2x"
            " custom_len:I custom_data:Q:p"
        ),
    ),
    0x52: ("constant", layout("level:h envelope:8s:struct:ff_envelope")),
    0x57: ("ramp", layout("start_level:h end_level:h envelope:8s:struct:ff_envelope")),
}


def _effect(uploaded: bool, full: bool) -> Callable[[bytes], str]:
    """``uploaded``: the kernel has written the number that it chose over the one that was asked for."""

    def text(data: bytes) -> str:
        kind, number, direction = struct.unpack_from("<HhH", data)
        shown = [f"type={xlat.enum('evdev_ff_types', kind)}", f"id={'? => ' * uploaded}{number}"]
        shown.append(f"direction={direction}")
        if not full:
            return f"{{{', '.join(shown)}, ...}}"
        shown.append(f"trigger={STRUCTS['ff_trigger'].decode(data[6:10])}")
        shown.append(f"replay={STRUCTS['ff_replay'].decode(data[10:14])}")
        if kind in _EFFECTS:
            name, rest = _EFFECTS[kind]
            shown.append(f"{name}={rest.decode(data[16 : 16 + rest.size])}")
        return f"{{{', '.join(shown)}}}"

    return text


for _name, _uploaded in (("ff_effect", False), ("ff_effect_uploaded", True)):
    _short, _full = (Struct(48, _effect(_uploaded, full)) for full in (False, True))
    STRUCTS[_name] = replace(_short, full=_full)
STRUCTS["watchdog_status"] = value("I", "flags", "watchdog_status")
STRUCTS["watchdog_options"] = value("I", "flags", "watchdog_options")
