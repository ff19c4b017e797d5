"""What the letters of path rules are among Landlock's rights. Pure."""

from __future__ import annotations

from collections.abc import Collection

from isotrace.kernel import landlock as kernel

#: The first ABI that a rule with the letter needs: before 3 whoever may not write a file may cut it.
NEEDS = {"r": 1, "x": 1, "w": 3}

_ENTRIES = (
    *(kernel.MAKE_DIR, kernel.MAKE_REG, kernel.MAKE_SOCK, kernel.MAKE_FIFO, kernel.MAKE_SYM),
    *(kernel.REMOVE_DIR, kernel.REMOVE_FILE),
)
#: To make, remove, rename and link what is in a directory. A rename reads, writes and executes what it takes away, and
#: looks like a removal and a making: so these are allowed where reading and writing are.
ENTRIES = sum(_ENTRIES)
#: A device that one makes reads and writes what no rule is about: that is allowed nowhere.
DEVICES = kernel.MAKE_CHAR | kernel.MAKE_BLOCK
#: What a rule on a file that is no directory may have.
ON_FILES = kernel.EXECUTE | kernel.WRITE_FILE | kernel.READ_FILE | kernel.TRUNCATE | kernel.IOCTL_DEV

_SINCE = {kernel.REFER: 2, kernel.TRUNCATE: 3, kernel.IOCTL_DEV: 5}
_LETTERS = {
    "r": kernel.READ_FILE | kernel.READ_DIR,
    "w": kernel.WRITE_FILE | kernel.TRUNCATE | kernel.IOCTL_DEV,
    "x": kernel.EXECUTE,
}
_RENAMING = frozenset("rw")


def known(rights: int, abi: int) -> int:
    """Those that an ABI has."""
    return rights & ~sum(right for right, since in _SINCE.items() if abi < since)


def handled(denied: Collection[str], abi: int) -> int:
    """What a ruleset denies by default where rules deny these letters somewhere."""
    if not denied:
        return 0
    rights = DEVICES | kernel.REFER | sum(_LETTERS[letter] for letter in denied)
    return known(rights | (ENTRIES if _RENAMING & set(denied) else 0), abi)


def granted(free: Collection[str], denied: Collection[str], abi: int, directory: bool) -> int:
    """What a place is given where the letters ``free`` are denied nowhere in it; ``denied`` are those that rules deny."""
    rights = sum(_LETTERS[letter] for letter in free if letter in denied)
    if _RENAMING & set(denied) <= set(free):
        rights |= ENTRIES | kernel.REFER
    return rights & handled(denied, abi) & (-1 if directory else ON_FILES)
