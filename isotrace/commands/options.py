"""What the verbs that watch a target share: its options, and the types of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isotrace import units
from isotrace.decode.quote import safe
from isotrace.errors import UsageError
from isotrace.process.telling import tell
from isotrace.trace.target import Target, parse_uid

if TYPE_CHECKING:  # numpy's import takes longer than what comes before it
    from isotrace.trace.plan import Options
    from isotrace.trace.waited import Waited

Function = TypeVar("Function", bound=Callable[..., Any])


class Parsed(click.ParamType[float]):
    """A value that a function of isotrace.units parses; its errors are shown as they are."""

    def __init__(self, name: str, parse: Callable[[str], float | int]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: object, ctx: object) -> float | int:
        return self._parse(value) if isinstance(value, str) else value  # type: ignore[return-value]


def _once(_context: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> Any:
    """The one value of an option; the last of several would be taken without a word otherwise."""
    if len(values) > 1:
        hint = (
            "join its terms with commas"
            if param.name == "calls"
            else "give one, and run another isotrace for the other"
        )
        raise UsageError(f"--{(param.name or '').replace('_', '-')} is given {len(values)} times", hint)
    return values[0] if values else None


#: What names a cgroup by a container.
CONTAINER = ("container", "pod", "container_root", "wait")

#: Of an option that may be given once.
ONCE: dict[str, Any] = {"multiple": True, "callback": _once}


class Number(click.IntRange):
    """A number within bounds that its help says in words, or need not say; an error says them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Fails with the bounds."""
        number = int(click.INT.convert(value, param, ctx))
        if (self.min is not None and number < self.min) or (self.max is not None and number > self.max):
            bounds = f"{self.min} or more" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"{number} is not {bounds}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return ""


PID = Number(1, (1 << 22) - 1)
_PPID, _KEPT_PPID = (
    click.option(
        "--ppid", type=PID, metavar="N", multiple=True, help=f"Children of this process: tasks whose parent is N{when}."
    )
    for when in (" at the time of the call", ", or was N at some time while this runs")
)
_COMM, _KEPT_COMM = (
    click.option(
        "--comm",
        metavar="NAME",
        multiple=True,
        help=f"Processes with this name (the kernel's: at most 15 bytes), or a pattern with * ? [a-z]{until}.",
    )
    for until in ("", ", until they execute a program under another name")
)
_PID_TREE_UID = (
    click.option("--pid", type=PID, metavar="N", multiple=True, help="This process, with all its threads."),
    click.option(
        "--tree",
        type=PID,
        metavar="N",
        multiple=True,
        help="This process and all its descendants, also those that get another parent.",
    ),
    click.option(
        "--uid", type=Parsed("user", parse_uid), **ONCE, help="Processes of this user, by name or number (real uid)."
    ),
)
_CGROUP_FOLLOW = (
    click.option("--cgroup", metavar="PATH", **ONCE, help="Processes in this cgroup (version 2) or below it."),
    click.option(
        "--container",
        metavar="NAME",
        **ONCE,
        help="Processes in this container, including those that docker exec starts there. NAME is its name, or four or more"
        " digits of its id; UID/NAME is one of a user's own runtime.",
    ),
    click.option("--pod", metavar="NAMESPACE/NAME", **ONCE, help="Processes in the containers of this pod."),
    click.option(
        "--container-root",
        metavar="DIR",
        **ONCE,
        help="Where names of containers come from: the root of the runtimes' directories, as in DIR/run/containerd."
        "  [default: /]",
    ),
    click.option(
        "--wait",
        is_flag=True,
        help="With --container, --pod and --cgroup: wait until it is there, and go on when it is started again.",
    ),
    click.option("-f", "--follow", is_flag=True, help="Also descendants of what matches."),
)
_CALLS = click.option("--calls", metavar="EXPR", **ONCE, help="Only these calls.  [default: all]")
_COMMAND = click.argument("command", metavar="[--] [CMD [ARG]...]", nargs=-1, type=click.UNPROCESSED)
FOR = click.option(
    "--for", "seconds", type=Parsed("duration", units.duration), metavar="TIME", help="End after 10s, 5m, 1h30m …"
)
STRING_LIMIT = click.option(
    "--string-limit",
    type=Number(0, 4096),
    metavar="N",
    default=256,
    show_default=True,
    help="Show this many bytes of strings and buffers, 0 to 4096. Paths are always whole.",
)
RING = click.option(
    "--ring",
    type=Parsed("size", units.size),
    default="64m",
    show_default=True,
    help="Size of the ring buffer, a power of two.",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["auto", "bpf", "lkm"]),
    default="auto",
    show_default=True,
    help="auto uses BPF, and falls back to the kernel module only if BPF is unavailable and the module is loaded.",
)
DESCRIPTORS = click.option(
    "-y",
    "--descriptors",
    count=True,
    help="Show what descriptors are: 3</etc/passwd>, 4<socket:[1234]>. -yy also shows addresses of sockets, numbers of"
    " devices and processes of pidfds.",
)
STACKS = click.option(
    "-k",
    "--stack-trace",
    is_flag=True,
    help="Show the user stack of each call, as strace -k does. Needs the unwind tables of programs; a stack that ends"
    " without them says so.",
)
SHOW_CONTAINERS = click.option(
    "--show-containers",
    is_flag=True,
    help="Show the container of each process, and its pid there: 4711 (12 in web).  [default: with --container and --pod]",
)
RESOLVE = click.option(
    "--resolve",
    is_flag=True,
    help='Show relative paths made absolute, through directory descriptors, chdir and chroot: "f" /* "/home/x/f" */, or'
    " /* ? */ if unknown.",
)
HOST_PATHS = click.option(
    "--host-paths",
    is_flag=True,
    help="As -y, and where the file of a descriptor is on the host, if its process is in a container:"
    ' 3</etc/passwd> /* host "/srv/root/etc/passwd" */, or /* host ? */ if unknown.',
)
PATHS = click.option(
    "-P",
    "--path",
    metavar="GLOB",
    multiple=True,
    help="Only calls that name such a path or unix socket as the caller wrote it, or, with -y (also when it was recorded),"
    " that use a descriptor of it. * is anything, including /. Can be given several times.",
)
INCOMPLETE_OK = click.option(
    "--incomplete-ok",
    is_flag=True,
    help="Accept incomplete recordings (no end, missing parts, lost calls): no status 1 for these.",
)
STRICT = click.option("--strict", is_flag=True, help="Exit with status 1 if anything was lost.")
LOSSLESS = click.option(
    "--lossless",
    is_flag=True,
    help="Slow the target down instead of losing calls: while the ring buffer is more than half full, each call waits for"
    " isotrace, up to 0.5 ms, on its processor. If isotrace still cannot read in time, calls are lost and reported. When"
    " isotrace ends, nothing waits.",
)


def target_options(function: Function) -> Function:
    """--ppid, --pid, … --calls and the command to start; ``take_target`` makes a ``Target`` of their values."""
    return with_options((_PPID, *_PID_TREE_UID, _COMM, *_CGROUP_FOLLOW, _CALLS, _COMMAND), function)


def kept_target_options(function: Function) -> Function:
    """The same of a target that nobody leaves by another name or parent, without --calls."""
    return with_options((_KEPT_PPID, *_PID_TREE_UID, _KEPT_COMM, *_CGROUP_FOLLOW, _COMMAND), function)


def with_options(options: Sequence[Callable[[Function], Function]], function: Function) -> Function:
    """``function`` with these options, in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def containers_to_show(values: dict[str, Any]) -> bool:
    """Whether the containers of processes are to be shown. Call it before ``take_target``. Raises ``UsageError``."""
    named = values["container"] is not None or values["pod"] is not None
    asked = values["show_containers"]
    if values.get("style") not in (None, "text", "json", "none"):
        if asked:
            raise UsageError(
                f"--show-containers has no place in --format {values['style']}", "give --format text or json"
            )
        return False
    if asked:
        shown_by_root(values)
    return asked or named


def shown_by_root(values: dict[str, Any]) -> None:
    """Take --container-root for names alone, where it is no target's. Raises ``IsotraceError``."""
    if values["container_root"] is not None and values["container"] is None and values["pod"] is None:
        from isotrace.containers.whose import whose

        whose().look_in(values["container_root"])
        values["container_root"] = None


def take_target(values: dict[str, Any], keep: bool = False) -> Target:
    """The target that the options name; their values are removed from ``values``. Raises ``IsotraceError``."""
    cgroup = _take_cgroup(*(values.pop(name) for name in ("cgroup", *CONTAINER)))
    names = ("ppid", "pid", "tree", "uid", "comm", "follow", "command")
    target = Target(**{name: values.pop(name) for name in names}, **cgroup, keep=keep)
    target.check()
    return target


def _take_cgroup(
    path: str | None, container: str | None, pod: str | None, root: str | None, wait: bool
) -> dict[str, Any]:
    """What the options say of the target's cgroup: fields of ``Target``. Raises ``IsotraceError``."""
    given = [
        f"--{name}" for name, value in (("cgroup", path), ("container", container), ("pod", pod)) if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other", "give one of them")
    if wait and not given:
        raise UsageError("--wait waits for a container, a pod or a cgroup", "give --container, --pod or --cgroup")
    if path is not None or not given:
        if root is not None:
            raise UsageError("--container-root needs --container or --pod", "give one of these")
        return {"cgroup": path, "waited": _at(path) if wait and path is not None else None}
    from isotrace.containers.whose import whose

    if root is not None:
        whose().look_in(root)
    name = f"pod {safe(pod)}" if pod is not None else f"container {safe(container or '')}"
    if wait:
        from isotrace.trace import sought

        return {"cgroup": "", "container": name, "waited": sought.container(container, pod, root, name)}
    from isotrace.containers import find

    found = find.pod(pod, root) if pod is not None else find.container(container or "", root)
    tell(f"not readable, may have others of that name: {trouble}" for trouble in found.troubles)
    whose().tell(found)
    return {"cgroup": str(found.cgroup), "container": name}


def _at(path: str) -> Waited:
    from isotrace.trace import sought

    return sought.at(path, f"cgroup {safe(path)}")


def trace_options(
    values: dict[str, Any],
    target: Target,
    calls: frozenset[str] | None,
    durations: bool,
    full: bool,
    containers: bool,
) -> Options:
    """What is to be recorded, by the options above; ``full``: nothing is abbreviated. Imports what takes time."""
    from isotrace.trace.plan import Options

    return Options(
        target,
        calls,
        values["string_limit"],
        values["ring"],
        durations,
        notices=not values["quiet"],
        lossless=values["lossless"],
        descriptors=values["descriptors"] > 0 or values["resolve"] or bool(values.get("host_paths")),
        stacks=values["stack_trace"],
        full=full,
        pids=bool(values.get("pids")),
        resolve=values["resolve"],
        containers=containers,
        places=bool(values.get("host_paths")),
    )
