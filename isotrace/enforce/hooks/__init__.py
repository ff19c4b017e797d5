"""Judging objects, at the kernel's security hooks: what comes to which hook, and the tables that rules become."""
