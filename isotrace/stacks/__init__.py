"""User stacks: from registers and a piece of memory to frames with names."""
