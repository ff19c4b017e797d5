"""Every struct by the name that the catalogue uses: how many bytes to capture, and what turns them into
strace's text.
"""

from __future__ import annotations

from dataclasses import replace

from . import (
    structs_bpf,
    structs_fs,
    structs_input,
    structs_ioctl,
    structs_ipc,
    structs_kernel,
    structs_net,
    structs_proc,
    structs_signal,
    structs_time,
    structs_tty,
)
from .layout import STRUCTS, Struct
from .structs_fs import fdset, poll_result
from .structs_signal import wait_status

__all__ = ["STRUCTS", "Struct", "fdset", "poll_result", "wait_status"]
#: Structs that say themselves how long they are, and at which byte they say it.
for _name, _at in (("sched_attr", 0), ("mnt_id_req", 0), ("ns_id_req", 0), ("perf_event_attr", 4)):
    STRUCTS[_name] = replace(STRUCTS[_name], own_size=_at)
for _name, _least in (
    *(("open_how", 24), ("clone_args", 64), ("mount_attr", 32), ("xattr_args", 16), ("file_attr", 24)),
    *(("landlock_ruleset_attr", 8),),
):
    STRUCTS[_name] = replace(STRUCTS[_name], least=_least)
_SET = STRUCTS["sigset"]
STRUCTS["sigset_out"] = replace(_SET, prefix=lambda data: _SET.decode(data.ljust(_SET.size, b"\0")), most=_SET.size)
STRUCTS["sigset"] = replace(_SET, least=_SET.size, most=_SET.size)
_THEMES = (
    structs_bpf,
    structs_fs,
    structs_input,
    structs_ioctl,
    structs_ipc,
    structs_kernel,
    structs_net,
    structs_proc,
    structs_signal,
    structs_time,
    structs_tty,
)
