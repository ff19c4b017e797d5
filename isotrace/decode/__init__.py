"""From register values and captured bytes to the text that strace prints: pure functions, no I/O."""
