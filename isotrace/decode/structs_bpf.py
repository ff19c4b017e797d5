"""union bpf_attr: for each command the members that it has, in the groups in which kernels came to know them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from .layout import STRUCTS, Render, Struct, renderer
from .quote import hexbytes

#: Bytes of the largest there is; callers give less, or more with nothing in it.
_SIZE = 168

#: COMMAND [IN]: MEMBERS, as in layout.py; they stand in the struct IN where that is named. From each ``;`` on there are
#: members only where the caller's union reaches so far; those before the first are 0 then.
_ROWS = """
map_create: map_type:I:enum:bpf_map_types key_size:I value_size:I max_entries:I ; map_flags:I:flags:bpf_map_flags ;
    inner_map_fd:i ; ?numa_node:I ; map_name:16s:cstring ; map_ifindex:I ; btf_fd:i btf_key_type_id:I
    btf_value_type_id:I ; btf_vmlinux_value_type_id:I ; map_extra:Q:x ; ?value_type_btf_obj_fd:i ?map_token_fd:i
map_lookup: map_fd:i -:4x key:Q:p value:Q:p ; flags:Q:flags:bpf_map_lookup_elem_flags
map_update: map_fd:i -:4x key:Q:p value:Q:p flags:Q:flags:bpf_map_update_elem_flags
map_delete: map_fd:i -:4x key:Q:p
map_next_key: map_fd:i -:4x key:Q:p next_key:Q:p
map_freeze: map_fd:i
prog_load: prog_type:I:enum:bpf_prog_types insn_cnt:I insns:Q:p license:Q:p ; log_level:I log_size:I log_buf:Q:p ;
    kern_version:I:kernel ; prog_flags:I:flags:bpf_prog_flags ; prog_name:16s:cstring ; prog_ifindex:I ;
    expected_attach_type:I:enum:bpf_attach_type ; prog_btf_fd:i func_info_rec_size:I func_info:Q:p func_info_cnt:I
    line_info_rec_size:I line_info:Q:p line_info_cnt:I ; attach_btf_id:I ; attach_prog_fd:i ; ?core_relo_cnt:I
    fd_array:Q:p ; ?core_relos:Q:p ?core_relo_rec_size:I ?log_true_size:I ?prog_token_fd:i
obj: pathname:Q:p bpf_fd:i ; file_flags:I:flags:bpf_file_mode_flags ; ?path_fd:i
prog_attach: target_fd:i attach_bpf_fd:i attach_type:I:enum:bpf_attach_type attach_flags:I:flags:bpf_attach_flags ;
    replace_bpf_fd:i ; ?relative_fd:i ?expected_revision:Q
prog_detach: target_fd:i -:4x attach_type:I:enum:bpf_attach_type
prog_test_run test: prog_fd:i retval:I data_size_in:I data_size_out:I data_in:Q:p data_out:Q:p repeat:I duration:I ;
    ctx_size_in:I ctx_size_out:I ctx_in:Q:p ctx_out:Q:p ; flags:I:flags:bpf_test_run_flags cpu:I ; batch_size:I
next_id: start_id:I next_id:I open_flags:I:flags:bpf_file_mode_flags
prog_id: prog_id:I next_id:I open_flags:I:flags:bpf_file_mode_flags
map_id: map_id:I next_id:I open_flags:I:flags:bpf_file_mode_flags
btf_id: btf_id:I
link_id: link_id:I
info info: bpf_fd:i info_len:I info:Q:p
prog_query query: target_fd:i attach_type:I:enum:bpf_attach_type query_flags:I:flags:bpf_query_flags
    attach_flags:I:flags:bpf_attach_flags prog_ids:Q:p prog_cnt:I
raw_tracepoint_open raw_tracepoint: name:Q:p prog_fd:i
btf_load: btf:Q:p btf_log_buf:Q:p btf_size:I btf_log_size:I btf_log_level:I
task_fd_query task_fd_query: pid:i fd:i flags:I buf_len:I buf:Q:p prog_id:I fd_type:I:enum:bpf_task_fd_type
    probe_offset:Q:x probe_addr:Q:x
map_batch batch: in_batch:Q:p out_batch:Q:p keys:Q:p values:Q:p count:I map_fd:i
    elem_flags:Q:flags:bpf_map_lookup_elem_flags flags:Q:x
map_update_batch batch: -:16x keys:Q:p values:Q:p count:I map_fd:i elem_flags:Q:flags:bpf_map_lookup_elem_flags
    flags:Q:x
map_delete_batch batch: -:16x keys:Q:p -:8x count:I map_fd:i elem_flags:Q:flags:bpf_map_lookup_elem_flags flags:Q:x
link_create link_create: prog_fd:i target_fd:i attach_type:I:enum:bpf_attach_type flags:I:x ?target_btf_id:I
link_update link_update: link_fd:i new_prog_fd:i flags:I:flags:bpf_attach_flags ?old_prog_fd:i
"""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    at: int
    code: struct.Struct
    render: Render
    since: int  # where its group begins
    optional: bool


def _kernel(value: int) -> str:
    return f"KERNEL_VERSION({value >> 16}, {value >> 8 & 255}, {value & 255})"


def _members(text: str) -> list[_Member]:
    found, at, since, begins = [], 0, 0, True
    for word in text.split():
        if word == ";":
            begins = True
            continue
        name, code, *rest = word.split(":")
        packed = struct.Struct("<" + code)
        if code[-1] == "Q":
            at = at + 7 & ~7
        since, begins = at if begins else since, False
        if name != "-":
            render = _kernel if rest == ["kernel"] else renderer(rest, code)
            found.append(_Member(name.lstrip("?"), at, packed, render, since, name[0] == "?"))
        at += packed.size
    return found


def _text(members: list[_Member], inside: str, full: bool, data: bytes) -> str:
    """What the caller gave, as many bytes as there are; what it did not give counts as 0."""
    whole = data.ljust(_SIZE, b"\0")
    shown = []
    for one in members:
        (value,) = one.code.unpack_from(whole, one.at)
        if (not one.since or one.since < len(data)) and (value or not one.optional):
            shown.append(f"{one.name}={one.render(value)}")
    text = ", ".join(shown)
    text = f"{inside}={{{text}}}" if inside else text
    end = members[-1].at + members[-1].code.size
    if any(rest := data[end:]):
        text += f", extra_data={hexbytes(rest)} /* bytes {end}..{len(data) - 1} */" if full else ", ..."
    return f"{{{text}}}"


def _add() -> None:
    for line in _ROWS.replace("\n    ", " ").strip().splitlines():
        head, _, text = line.partition(": ")
        name, _, inside = head.partition(" ")
        short, long = (partial(_text, _members(text), inside, full) for full in (False, True))
        STRUCTS[f"bpf_{name}"] = Struct(_SIZE, short, short, full=Struct(_SIZE, long, long))


_add()
