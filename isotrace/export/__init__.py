"""Recordings in forms that other programs read. One file a form; ``forms`` has them by name."""
