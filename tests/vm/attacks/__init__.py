"""The table of attacks on ``isotrace block``: what was tried to get round a rule, and what becomes of it by each mechanism.

A file of this package holds the rows of one kind, as ``ROWS``; ``rows.py`` finds them all, ``runs.py`` runs them, and
tests/vm/test_attacks.py judges. Every attack runs without a rule first, where it must get through: what then keeps it
from doing so is isotrace. The programs are tests/progs/attacks/*.c.

In rules, attacks and scripts these words stand for places of the run: ``HERE`` for a directory of the row's own,
``BIN`` for the directory of the programs, ``PORT`` for a TCP port of 127.0.0.1 where somebody listens, ``PID`` for the
number that the setup wrote to ``HERE/pid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Mechanisms that judge the kernel's objects at its security hooks, and those that judge calls by number and registers.
HOOKS = ("lsm", "fmod_ret")
NUMBERS = ("fmod_ret_call", "override", "lkm")


@dataclass(frozen=True)
class Refused:
    """The attack is refused."""


@dataclass(frozen=True)
class Announced:
    """It gets through, and ``words`` stand in what ``block`` said before it began.

    ``unless``: it may be refused as well, and why.
    """

    words: str
    unless: str = ""


@dataclass(frozen=True)
class Open:
    """It gets through and nothing says so, which is to be mended: whoever does turns the row.

    ``on``: on these kernels only; on others it is refused.
    """

    why: str
    on: tuple[str, ...] = ()


Expected = Refused | Announced | Open
REFUSED = Refused()


def by(hooks: Expected | None = None, numbers: Expected | None = None, **others: Expected) -> dict[str, Expected]:
    """What is expected by mechanism: of all at hooks, of all by number, and of single ones."""
    found = {name: hooks for name in HOOKS if hooks} | {name: numbers for name in NUMBERS if numbers}
    return found | others


@dataclass(frozen=True)
class Row:
    """One attack.

    ``rules``: options of block. Rows whose rules are all on places below ``HERE`` share one block, others share it with
    rows of the same rules; one that is ``alone`` shares it with none. ``attack``: a program of tests/progs/attacks with
    its arguments, or a script of sh that ends with 0 where it got through, 1 where it was refused. It runs below the
    process that ``--tree`` names, or, with ``how`` "command", as the command; with "own" it runs below that process
    too, but the rules say whom they are on.

    ``setup``: a script, run by root in ``HERE`` before. ``meanwhile``: another, by somebody outside, once the rules are
    there. ``user``: who attacks: nobody, root, or unadmin, which is root without CAP_SYS_ADMIN. ``ready``: the attack
    prepares itself before the rules are there, and says ready. ``answers``: what came of it is in HERE/answer.
    ``output``: where block writes, instead of to the test; ``terminal``: it has one. ``control``: False where the
    attack is on isotrace itself, so that without it there is nothing to get through.

    ``needs``: features of kernels.toml. ``untried``: kernels where the attack finds that they have not what it needs;
    exact in both directions. ``quick``: part of `make test`. ``live``: also run on the host, by seccomp. ``race``: run
    with two processors, too.
    """

    name: str
    rules: tuple[str, ...]
    attack: tuple[str, ...] | str
    expect: Mapping[str, Expected]
    setup: str = ""
    meanwhile: str = ""
    user: str = "nobody"
    how: str = "tree"
    alone: bool = False
    ready: bool = False
    answers: bool = False
    output: str = ""
    terminal: bool = False
    control: bool = True
    needs: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    quick: bool = False
    live: bool = False
    race: bool = False
    kind: str = field(default="", compare=False)

    @property
    def shares(self) -> tuple[object, ...]:
        """Rows with the same answer can be under one block."""
        if self.alone or self.how == "command":
            return (self.name,)
        places = all("HERE" in word or "PORT" in word for word in self.rules if not word.startswith("--"))
        return (self.how, self.race, "places" if places else self.rules)
