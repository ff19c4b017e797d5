"""What is traced: each work runs once and gives one figure, nanoseconds or requests per second."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Keeper, Started, Trouble, wait_until

#: Puts a tracer before a command.
Wrap = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Outcome:
    """``time`` is what the work took: ns, or ns per request. ``calls`` that it made, 0 if not known. ``tracer`` ran it."""

    time: float
    calls: int
    tracer: Started


@dataclass(frozen=True)
class Place:
    """Where the works live: ``binary`` is bench/progs/work.c, compiled."""

    keeper: Keeper
    scratch: Path
    binary: Path


Once = Callable[[Place, Wrap, int], Outcome]


def own(kind: str, rounds: int, calls: int) -> Once:
    """A loop of work.c; ``calls`` are those of a round."""

    def once(place: Place, wrap: Wrap, smaller: int) -> Outcome:
        count = max(1, rounds // smaller)
        return _timed(place, wrap, [str(place.binary), kind, str(count)], count * calls)

    return once


def _program(*words: str) -> Once:
    """A program of the system, from start to end. SCRATCH stands for the bench's directory."""

    def once(place: Place, wrap: Wrap, smaller: int) -> Outcome:
        command = [word.replace("SCRATCH", str(place.scratch)) for word in words]
        return _timed(place, wrap, [str(place.binary), "run", *command], 0)

    return once


def _timed(place: Place, wrap: Wrap, command: list[str], calls: int) -> Outcome:
    result = place.scratch / "result"
    result.unlink(missing_ok=True)
    tracer = place.keeper.start(wrap(command), BENCH_RESULT=result)
    try:
        tracer.finish()
        return Outcome(_figure(result), calls, tracer)
    except BaseException:
        place.keeper.end(tracer)
        raise


def _figure(result: Path) -> float:
    if not result.exists():
        raise Trouble("the work did not end as it should")
    return float(result.read_text())


def attached(place: Place, loop: tuple[str, int, int], tool: Callable[[int], list[str]], ready: str) -> Outcome:
    """A loop of work.c that waits until the tool that is told its pid has said ``ready``, a pattern."""
    kind, rounds, calls = loop
    result, gate = place.scratch / "result", place.scratch / "gate"
    result.unlink(missing_ok=True)
    command = [place.binary, kind, str(rounds)]
    with place.keeper.running(command, BENCH_RESULT=result, BENCH_GATE=gate) as work:
        wait_until(gate.exists, 10, "the work did not start")
        tracer = place.keeper.start(tool(work.child.pid), PYTHONUNBUFFERED="1")
        try:
            is_ready = re.compile(ready, re.MULTILINE).search
            wait_until(lambda: bool(is_ready(tracer.said)) or tracer.ended(), 30, "the tool did not start")
            if tracer.ended():
                raise Trouble(f"does not start here: {tracer.tail()}")
            gate.unlink()
            work.finish()
            tracer.ended()
            return Outcome(_figure(result), calls * rounds, tracer)
        except BaseException:
            place.keeper.end(tracer)
            raise


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


@contextlib.contextmanager
def _server(place: Place, command: Sequence[str], port: int) -> Iterator[Started]:
    server = place.keeper.start(command)
    try:
        wait_until(lambda: _answers(port) or server.status() is not None, 30, "the server does not answer")
        if server.status() is not None:
            raise Trouble(f"the server ended: {server.tail()}")
        yield server
        server.finish()
    except BaseException:
        place.keeper.end(server)
        raise


def _asked(place: Place, client: list[str]) -> str:
    with place.keeper.running(client) as one:
        one.finish()
        return one.said


def _rate(said: str, pattern: str) -> float:
    found = re.search(pattern, said)
    if not found:
        raise Trouble(f"no rate in: {said.strip()[-200:]}")
    return 1e9 / float(found[1])


def _redis(place: Place, wrap: Wrap, smaller: int) -> Outcome:
    port = free_port()
    binary = place.scratch / "redis-server"
    if not binary.exists():  # Debian's redis-tools has the server, under the name of a tool that checks its files
        binary.symlink_to(shutil.which("redis-server") or shutil.which("redis-check-rdb") or "/nowhere")
    settings = place.scratch / "redis.conf"
    settings.write_text(f'port {port}\nbind 127.0.0.1\nsave ""\nappendonly no\ndir {place.scratch}\n')
    with _server(place, wrap([str(binary), str(settings)]), port) as server:
        count = 100_000 // smaller
        client = ["redis-benchmark", "-p", str(port), "-t", "get", "-n", str(count), "-c", "50", "--csv"]
        said = _asked(place, client)
        _asked(place, ["redis-cli", "-p", str(port), "shutdown", "nosave"])
    return Outcome(_rate(said, r'"GET[^"]*","([\d.]+)"'), 0, server)


_NGINX = """daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx.err;
events {{ worker_connections 512; }}
http {{ access_log {0}/nginx.log; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
  uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi; server {{ listen 127.0.0.1:{1}; root {0}/www; }} }}
"""


def _wrk(place: Place, wrap: Wrap, smaller: int) -> Outcome:
    port = free_port()
    pages = place.scratch / "www"
    pages.mkdir(exist_ok=True)
    (pages / "index.html").write_text("hello\n" * 100)
    settings = place.scratch / "nginx.conf"
    settings.write_text(_NGINX.format(place.scratch, port))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with _server(place, wrap([nginx, "-c", str(settings)]), port) as server:
        said = _asked(place, ["wrk", "-t1", "-c16", "-d2s", f"http://127.0.0.1:{port}/index.html"])
        _asked(place, [nginx, "-c", str(settings), "-s", "stop"])
    return Outcome(_rate(said, r"Requests/sec:\s+([\d.]+)"), 0, server)


@dataclass(frozen=True)
class Work:
    """``needs`` are programs that it takes; ``loop`` (kind, rounds, calls of a round) is set where it is one process of
    work.c, whose pid a tool can be told; ``served`` where its figure is requests per second."""

    name: str
    once: Once
    groups: tuple[str, ...] = ("text", "records", "counts")
    needs: tuple[str, ...] = ()
    package: str = ""
    loop: tuple[str, int, int] | None = None
    served: bool = False

    def missing(self) -> str | None:
        """Why it cannot be done here, or None."""
        if all(shutil.which(program) for program in self.needs):
            return None
        return f"not installed: {', '.join(p for p in self.needs if not shutil.which(p))} (package {self.package})"


_ALL = ("text", "records", "counts", "opens")

WORKS = (
    Work("getppid in a loop", own("getppid", 400_000, 1), loop=("getppid", 400_000, 1)),
    Work("open and close in a loop", own("open", 200_000, 2), _ALL, loop=("open", 200_000, 2)),
    Work("a byte to and fro between two processes", own("pipe", 40_000, 4)),
    Work("fork storm", own("storm", 4_000, 0)),
    Work("tar of /usr/include", _program("tar", "-cf", "SCRATCH/include.tar", "/usr/include"), _ALL, ("tar",)),
    Work("find in /usr/share, size of every file", _program("find", "/usr/share", "-size", "+1000M"), needs=("find",)),
    Work(
        "make -j2 of a C project", _program("make", "-s", "-B", "-j2", "-C", "SCRATCH/project"), _ALL, ("make", "gcc")
    ),
    Work("redis-server, GET", _redis, needs=("redis-benchmark", "redis-cli"), package="redis-tools", served=True),
    Work("nginx, a small page", _wrk, needs=("nginx", "wrk"), package="nginx-light, wrk", served=True),
)

_FILES = 12


def write_project(scratch: Path) -> None:
    """A C project of twelve files that include what C programs include."""
    project = scratch / "project"
    project.mkdir()
    names = [f"part{number}" for number in range(_FILES)]
    heads = "".join(f"#include <{name}.h>\n" for name in ("stdio", "stdlib", "string", "unistd", "sys/socket", "math"))
    for name in names:
        (project / f"{name}.c").write_text(f'{heads}int {name}(int x) {{ return x + (int)strlen(getenv("PATH")); }}\n')
    calls = " + ".join(f"{name}(x)" for name in names)
    declared = "".join(f"int {name}(int);\n" for name in names)
    (project / "main.c").write_text(f"{declared}int main(int x, char **v) {{ (void)v; return ({calls}) < 0; }}\n")
    objects = " ".join(f"{name}.o" for name in (*names, "main"))
    (project / "Makefile").write_text(f"program: {objects}\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n")
