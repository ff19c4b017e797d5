"""``isotrace diff``: what one recorded run did that another did not."""

from __future__ import annotations

import click

from isotrace.commands.learn import mapping
from isotrace.commands.options import INCOMPLETE_OK
from isotrace.errors import UsageError
from isotrace.process.telling import say, tell

_KINDS = ("secrets", "network", "exec", "writes", "code", "reads", "sockets", "calls", "errors")

_EPILOG = f"""
The most alarming kinds come first, in this order: {", ".join(_KINDS)}.
Files of one directory are one line. What every program does is left out, and
names that vary from run to run (process numbers, temporary names, hashes,
versions) count as the same: docs/learn.md. The status is 1 if there is
something new, or if a recording lacks something of its run.

\b
Examples:
  isotrace diff v1.arrow v2.arrow
  isotrace diff v1.arrow v2.arrow --only secrets,network,exec,writes
  isotrace diff ci.arrow mine.arrow --map /home/ci=/home/ann --format json
"""


@click.command(epilog=_EPILOG)
@click.argument("before", metavar="REC-A")
@click.argument("after", metavar="REC-B")
@click.option("--only", metavar="KINDS", help="Show only these kinds, as in writes,network,exec.")
@click.option("--map", "renamed", multiple=True, metavar="OLD=NEW", help="Read paths below OLD as paths below NEW.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@INCOMPLETE_OK
def diff(before: str, after: str, only: str | None, renamed: tuple[str, ...], style: str, incomplete_ok: bool) -> int:
    """Show what the run of REC-B did and the run of REC-A did not."""
    kinds = [kind.strip() for kind in only.split(",")] if only is not None else []
    if wrong := [kind for kind in kinds if kind not in _KINDS]:
        raise UsageError(f"--only has no kind {wrong[0]!r}", f"some of {', '.join(_KINDS)}")
    from isotrace.learning import comparing, sources
    from isotrace.recording import parts

    pairs = tuple(mapping(text) for text in renamed)
    first, second = (sources.read([name], renamed=pairs) for name in (before, after))
    if first.heads[0].command != second.heads[0].command:
        say("the two are of different commands")
    new = comparing.compare(first, second, kinds)
    for line in comparing.objects(second, new) if style == "json" else comparing.lines(second, new):
        click.echo(line)
    for one, what in ((first, "is not known to be old"), (second, "is not here")):
        tell(f"{head.name}: {count} calls were lost: what these did {what}" for head, count in one.lost())
    tell([f"{len(new)} new" if new else "nothing new"])
    for one in (first, second):
        one.verdict.say()
    status = parts.both(first.verdict, second.verdict).of_whole(incomplete_ok)
    return int(bool(new) | status)
