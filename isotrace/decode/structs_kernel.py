"""bpf(), perf_event_open() and io_uring: the first fields, which say what is asked for."""

from __future__ import annotations

from .layout import add

add("""
bpf_map_create = map_type:I:enum:bpf_map_types key_size:I value_size:I max_entries:I
    map_flags:I:flags:bpf_map_flags inner_map_fd:I numa_node:I
    map_name:16s:cstring map_ifindex:I ...
bpf_map_elem = map_fd:I -:4x key:Q:p value:Q:p flags:Q:flags:bpf_map_update_elem_flags
bpf_prog_load = prog_type:I:enum:bpf_prog_types insn_cnt:I insns:Q:p license:Q:p log_level:I log_size:I
    log_buf:Q:p kern_version:I
    prog_flags:I:flags:bpf_prog_flags prog_name:16s:cstring ...
bpf_obj = pathname:Q:p bpf_fd:I file_flags:I:flags:bpf_map_flags
bpf_prog_attach = target_fd:I attach_bpf_fd:I attach_type:I:enum:bpf_attach_type attach_flags:I:x
bpf_raw_tracepoint_open = name:Q:p prog_fd:I -:4x
bpf_get_id = start_id:I next_id:I open_flags:I:flags:bpf_map_flags
bpf_obj_info = bpf_fd:I info_len:I info:Q:p
bpf_link_create = prog_fd:I target_fd:I attach_type:I:enum:bpf_attach_type flags:I:x
perf_event_attr = type:I:enum:perf_type_id size:I config:Q:x sample_period:Q
    sample_type:Q:flags:perf_event_sample_format
    read_format:Q:flags:perf_event_read_format ... -:24x
io_sqring_offsets = head:I tail:I ring_mask:I ring_entries:I flags:I dropped:I array:I ?resv1:I:x
    ?user_addr:Q:x
io_cqring_offsets = head:I tail:I ring_mask:I ring_entries:I overflow:I cqes:I flags:I ?resv1:I:x
    ?user_addr:Q:x
io_uring_params = sq_entries:I cq_entries:I flags:I:flags:uring_setup_flags sq_thread_cpu:I sq_thread_idle:I
    features:I:flags:uring_setup_features
    wq_fd:I -:12x sq_off:40s:struct:io_sqring_offsets cq_off:40s:struct:io_cqring_offsets
io_uring_getevents_arg = sigmask:Q:p sigmask_sz:I ?min_wait_usec:I ts:Q:p
""")
