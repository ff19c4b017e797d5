"""Random policies on paths, and paths that their patterns meet."""

from __future__ import annotations

from hypothesis import strategies as st

from isotrace.policy import Group, Policy, paths
from isotrace.policy.model import Action

_NAMES = ["a", "b", "ab", "*", "a*", "**", "x y"]
_PATTERNS = st.lists(st.sampled_from(_NAMES), max_size=3).map(lambda names: "/" + "/".join(names))
_ACCESS = st.sampled_from(["", "r:", "w:", "x:", "rw:", "rx:"])
PATHS = ["/", *(f"/{'/'.join(names)}" for names in (
    ["a"], ["b"], ["ab"], ["x y"], ["a", "a"], ["a", "b"], ["b", "ab"], ["a", "b", "a"], ["x y", "a", "b"],
    ["a", "a", "a", "b"],
))]  # fmt: skip


@st.composite
def policies(draw):
    """Rules that refuse or let through, often below one that refuses everything."""
    rules = [paths.parse("/**", allow=False)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 5))):
        action = draw(st.sampled_from([Action(), Action(), Action("audit"), Action("kill")]))
        rules.append(paths.parse(draw(_ACCESS) + draw(_PATTERNS), allow=draw(st.booleans()), action=action))
    return Policy((Group("g", tuple(rules)),))
