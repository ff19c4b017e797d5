"""Terminals: what is typed there, whoever reads it does."""

from tests.vm.attacks import REFUSED, Row, by

ROWS = (
    Row(
        "a line typed into a terminal by a process that runs already",
        ("--deny-path", "HERE/secret"),
        ("terminal", "types"),
        by(REFUSED),
        user="root",
    ),
)
