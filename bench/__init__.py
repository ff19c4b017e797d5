"""Measurements of isotrace beside strace, side by side in one run: ``make bench``."""
