"""``isotrace learn``: the tightest policy that allows what was recorded, with its evidence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from isotrace.commands.options import INCOMPLETE_OK
from isotrace.errors import IsotraceError, UsageError
from isotrace.process import itself
from isotrace.process.launch import find
from isotrace.process.telling import say, tell

if TYPE_CHECKING:
    from isotrace.learning.rules import Lesson
    from isotrace.learning.sources import Sources

_EPILOG = """\b
The policy denies every call, file and address that no recorded run used,
except for a small set that every program needs (isotrace/learning/base.toml).
Each rule has its evidence as a comment. The head of the file says what the
recordings could not show. Where names vary, a rule is raised to their
directory, but never to /, /etc, a home directory and similar, nor to or above
a directory of --never-above.

\b
Make recordings with isotrace record -y. If the file of -o exists, learn adds
to it and shows what it adds; comments, order and hand-written rules stay. The
status is 1 if a recording lacks something of its run.

\b
Examples:
  isotrace learn t.arrow                      the policy, on standard output
  isotrace learn -o worker.toml 'web*.arrow'  make it, or add to it
  isotrace learn -o build.toml -- make        record and learn in one go
  isotrace learn --verify -o build.toml -- make
                                              and run it again under that,
                                              until nothing is denied
  isotrace learn t.arrow --why 'r:/srv/data/*'
                                              the first calls that need this
                                              rule
  isotrace learn t.arrow --map /home/ci=/home/ann
                                              from another machine
"""


class _WithCommand(click.Command):
    """What stands behind ``--`` is a command, whatever is before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS] {REC... | -- CMD}"]


@click.command(cls=_WithCommand, epilog=_EPILOG)
@click.argument("recordings", metavar="REC...", nargs=-1)
@click.option("-o", "--output", metavar="FILE", help="The policy file; if it exists, learn adds to it.")
@click.option(
    "--why", metavar="RULE", help="Show the first calls that need this rule, or this word of the rule on calls."
)
@click.option(
    "--never-above", "never", multiple=True, metavar="DIR", help="Never raise a rule to this directory, or above."
)
@click.option("--map", "renamed", multiple=True, metavar="OLD=NEW", help="Read paths below OLD as paths below NEW.")
@click.option(
    "--verify",
    is_flag=True,
    help="With -- CMD: run it again under the policy, and add what was denied; three times at most.",
)
@INCOMPLETE_OK
@click.option("--record", "keep", metavar="FILE", help="With -- CMD: keep the recording in this file.")
def learn(recordings: tuple[str, ...], **choices: Any) -> int:
    """Learn a policy from recorded runs, or from a command that is run and recorded."""
    command: tuple[str, ...] = click.get_current_context().meta["command"]
    if bool(recordings) == bool(command):
        raise UsageError("a recording or a command is needed", "isotrace learn REC..., or isotrace learn -- CMD")
    if (choices["keep"] or choices["verify"]) and not command:
        option = "--record" if choices["keep"] else "--verify"
        raise UsageError(f"{option} is for a command", "leave it out, or give -- CMD")
    if choices["verify"] and (choices["output"] is None or choices["why"] is not None):
        raise UsageError("--verify changes the policy", "give -o FILE, and no --why")
    if choices["output"] is not None:
        _check_output(choices["output"])
    renamed = tuple(mapping(text) for text in choices["renamed"])
    never = tuple(_directory(text) for text in choices["never"])
    with _recorded(command, choices["keep"]) if command else _given(recordings) as files:
        from isotrace.learning import sources

        read = sources.read(files, renamed=renamed)
        status = _learned(read, never, choices["output"], choices["why"])
        if choices["why"] is None:
            status |= read.verdict.of_whole(choices["incomplete_ok"])
        if not choices["verify"]:
            return status
        from isotrace.commands import rounds
        from isotrace.learning import coverage

        return status | rounds.verify(choices["output"], command, coverage.wish_for(read, never))


def _check_output(path: str) -> None:
    from isotrace.policy.presets import is_preset

    if is_preset(path):
        hint = f"isotrace policy show {path} > FILE makes a copy; a file of that name is ./{path}"
        raise UsageError(f"-o {path}: a preset cannot be changed", hint)


def mapping(text: str) -> tuple[str, str]:
    """The two prefixes of --map. Raises ``UsageError``."""
    old, equals, new = text.partition("=")
    if not equals or not old.startswith("/") or not new.startswith("/"):
        raise UsageError(f"--map {text!r} is not OLD=NEW", "two absolute paths: --map /home/ci=/home/ann")
    if not new.isprintable():
        raise UsageError(
            f"--map {text!r}: a rule cannot have that name in it", "without control characters, in UTF-8: /home/ann"
        )
    return os.path.normpath(old), os.path.normpath(new)


def _directory(text: str) -> str:
    if not text.startswith("/"):
        raise UsageError(f"--never-above {text!r} is not absolute", "start it at the root: /srv/data")
    return os.path.normpath(text)


@contextmanager
def _given(recordings: tuple[str, ...]) -> Iterator[list[str]]:
    yield list(recordings)


@contextmanager
def _recorded(command: tuple[str, ...], keep: str | None) -> Iterator[list[str]]:
    """Run the command and record it."""
    find(command)
    with tempfile.TemporaryDirectory(prefix="isotrace-") as directory:
        file = keep or os.path.join(directory, f"{os.path.basename(command[0])}.arrow")
        before = _identity(file)
        status = itself.run(["record", "-y", "-q", "-o", file, "--", *command])
        if _identity(file) == before:
            raise IsotraceError("the command was not recorded", "isotrace record -y -o FILE -- CMD says why")
        if status:
            say(f"the command ended with status {status}: what it did not come to is not learned")
        yield [file]


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from one that was there before; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _learned(read: Sources, never: tuple[str, ...], output: str | None, why: str | None) -> int:
    from isotrace.learning import answers, coverage, rules

    wish = coverage.wish_for(read, never)
    known = list(coverage.lines(read, wish))
    if output is not None and why is None and os.path.exists(output):
        return _added(read, wish, output, known)
    lesson = rules.learn(read.with_interpreters(), wish)
    answers.apply(lesson, read.folded, read.calls)
    if why is not None:
        return _why(read, lesson, why)
    if not lesson.rules:
        raise IsotraceError("nothing can be learned from this", "record every call: isotrace record -y -o FILE -- CMD")
    return _written(read, lesson, known, output)


def _written(read: Sources, lesson: Lesson, known: list[str], output: str | None) -> int:
    from isotrace.learning import coverage, writing
    from isotrace.policy.file import read as check
    from isotrace.policy.file import write

    text = writing.text(read, lesson, known, coverage.sources_of(read))
    check(text, output or "the policy")
    tell([*known, *lesson.said])
    if output is None:
        click.echo(text, nl=False)
    else:
        write(output, text)
        say(f"{len(lesson.rules)} rules in {output!r}")
    return 0


def _added(read: Sources, wish: Any, output: str, known: list[str]) -> int:
    from isotrace.learning import coverage, expected, merging
    from isotrace.policy.file import MAX_BYTES, write

    try:
        with open(output, encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except UnicodeDecodeError:
        raise IsotraceError(f"{output!r} is not UTF-8 text", "choose another file for -o") from None
    except OSError as error:
        raise IsotraceError(f"cannot read {output!r}: {error.strerror}", "choose another file for -o") from None
    if len(text) > MAX_BYTES:
        raise IsotraceError(
            f"{output!r} is no policy: it is longer than {MAX_BYTES} bytes", "choose another file for -o"
        )
    origin = merging.Origin(read.name, list(coverage.sources_of(read)), known)
    merged = merging.merge(text, output, read.with_interpreters(), wish, origin)
    tell([*known, *merged.said])
    for line in merging.difference(merged, read.name):
        click.echo(line)
    tell(f"left denied by {one.rule.title}: {one.asked.call} {expected.thing_of(one)}".rstrip() for one in merged.left)
    count = len(merged.added) + len(merged.words)
    if count:
        write(output, merged.text)
    say(f"{count} added to {output!r}" if count else f"{output!r} allows all of it already")
    return 0


def _why(read: Sources, lesson: Lesson, why: str) -> int:
    """The first rows behind a rule, as lines."""
    found = [rule.evidence for rule in lesson.rules if why in (rule.title, rule.word)]
    found += [evidence for word, evidence in lesson.words.items() if word == why.removeprefix("!")]
    if not found:
        raise UsageError(
            f"no rule {why!r} was learned", "write it as it stands in the policy: r:/srv/data/*, or a word"
        )
    wanted = {at for evidence in found for at in evidence.first}
    for at, line in read.lines(wanted):
        click.echo(f"{read.name(at)}  {line}")
    return 0
