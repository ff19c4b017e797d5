"""isotrace: log, watch and refuse the system calls of a family of running processes."""

__version__ = "0.1.0"
