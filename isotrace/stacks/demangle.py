"""Names of C++ and older Rust functions as their authors wrote them. Pure Python: the names may be anybody's."""

from __future__ import annotations

from functools import lru_cache

import itanium_demangler

_LONGEST = 1024


@lru_cache(1 << 14)
def demangled(name: str) -> str:
    """``_ZN3foo3barEi`` as ``foo::bar(int)``; the name itself where it is no such name.

    A part or copy that the compiler made is marked as c++filt marks it: ``foo::bar(int) [clone .part.0]``.
    """
    if not name.startswith("_Z") or len(name) > _LONGEST:
        return name
    plain, dot, clone = name.partition(".")
    try:
        found = itanium_demangler.parse(plain)
        if found is None:
            return name
        return str(found).replace("_GLOBAL__N_1", "(anonymous namespace)") + (f" [clone .{clone}]" if dot else "")
    except Exception:  # RecursionError, NotImplementedError and whatever else a name leads to
        return name
