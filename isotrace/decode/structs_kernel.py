"""perf_event_open() and io_uring: the first fields, which say what is asked for."""

from __future__ import annotations

from .layout import add

add("""
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
