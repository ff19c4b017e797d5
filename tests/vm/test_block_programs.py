"""Random programs of file operations by two processes and a thread, against ``policy.decide``: what it denies does not
happen, what it allows happens as if there were no rules. A second tree, where nothing is refused, says how that is.

One ``block`` serves all programs. Directories that rules name stay: what becomes of those that are made anew is not the
question here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isotrace.policy import paths
from isotrace.policy.decide import PathRequest, decide
from isotrace.policy.model import Group, Policy
from tests.live.tracer import until
from tests.vm.family import block, family

RULES = (
    ("--deny-path", "r:HERE/priv/**"),
    ("--allow-path", "HERE/priv/pub/**"),
    ("--deny-path", "w:HERE/ro/**"),
    ("--allow-path", "w:HERE/ro/a*"),
    ("--deny-path", "HERE/**/key"),
    ("--deny-path", "w:HERE/free/*.old"),
    ("--deny-path", "HERE/free/b"),
    ("--allow-path", "r:HERE/free/d/**"),
)
DIRECTORIES = ("priv", "priv/pub", "ro", "free", "free/d")
NAMES = ("a", "b", "key", "x.old", "d", "new")
REFUSED = "EXFULL"

names = st.sampled_from(NAMES)
places = st.builds(
    lambda top, inner, name: f"{top}/{inner}{name}",
    st.sampled_from(DIRECTORIES),
    st.sampled_from(("", "", "d/")),
    names,
).filter(lambda path: path not in DIRECTORIES)
#: What is done, with one path or two, and which accesses that takes.
ONE = {
    "open for reading": ("os.close(os.open(P, os.O_RDONLY))", "r"),
    "open for writing": ("os.close(os.open(P, os.O_WRONLY))", "w"),
    "open for both": ("os.close(os.open(P, os.O_RDWR))", "rw"),
    "create": ("os.close(os.open(P, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))", "w"),
    "mkdir": ("os.mkdir(P)", "w"),
    "rmdir": ("os.rmdir(P)", "w"),
    "unlink": ("os.unlink(P)", "w"),
    "symlink": ("os.symlink('a', P)", "w"),
    "mknod": ("os.mknod(P)", "w"),
    "chmod": ("os.chmod(P, 0o640, follow_symlinks=True)", "w"),
    "truncate": ("os.truncate(P, 3)", "w"),
}
TWO = {"rename": "os.rename(P, Q)", "link": "os.link(P, Q)"}
SPELLINGS = ("{top}/{path}", "{top}/./{path}", "/proc/self/root{top}/{path}", "{top}/free/../{path}")
steps = st.tuples(
    st.sampled_from(("process", "child", "thread")),
    st.sampled_from([*ONE, *TWO]),
    places,
    places,
    st.sampled_from(SPELLINGS),
)


class World:
    """The tree under rules, ``here``, and the one without, ``beside``."""

    def __init__(self, directory: Path) -> None:
        self.here, self.beside = directory / "here", directory / "beside"
        self.here.mkdir()
        self.beside.mkdir()
        for top in (self.here, self.beside):
            for name in DIRECTORIES:
                (top / name).mkdir()
        self.words = [word.replace("HERE", str(self.here)) for rule in RULES for word in rule]
        rules = [
            paths.parse(text.replace("HERE", str(self.here)), allow=kind == "--allow-path") for kind, text in RULES
        ]
        self._policy = Policy((Group("", tuple(rules)),))

    def reset(self) -> None:
        """Every directory with the same files and a directory of its own."""
        for top in (self.here, self.beside):
            for name in DIRECTORIES:
                for entry in (top / name).iterdir():
                    if str(entry.relative_to(top)) in DIRECTORIES:
                        continue
                    if entry.is_dir() and not entry.is_symlink():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()
            for name in DIRECTORIES:
                inner = top / name / "d"
                inner.mkdir(exist_ok=True)
                for file in ("a", "b", "key", "x.old", "d/a", "d/key"):
                    (top / name / file).write_text(file)

    def denied(self, path: str) -> frozenset[str]:
        """The accesses that the policy denies to a path below the tree."""
        return frozenset(
            one for one in "rwx" if decide(self._policy, PathRequest(f"{self.here}/{path}", frozenset(one))).denied
        )

    def real(self, path: str) -> str:
        """Where an existing path leads, without a symlink at its end."""
        parent, _, name = path.rpartition("/")
        return f"{os.path.relpath(os.path.realpath(self.beside / parent), self.beside)}/{name}"

    def followed(self, path: str) -> str:
        """Where it leads."""
        return os.path.relpath(os.path.realpath(self.beside / path), self.beside)

    def below(self, path: str) -> list[str]:
        """What is below a path, relative to it; itself is ""."""
        top = self.beside / path
        inner = [str(entry.relative_to(top)) for entry in top.rglob("*")] if top.is_dir() else []
        return ["", *inner]


def join(path: str, inner: str) -> str:
    return f"{path}/{inner}" if inner else path


def verdict(world: World, what: str, source: str, to: str) -> str:
    """What the policy says beforehand: "no" where it must not succeed, "yes" where nothing must be refused, else "open",
    as rules may refuse moves that lead round them.
    """
    if what in ONE:
        follows = what.startswith(("open", "chmod", "truncate"))
        path = world.followed(source) if follows else world.real(source)
        return "no" if world.denied(path) & set(ONE[what][1]) else "yes"
    old, new = world.real(source), world.real(to)
    pairs = [(join(old, inner), join(new, inner)) for inner in world.below(old)]
    if "w" in world.denied(new) or (what == "rename" and "w" in world.denied(old)):
        return "no"
    if any(world.denied(before) - world.denied(after) for before, after in pairs):
        return "no"
    plain = len(pairs) == 1 and not (world.beside / source).is_dir() and not (world.beside / to).is_dir()
    return "yes" if plain and not world.denied(old) | world.denied(new) else "open"


def expression(what: str, top: Path, source: str, to: str, spelling: str) -> str:
    text = ONE[what][0] if what in ONE else TWO[what]
    first = spelling.format(top=top, path=source)
    return text.replace("P", repr(first)).replace("Q", repr(f"{top}/{to}"))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """(world, who acts under the rules, who acts beside)."""
    world = World(tmp_path_factory.mktemp("programs"))
    with family(size=2) as one, family(size=1) as other:
        child = one.fork()
        with block("--tree", one.root.pid, *world.words, "--errno", REFUSED) as run:
            until(lambda: "enforcing from now on" in run.said or run.process.poll() is not None, "it starts")
            assert run.process.poll() is None, run.said
            yield world, {"process": one.root, "child": child, "thread": one.root}, other.root
            assert run.end() == 0


def act(actors, who, text):
    return actors[who].ask(f"threaded(lambda: {text})" if who == "thread" else text)


@settings(max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)
@given(program=st.lists(steps, min_size=10, max_size=24))
def test_programs_do_what_the_policy_says(running, program):
    world, actors, beside = running
    world.reset()
    told = []
    for who, what, source, to, spelling in program:
        said = verdict(world, what, source, to)
        result = act(actors, who, expression(what, world.here, source, to, spelling))
        told.append((who, what, source, to, said, result))
        if said == "no":
            assert result != "ok", told
        elif result != REFUSED:
            plain = beside.ask(expression(what, world.beside, source, to, spelling))
            assert result == plain, (told, plain)
        else:
            assert said == "open", told


def test_the_model_knows_what_is_denied(tmp_path):
    """The checks above would be empty if the policy denied nothing that programs do."""
    world = World(tmp_path)
    world.reset()
    assert verdict(world, "open for reading", "priv/a", "") == "no"
    assert verdict(world, "open for reading", "priv/pub/a", "") == "yes"
    assert (
        verdict(world, "rename", "priv/a", "free/c") == "no" and verdict(world, "rename", "free/a", "free/c") == "yes"
    )
    assert verdict(world, "create", "ro/x.old", "") == "no" and verdict(world, "create", "ro/a2", "") == "yes"
