"""Real programs, once under ``strace -f`` and once under isotrace: the same calls, arguments and results."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tracer

from isotrace.decode.xlat import SETS

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: nothing to compare with")

_UNFINISHED = re.compile(r"(?P<pid>\d+) +(?P<text>.*) ?<unfinished \.\.\.>$")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<text>.*)")
_WHOLE = re.compile(r"(?P<pid>\d+) +(?P<text>.*)")


def _strace(command: list[str], directory: Path, *options: str) -> list[tuple[int, str]]:
    """(tid, text) of each line, halves of interrupted lines joined."""
    output = directory.parent / "strace"
    line = ["strace", "-f", "-s", "32", *options, "-o", output, "--", *command]
    subprocess.run(
        line,
        cwd=directory,
        env=tracer.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=tracer.PATIENCE,
    )
    waiting: dict[str, str] = {}
    found = []
    for raw in output.read_text().splitlines():
        if match := _UNFINISHED.fullmatch(raw):
            waiting[match["pid"]] = match["text"].rstrip(" ")
        elif match := _RESUMED.fullmatch(raw):
            head = waiting.pop(match["pid"])
            found.append((int(match["pid"]), head + (" " if head.endswith(",") else "") + match["text"].lstrip(" ")))
        elif match := _WHOLE.fullmatch(raw):
            found.append((int(match["pid"]), match["text"]))
    return found


def _isotrace(command: list[str], directory: Path, *options: str) -> list[tuple[int, str]]:
    run = tracer.log("--string-limit", 32, *options, "--", *command, cwd=directory)
    assert run.counts[2] == 0, run.err
    return [(line.tid, line.text) for line in run.lines]


# ---- what cannot be equal ------------------------------------------------------------------------------------------

#: (pattern, replacement): values that differ from one run of the same program to the next.
VOLATILE = [
    (r"\s+= ", " = "),
    (r"\b0x[0-9a-f]{6,16}\b", "ADDRESS"),  # where things were loaded
    (r"\btimeout=\d+|\btv_n?u?sec=\d+|si_[us]time=\d+( /\* [\d.]+ s \*/)?", "TIME"),
    (r'^getrandom\("[^"]*"', "getrandom(RANDOM"),
    (r"/tmp/cc\w{6}", "/tmp/RANDOM"),  # gcc's temporary files
    (r"^(getppid\(\)) = \d+", r"\1 = PARENT"),  # strace, or isotrace
    (r"htons\((3[2-9]|[45]\d|6[0-5])\d{3}\)", "EPHEMERAL"),
    (r"\[\d+ => (\d+)\]\) =", r"[\1]) ="),  # a length at entry: isotrace looks when the call returns
    (
        r"/\* (at least )?\d+ entries \*/, (\d+)\) = (\d{5}|4[1-9]\d\d|[5-9]\d{3})",
        r"MANY, \2) = \3",
    ),  # 4096 bytes are copied
    (r"^(sysinfo)\(.*\)", r"\1(NOW)"),
    (r"f_(bfree|bavail|ffree)=\d+", "FREE"),
    (r"(pipe|socket|mnt|[A-Z][\w-]*):\[\d+(->\d+)?", r"\1:[INODE\2"),  # of what descriptors are
    (r"(127\.0\.0\.1|\[::1\]):(3[2-9]|[45]\d|6[0-5])\d{3}", r"\1:EPHEMERAL"),
    (r'^(read\(\d+, )"[0-9a-f]{8,12}-[0-9a-f]{8,12} [^"]*"\.\.\.(, \d+\) = )\d+', r"\1MAPS\2SIZE"),
]

#: Pattern → why lines that match are compared in neither trace: what a tracer of the other kind sees, or nobody twice.
RESIDUE = {
    r"--- SIG(CHLD|WINCH|URG|CONT) ": "ignored signals stop a ptraced process; the kernel delivers them to nobody",
    r"--- SIG(HUP|INT|PIPE|ALRM|TERM|USR1|USR2) ": "a deadly signal ends the group before it is delivered; only ptrace "
    "stops there. The line +++ killed by SIG… +++ says it in both",
    r"(poll|ppoll|select|pselect6|epoll_wait|futex|restart_syscall|sched_yield|clock_nanosleep)\(": "timing decides "
    "how often",
    r"rt_sigaction\(SIGPIPE, ": "curl ignores it anew in every turn of its loop, and timing decides how many there are",
    r'recvfrom\(\d+, "(HTTP|a page)': "timing decides how much of the answer curl gets at once",
    r"(wait4|rt_sigreturn|rt_sigsuspend)\(": "timing decides whether a child has ended before its parent waits",
}
_VOLATILE = [(re.compile(pattern), replacement) for pattern, replacement in VOLATILE]
_RESIDUE = re.compile("|".join(RESIDUE))


ATTEMPTS = 3


def _normalise(lines: list[tuple[int, str]], residue: re.Pattern[str]) -> Counter[str]:
    pids = {tid for tid, _ in lines}
    return Counter(_plain(text, pids) for _, text in lines if not residue.match(text))


def _plain(text: str, pids: set[int]) -> str:
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return re.sub(r"\b\d{3,}\b", lambda m: "PID" if int(m[0]) in pids else m[0], text)


# ---- the programs --------------------------------------------------------------------------------------------------

PROGRAMS = {
    "ls": ["ls", "-l", "sub"],
    "cat": ["cat", "sub/a.txt", "missing"],
    "tar": ["tar", "cf", "out.tar", "sub"],
    "python3": ["/usr/bin/python3", "-c", "import os, json; print(os.listdir('sub'), os.getcwd(), json.dumps([1]))"],
    "sh": [
        "sh",
        "-c",
        "echo a | cat | wc -c; (exit 3); echo $?; ls missing; cat < sub/a.txt > copy; rm copy; kill -TERM $$",
    ],
    "find": ["find", ".", "-name", "*.txt", "-newer", "hello.c"],
    "grep": ["grep", "-r", "needle", "."],
    "gcc": ["gcc", "-c", "hello.c", "-o", "hello.o"],
    "git": ["git", "status"],
    "curl": ["curl", "-sS", "-o", "page", "http://127.0.0.1:{port}/a.txt"],
    "make": ["sh", "-c", "printf 'all:\\n\\techo hi\\n' >Makefile; make"],
    "perl": ["perl", "-e", "open(F, '<', 'hello.c'); print <F>; print time"],
    "awk": ["awk", "{print $1}", "sub/a.txt"],
    "sed": ["sed", "-i", "s/needle/pin/", "sub/a.txt"],
    "sort": ["sort", "-u", "sub/a.txt", "sub/b.txt"],
    "xargs": ["sh", "-c", "ls sub | xargs -n1 echo"],
    "gzip": ["gzip", "-k", "hello.c"],
    "bzip2": ["bzip2", "-k", "hello.c"],
    "xz": ["xz", "-k", "hello.c"],
    "getent": ["getent", "passwd", "root"],
    "date": ["date", "-u", "-d", "@0"],
    "bc": ["sh", "-c", "echo 2^64 | bc"],
    "sqlite3": ["sqlite3", "db", "create table t(a); insert into t values(1); select * from t;"],
    "cpio": ["sh", "-c", "ls hello.c | cpio -o >out.cpio"],
    "file": ["file", "hello.c"],
    "bash": ["bash", "-c", "for i in 1 2; do echo $i; done >out; cat out | tee two; exec 5<out; read x <&5"],
    "busybox": ["busybox", "ls", "-l", "sub"],
    "df": ["df", "."],
    "stat": ["stat", "hello.c"],
    "dd": ["dd", "if=/dev/zero", "of=out", "bs=4096", "count=3", "status=none"],
    "diff": ["diff", "-u", "sub/a.txt", "sub/b.txt"],
    "objdump": ["objdump", "-f", "/bin/true"],
    "ar": ["ar", "rc", "out.a", "hello.c"],
    "cp": ["cp", "-a", "sub", "copy"],
    "mv": ["mv", "hello.c", "moved.c"],
    "rm": ["rm", "-r", "sub"],
    "install": ["install", "-m", "600", "hello.c", "installed"],
    "touch": ["touch", "-d", "@1700000001", "hello.c"],
    "vim": ["vim", "-es", "-u", "NONE", "-c", "wq", "hello.c"],
    "setsid": ["setsid", "true"],
    "flock": ["flock", "lockfile", "true"],
    "ss": ["ss", "-ltn"],
}


#: A web server and its client in one process: connected sockets of both ends.
SERVERS = {
    "serve": [
        "/usr/bin/python3",
        "-c",
        "import http.server as h, threading as t, urllib.request as u;"
        "s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler); t.Thread(target=s.handle_request).start();"
        "u.urlopen(f'http://127.0.0.1:{s.server_port}/sub/a.txt').read(); s.server_close()",
    ]
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A web server in this process, on the loopback interface."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "a.txt").write_text("a page\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def __init__(self, *args):
            super().__init__(*args, directory=str(directory))

        def log_message(self, *_):
            pass

        def date_time_string(self, timestamp=None):
            return "Thu, 01 Jan 1970 00:00:00 GMT"

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


_OWN = f"unshare --net /usr/bin/python3 {Path(__file__).with_name('own_sockets.py')}"
#: Programs that ask the kernel by netlink: what they send and get is compared, attribute by attribute.
NETLINK = {
    "link": "ip link",
    "link-details": "ip -d -s link",
    "address": "ip address",
    "route": "ip route",
    "route6": "ip -6 route",
    "no-route": "ip route get 203.0.113.1 oif lo",
    "rule": "ip rule",
    "neighbour": "ip neighbour",
    "no-link": "ip link show nosuchlink",
    "netconf": "ip netconf",
    "qdisc": "tc qdisc",
    "fdb": "bridge fdb",
    "tcp": f"{_OWN} ss -tani",
    "unix": f"{_OWN} ss -xa",
    "packet": f"{_OWN} ss -0",
    "generic": f"/usr/bin/python3 {Path(__file__).with_name('generic.py')}",
}
#: Values that another socket, or a later moment, has otherwise.
_NETLINK_VOLATILE = [
    (re.compile(r'if_nametoindex\("([^"]+)"\)'), lambda match: str(socket.if_nametoindex(match[1]))),
    (
        re.compile(
            r"(_seq|_pid|_ino|_used|_\w+ed|_cookie|[rt]x_\w+|_\w*queue|_if|_(?:ICONS|PEER)\}, )=?(-?\d+|\[.*?\])"
        ),
        r"\1",
    ),
    (
        re.compile(
            r"[ct]stamp=\d+|ifa_valid=\d+|ifa_prefered=\d+|(reachable|retrans)_time=\d+|rta_(lastuse|tsage|ts|expires)=\d+"
        ),
        "TIME",
    ),
]


def _unnamed(text: str) -> set[str]:
    """Attributes for which that strace has no name yet, as it writes their types, and by the names that they have here."""
    found = set(re.findall(r"nla_type=(0x[0-9a-f]+ /\* \w+_\?\?\? \*/)", text))
    for words in tuple(found):
        number, default = int(words.split()[0], 16), words.split()[2]
        found |= {known.names[number] for known in SETS.values() if known.default == default and number in known.names}
    return found


def _messages(lines: list[tuple[int, str]], unnamed: set[str]) -> list[str]:
    one = "|".join(map(re.escape, sorted(unnamed))) or "$"
    new = re.compile(r", \[\{nla_len=\d+, nla_type=(?:" + one + r")\}, (?:[^][{}]*|\[[^][{}]*\])\]")
    found = []
    for _, text in lines:
        if text.startswith(("send", "recv")):
            text = new.sub("", text)
            for pattern, replacement in [*_NETLINK_VOLATILE, *_VOLATILE]:
                text = pattern.sub(replacement, text)
            found.append(text)
    return found


@pytest.mark.parametrize("name", NETLINK)
def test_netlink_messages_look_as_under_strace(name: str, tmp_path: Path) -> None:
    command = NETLINK[name].split()
    for program in (command[0], command[3] if command[0] == "unshare" else command[0]):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: not installed")
    for _ in range(ATTEMPTS):
        _populate(tmp_path / "w")
        strace = _strace(command, tmp_path / "w")
        unnamed = _unnamed("\n".join([text for _, text in strace]))
        theirs, ours = _messages(strace, unnamed), _messages(_isotrace(command, tmp_path / "w"), unnamed)
        assert any("nlmsg_type=" in text for text in theirs), "strace itself saw messages"
        if theirs == ours:
            return
    assert ours == theirs


def _populate(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "sub").mkdir(parents=True)
    (directory / "hello.c").write_text("int main(void) { return 0; }\n")
    (directory / "sub" / "a.txt").write_text("needle here\n" * 3)
    (directory / "sub" / "b.txt").write_text("hay\n")
    (directory / "sub" / "link").symlink_to("a.txt")
    for path in (directory / "hello.c", *(directory / "sub").iterdir()):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def _commit(directory: Path) -> None:
    when = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    for line in ("init -q", "add .", "-c user.name=a -c user.email=b commit -qm x"):
        subprocess.run(["git", *line.split()], cwd=directory, env=tracer.environment(**when), check=True)
    os.utime(directory / ".git" / "index", (1_700_000_100, 1_700_000_100))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_real_program_looks_as_under_strace(name: str, tmp_path: Path, port: int) -> None:
    command = [word.format(port=port) if "{port}" in word else word for word in PROGRAMS[name]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {name}: not installed")
    _compare(name, command, tmp_path, _RESIDUE)


#: The same beside descriptors.
FILES_RESIDUE = RESIDUE | {
    r"(recvfrom|recvmsg|sendto|getsockopt|fcntl|getsockname|getpeername)\(": "timing decides how often",
    r"clone3\(": "strace shows what the call has filled as well",
    r"\w+\(\d+<UNIX": "strace remembers what a socket was connected to when it first looked",
}
_FILES_RESIDUE = re.compile("|".join(FILES_RESIDUE))


@pytest.mark.parametrize("option", ["-y", "-yy"])
@pytest.mark.parametrize("name", ["cat", "sh", "python3", "tar", "curl", "serve"])
def test_descriptors_are_what_strace_says_they_are(name: str, option: str, tmp_path: Path, port: int) -> None:
    command = [word.format(port=port) if "{port}" in word else word for word in (PROGRAMS | SERVERS)[name]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {name}: not installed")
    _compare(name, command, tmp_path, _FILES_RESIDUE, option)


#: Calls of tests/progs/misc.c → why they look different; everything else of it is deterministic and compared.
MISC_RESIDUE = {
    r"--- SIGCHLD ": RESIDUE[next(iter(RESIDUE))],
    r"(pselect6|ppoll)\(": "strace sees sets and timeout before the call and adds what is left of them; "
    "isotrace sees only what is left",
    r"(copy_file_range|sendfile)\(": "offsets: before and after in strace, after in isotrace",
    r"(prctl\(PR_GET_DUMPABLE|sched_getscheduler|membarrier)": "strace adds a name behind the result",
    r"kcmp\(": "of an unknown type strace shows two arguments more",
    r"(shmget|shmat|shmctl)\(": "the kernel numbers segments",
    r"times\(": "a clock",
}


def test_calls_of_every_kind_look_as_under_strace(compiled: Callable[..., Path], tmp_path: Path) -> None:
    _compare("misc", [str(compiled("misc"))], tmp_path, re.compile("|".join(MISC_RESIDUE)))


#: What -v shows that is another in each run, beside VOLATILE.
VOLATILE_IN_FULL = [
    (r"(d|st|stx)_ino=\d+", "INODE"),
    (r"d_off=\d+", "OFFSET"),
    (r"stx?_([abcm]time)=(\d+|\{[^}]*\})( /\* \S+ \*/)?(, st_[acm]time_nsec=\d+)?", r"\1=WHEN"),
    (r"st_nlink=\d+, |stx?_blocks=\d+, |ru_\w+=\d+", ""),  # of directories that others use; of the processor
    (r"\{f_type=[^}]*\{[^}]*\}[^}]*\}", "STATFS"),
    (r'"(_|PWD|OLDPWD)=[^"]*"(\.\.\.)?(, )?', ""),
]
#: Beside -v: what each sees of the order in which a directory was filled.
FULL_RESIDUE = RESIDUE | {
    r"getdents64\(\d+, \[(\{[^}]*\}, ){40}": "4096 bytes of a directory are copied",
}
_FULL_RESIDUE = re.compile("|".join(FULL_RESIDUE))


@pytest.mark.parametrize("name", ["ls", "cat", "tar", "sh", "python3", "find", "git"])
def test_nothing_is_abbreviated_that_strace_shows_in_full(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = PROGRAMS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {name}: not installed")
    monkeypatch.setattr(
        sys.modules[__name__], "_VOLATILE", [(re.compile(a), b) for a, b in VOLATILE_IN_FULL] + _VOLATILE
    )
    _compare(name, command, tmp_path, _FULL_RESIDUE, "-v")


#: The same where constants are numbers.
STYLED_RESIDUE = MISC_RESIDUE | {
    r"statx\(": "strace 6.1 loses the argument flags where it is 0",
    r"mmap\(.*/\* MAP_\?\?\?": "strace 6.1 has a comment in a comment",
}
_STYLED_RESIDUE = re.compile("|".join(STYLED_RESIDUE).replace("--- SIGCHLD ", "--- SIG"))


@pytest.mark.parametrize("options", [("-X", "raw"), ("-X", "verbose"), ("-x",), ("-xx",)], ids=" ".join)
def test_constants_and_strings_are_written_as_by_strace(
    options: tuple[str, ...], compiled: Callable[..., Path], tmp_path: Path
) -> None:
    _compare("misc", [str(compiled("misc"))], tmp_path, _STYLED_RESIDUE, *options)


#: All that is no ioctl, and the number of a terminal that others open as well.
_IOCTLS_RESIDUE = re.compile(r"(?!ioctl\()|ioctl\(\d+, TIOCGPTN,")


def test_ioctls_look_as_under_strace(tmp_path: Path) -> None:
    command = ["/usr/bin/python3", str(Path(__file__).with_name("ioctls.py"))]
    _compare("ioctls", command, tmp_path, _IOCTLS_RESIDUE)


@pytest.mark.parametrize("options", [(), ("-v",)], ids=" ".join)
def test_what_bpf_is_asked_for_looks_as_under_strace(options: tuple[str, ...], tmp_path: Path) -> None:
    command = ["/usr/bin/python3", str(Path(__file__).with_name("bpf.py"))]
    _compare("bpf", command, tmp_path, re.compile(r"(?!bpf\()"), *options)


@pytest.mark.parametrize("options", [(), ("-v",), ("-v", "-X", "raw"), ("-v", "-X", "verbose")], ids=" ".join)
def test_filter_programs_look_as_under_strace(options: tuple[str, ...], tmp_path: Path) -> None:
    command = ["/usr/bin/python3", str(Path(__file__).with_name("filters.py"))]
    _compare("filters", command, tmp_path, re.compile(r"(?!setsockopt|seccomp|prctl)"), *options)


def _differences(name: str, command: list[str], where: Path, residue: re.Pattern[str], *options: str) -> set[str]:
    found = []
    for trace in (_strace, _isotrace):
        _populate(where)
        if name == "git":
            _commit(where)
        found.append(_normalise(trace(command, where, *options), residue))
    strace, isotrace = found
    assert sum(strace.values()) > 30, "strace itself saw the program"
    differences = {f"strace {n}x {line}" for line, n in (strace - isotrace).items()}
    return differences | {f"isotrace {n}x {line}" for line, n in (isotrace - strace).items()}


def _compare(name: str, command: list[str], tmp_path: Path, residue: re.Pattern[str], *options: str) -> None:
    """What differs every time is a difference; chance (a limit that equals a pid, a signal that restarts a call) is not."""
    differences = _differences(name, command, tmp_path / "w", residue, *options)
    for _ in range(ATTEMPTS):
        if differences:
            differences &= _differences(name, command, tmp_path / "w", residue, *options)
    assert not differences, "\n".join(sorted(differences))
