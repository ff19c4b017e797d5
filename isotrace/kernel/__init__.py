"""What this kernel is and can do: the bpf(2) system call, BTF offsets, feature probes."""
