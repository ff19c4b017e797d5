"""The catalogue: what system calls exist, what their arguments mean, and which families they belong to."""

from isotrace.catalog.load import by_name, by_number, families_of, names, prototype
from isotrace.catalog.model import ABIS, Arg, Syscall

__all__ = ["ABIS", "Arg", "Syscall", "by_name", "by_number", "families_of", "names", "prototype"]
