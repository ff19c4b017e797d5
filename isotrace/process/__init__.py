"""isotrace as a process: what it forks, the signals that it gets, what it says, on whose behalf it starts a command."""
