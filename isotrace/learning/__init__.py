"""From recordings to policies: what a run asked for, what a policy says of it, what it did that another did not. Pure."""
