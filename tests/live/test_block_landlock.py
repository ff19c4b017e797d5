"""isotrace block -- CMD by Landlock on this kernel, as root and as a user without privileges: no way round a rule."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from isotrace.enforce.calls import notify
from isotrace.kernel import landlock
from tests.live.tracer import PATIENCE, until

ROOT = Path(__file__).parents[2]
PROGS = ROOT / "tests/progs"
BLOCK = (sys.executable, "-m", "isotrace", "block", "--backend", "landlock")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = [
    pytest.mark.skipif(landlock.abi() < 7, reason=f"needs landlock of ABI 7: {landlock.abi()}"),
    pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: to run without privileges"),
]


@pytest.fixture(params=["root", "nobody"])
def user(request):
    return () if request.param == "root" else NOBODY


@pytest.fixture
def place(tmp_path, user):
    """A directory of the user's with ``work`` and ``secret``, the latter with a file that no rule lets one have."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and tempfile.gettempdir() in map(str, above.parents):
            above.chmod(0o755)
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("hidden")
    (tmp_path / "work/own").write_text("own")
    if user:
        subprocess.run(["chown", "-R", "65534:65534", tmp_path], check=True)
    return tmp_path


def block(*words, user=(), **options):
    """Run isotrace block, give up after a while."""
    return subprocess.run(
        (*user, *BLOCK, *map(str, words)),
        **{"capture_output": True, "text": True, "timeout": 5 * PATIENCE, "env": ENVIRONMENT, "cwd": "/", **options},
    )


ATTEMPT = """
def attempt(name, function):
    try: said = function(); print(name, 'through', said, flush=True)
    except OSError as error: print(name, errno.errorcode[error.errno], flush=True)
"""


def python(code, place, *words, user=(), **options):
    """Run Python code as the command, with ``place`` and ``attempt(name, function)`` which says what came of it."""
    head = (
        "import os, sys, socket, ctypes, stat, errno, threading\n"
        f"place = {str(place)!r}; secret = place + '/secret'; file = secret + '/file'; work = place + '/work'\n"
        f"{ATTEMPT}"
    )
    words = (*words, "-o", place / "refused")
    return block(*words, "--", sys.executable, "-c", head + code, user=user, **options)


def outcomes(run):
    lines = [line.split() for line in run.stdout.splitlines()]
    assert run.returncode == 0 and lines, run.stderr + run.stdout
    return {line[0]: line[1] for line in lines}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: the program is C")
@pytest.mark.parametrize("rules", ["r alone", "everything, and a port"])
def test_no_way_round_a_rule_on_a_directory(place, user, rules, tmp_path_factory):
    program = tmp_path_factory.mktemp("escape", numbered=True) / "escape"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, PROGS / "escape.c"], check=True)
    program.parent.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = ["--deny-path", f"r:{place}/secret/**"]
        if rules != "r alone":
            words = ["--deny-path", f"{place}/secret/**", "--deny-net", f"tcp:*:{port}"]
        run = block(*words, "--", program, f"{place}/secret/file", f"{place}/work", port, user=user, input="\n")
    found = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line and not line[0].isdigit()}
    assert "race" in found, f"the program came to its end\n{run.stderr}"
    through = {way for way, result in found.items() if result == ["through"]}
    nets = {"connect", "connect_mapped", "fastopen", "ring_connect"}
    assert through <= ({"creat", *nets} if rules == "r alone" else set()), run.stdout
    assert found["open"] == found["int80"] == found["o_path"] == ["refused", "EACCES"]
    assert found["ring_open"] == ["refused", "EACCES" if rules == "r alone" else "EPERM"], "judged, or closed"
    if rules != "r alone":
        assert nets <= found.keys() and (place / "secret/file").read_text() == "hidden"


WRITES = """
def write(path, flags=os.O_WRONLY):
    os.close(os.open(path, flags))
libc = ctypes.CDLL(None, use_errno=True)
def c(name, *words):
    if getattr(libc, name)(*words) < 0: raise OSError(ctypes.get_errno(), name)
def linked(path):
    os.link(file, path); write(path)
def moved(path):
    os.rename(file, path); write(path)
def reopened():
    write(f'/proc/self/fd/{os.open(file, os.O_PATH)}')
def unnamed():
    made = os.open(secret, os.O_TMPFILE | os.O_RDWR); os.close(made)
def unnamed_linked():
    made = os.open(work, os.O_TMPFILE | os.O_RDWR)
    os.link(f'/proc/self/fd/{made}', secret + '/new', follow_symlinks=True)
def changed_root():
    os.chroot(place); write('/secret/file')
def mounted():
    if os.fork():
        if os.waitstatus_to_exitcode(os.wait()[1]): raise OSError(errno.EPERM, 'mount')
        return
    code = 1
    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
        os.mkdir(work + '/m')
        c('mount', secret.encode(), (work + '/m').encode(), None, 4096, None)
        write(work + '/m/file'); code = 0
    finally: os._exit(code)
def bound():
    socket.socket(socket.AF_UNIX).bind(secret + '/s')
def by_descriptor(change):
    opened = os.open(file, os.O_RDONLY)
    try: change(opened)
    finally: os.close(opened)
def flags():
    import fcntl
    by_descriptor(lambda opened: fcntl.ioctl(opened, 0x40086602, bytes(8)))
attempt('own', lambda: write(work + '/own', os.O_WRONLY | os.O_TRUNC))
attempt('new', lambda: write(work + '/new', os.O_WRONLY | os.O_CREAT))
attempt('renamed', lambda: os.rename(work + '/new', work + '/newer'))
attempt('removed', lambda: os.unlink(work + '/newer'))
attempt('read', lambda: os.close(os.open(file, os.O_RDONLY)))
attempt('open', lambda: write(file))
attempt('cut', lambda: os.truncate(file, 0))
attempt('cut_reading', lambda: write(file, os.O_RDONLY | os.O_TRUNC))
attempt('made', lambda: write(secret + '/new', os.O_WRONLY | os.O_CREAT))
attempt('linked', lambda: linked(work + '/l'))
attempt('linked_beside', lambda: linked(secret + '/l'))
attempt('moved', lambda: moved(work + '/l'))
attempt('moved_beside', lambda: moved(secret + '/l'))
attempt('moved_into', lambda: os.rename(work + '/own', file))
attempt('moved_over', lambda: os.rename(work, secret))
attempt('unlink', lambda: os.unlink(file))
attempt('symlink', lambda: os.symlink('x', secret + '/l'))
attempt('mkdir', lambda: os.mkdir(secret + '/d'))
attempt('mkfifo', lambda: os.mkfifo(secret + '/p'))
attempt('device', lambda: os.mknod(work + '/device', stat.S_IFCHR | 0o666, os.makedev(1, 3)))
attempt('reopened', reopened)
attempt('root', lambda: write('/proc/self/root' + file))
attempt('through_link', lambda: (os.symlink(secret, work + '/link'), write(work + '/link/file')))
attempt('unnamed', unnamed)
attempt('unnamed_linked', unnamed_linked)
attempt('mounted', mounted)
attempt('bound', bound)
attempt('chmod', lambda: os.chmod(file, 0o777))
attempt('fchmod', lambda: by_descriptor(lambda one: os.fchmod(one, 0o777)))
attempt('chmod_opath', lambda: os.chmod(f'/proc/self/fd/{os.open(file, os.O_PATH)}', 0o777))
attempt('chmod_link', lambda: os.chmod(work + '/link/file', 0o777))
attempt('chmod_root', lambda: os.chmod('/proc/self/root' + file, 0o777))
attempt('chown', lambda: os.chown(file, os.getuid(), os.getgid()))
attempt('utime', lambda: os.utime(file, (0, 0)))
attempt('futimens', lambda: by_descriptor(lambda one: os.utime(one, (0, 0))))
attempt('setxattr', lambda: os.setxattr(file, 'user.x', b'1'))
attempt('fsetxattr', lambda: by_descriptor(lambda one: os.setxattr(one, 'user.x', b'1')))
attempt('flags', flags)
attempt('traced', lambda: c('ptrace', 16, os.getppid(), None, None))
attempt('changed_root', changed_root)
"""
FREE = {"own", "new", "renamed", "removed", "read"}


@pytest.mark.parametrize("rules", ["a list of what may be written", "one directory"])
def test_no_way_to_write_what_may_not_be_written(place, user, rules):
    before = (place / "secret/file").stat()
    words = ["--deny-path", f"w:{place}/secret/**"]
    if rules != "one directory":
        words = ["--deny-path", "w:/**", "--allow-path", f"w:{place}/work/**"]
    run = python(WRITES, place, *words, user=user)
    found = outcomes(run)
    assert {name for name, said in found.items() if said == "through"} == FREE, run.stdout
    assert "changed_root" in found and not {"ENOENT", "EBADF", "EFAULT"} & set(found.values()), run.stdout
    after = (place / "secret/file").stat()
    unchanged = ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ino", "st_nlink", "st_size")
    assert [getattr(before, one) for one in unchanged] == [getattr(after, one) for one in unchanged]
    assert os.listdir(place / "secret") == ["file"] and (place / "secret/file").read_text() == "hidden"


CHANGES = """
os.chdir(work)
here = os.open('.', os.O_RDONLY)
opened = os.open('own', os.O_RDONLY)
attempt('chmod', lambda: os.chmod('own', 0o604)); print('mode', oct(os.stat('own').st_mode & 0o7777))
attempt('fchmod', lambda: os.fchmod(opened, 0o640)); print('fmode', oct(os.stat('own').st_mode & 0o7777))
attempt('fchmodat', lambda: os.chmod('own', 0o711, dir_fd=here)); print('atmode', oct(os.stat('own').st_mode & 0o7777))
attempt('utime', lambda: os.utime('own', (1, 2))); print('time', int(os.stat('own').st_mtime))
attempt('futimens', lambda: os.utime(opened, ns=(3, 4))); print('ftime', os.stat('own').st_mtime_ns)
attempt('now', lambda: os.utime('own')); print('recent', int(os.stat('own').st_mtime) > 4)
attempt('chown', lambda: os.chown('own', os.getuid(), -1))
attempt('lchown', lambda: (os.symlink(file, 'l'), os.lchown('l', os.getuid(), os.getgid())))
attempt('setxattr', lambda: os.setxattr('own', 'user.x', b'1')); print('xattr', os.getxattr('own', 'user.x'))
attempt('removexattr', lambda: os.removexattr(opened, 'user.x')); print('xattrs', os.listxattr('own'))
attempt('missing', lambda: os.chmod('missing', 0o600))
attempt('wrong', lambda: os.removexattr('own', 'user.none'))
attempt('closed', lambda: os.fchmod(999, 0o600))
"""


def test_attributes_change_where_writing_is_allowed_as_they_would_without_rules(place, user):
    if user:
        (place / "work").chmod(0o777)
    run = python(CHANGES, place, "--deny-path", "w:/**", "--allow-path", f"w:{place}/work/**", user=user)
    found = outcomes(run)
    done = ("chmod", "fchmod", "fchmodat", "utime", "futimens", "now", "chown", "lchown", "setxattr", "removexattr")
    assert {name: found[name] for name in done} == dict.fromkeys(done, "through"), run.stdout
    assert (found["mode"], found["fmode"], found["atmode"]) == ("0o604", "0o640", "0o711")
    assert (found["time"], found["ftime"]) == ("2", "4") and found["recent"] == "True"
    assert found["xattr"] == "b'1'" and found["xattrs"] == "[]"
    assert (found["missing"], found["wrong"], found["closed"]) == ("ENOENT", "ENODATA", "EBADF")


def answers(place, *words, user):
    """What the program was answered, by call."""
    work = place / "made"
    work.mkdir()
    (work / "own").touch()
    if user:
        subprocess.run(["chown", "-R", "65534:65534", work], check=True)
    program = (sys.executable, PROGS / "attribute_answers.py", work)
    run = block(*words, "--", *program, user=user) if words else subprocess.run(
        (*user, *program), capture_output=True, text=True, timeout=PATIENCE
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    shutil.rmtree(work)
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())


def test_attributes_are_answered_as_the_kernel_would(place, user):
    rules = ("--deny-path", "w:/**", "--allow-path", f"w:{place}/made/**", "--allow-path", "w:/proc/**")
    wanted, found = answers(place, user=user), answers(place, *rules, user=user)
    assert {name: (said, found.get(name)) for name, said in wanted.items() if found.get(name) != said} == {}
    assert {"EINVAL", "EBADF", "EFAULT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "0"} <= set(found.values())


RACE = """
import time
link = work + '/race'
os.symlink(work + '/own', link)
over = threading.Event()
def swap():
    at = 0
    while not over.is_set():
        at += 1
        os.symlink(file if at % 2 else work + '/own', link + '.new'); os.rename(link + '.new', link)
thread = threading.Thread(target=swap); thread.start()
done = 0
for _ in range(400):
    try: os.chmod(link, 0o777); done += 1
    except OSError: pass
over.set(); thread.join()
print('done', done)
"""


def test_attributes_do_not_change_by_another_name_of_what_is_denied(place, user):
    os.link(place / "secret/file", place / "work/alias")
    os.chmod(place / "secret/file", 0o600)
    code = """
attempt('alias', lambda: os.chmod(work + '/alias', 0o777))
attempt('own', lambda: os.chmod(work + '/own', 0o640))
C = ctypes.CDLL(None, use_errno=True)
def syscall(*words):
    result = C.syscall(*words)
    if result < 0: raise OSError(ctypes.get_errno(), '')
    return result
ours, theirs = socket.socketpair()
if os.fork() == 0:
    try:
        C.unshare(0x10020000 if os.geteuid() else 0x20000)
        at = syscall(428, -100, secret.encode(), 1)  # open_tree, OPEN_TREE_CLONE
        socket.send_fds(theirs, [b'x'], [os.open('file', os.O_RDONLY, dir_fd=at)])
    except OSError as error:
        theirs.send(errno.errorcode[error.errno].encode())
    os._exit(0)
_, (*fds,), _, _ = socket.recv_fds(ours, 9, 1)
attempt('detached', lambda: os.fchmod(fds[0], 0o777) if fds else None)
"""
    run = python(code, place, "--deny-path", f"w:{place}/secret/", user=user)
    found = outcomes(run)
    assert found["alias"] == "EPERM" and found["own"] == "through", run.stderr
    assert stat.S_IMODE(os.stat(place / "secret/file").st_mode) == 0o600, found


LINKED = """
fd = os.open(work + '/alias', os.O_RDONLY)
os.unlink(work + '/alias')
over = threading.Event()
def again():
    while not over.is_set():
        os.link(f'/proc/self/fd/{fd}', work + '/alias (deleted)', follow_symlinks=True)
        os.unlink(work + '/alias (deleted)')
thread = threading.Thread(target=again); thread.start()
done = 0
for _ in range(400):
    try: os.fchmod(fd, 0o777); done += 1
    except OSError: pass
over.set(); thread.join()
attempt('own', lambda: os.chmod(work + '/own', 0o640))
print('done', done)
"""


def test_a_name_that_comes_and_goes_is_no_way_to_a_file_that_has_another(place, user):
    os.link(place / "secret/file", place / "work/alias")
    mode = (place / "secret/file").stat().st_mode
    found = outcomes(python(LINKED, place, "--deny-path", f"w:{place}/secret/**", user=user))
    assert found == {"own": "through", "done": "0"} and (place / "secret/file").stat().st_mode == mode


def test_what_another_process_has_open_is_not_reached_through_it(place, user):
    """Landlock lets nobody in it look at processes outside, and isotrace does not look for them."""
    with (
        (place / "work/own").open() as own,
        subprocess.Popen((*user, "sleep", "600"), pass_fds=(own.fileno(),), cwd=place / "work") as other,
    ):
        try:
            until(lambda: os.stat(f"/proc/{other.pid}").st_uid == (65534 if user else 0), "it is the user's")
            code = f"""
attempt('cwd', lambda: os.chmod('/proc/{other.pid}/cwd/own', 0o777))
attempt('open', lambda: os.chmod('/proc/{other.pid}/fd/{own.fileno()}', 0o777))
attempt('own', lambda: os.chmod('/proc/self/cwd/own', 0o640))
"""
            found = outcomes(python("os.chdir(work)\n" + code, place, "--deny-path", f"w:{place}/secret/", user=user))
        finally:
            other.kill()
    assert found == {"cwd": "EPERM", "open": "EPERM", "own": "through"}


def test_message_queues_are_neither_made_nor_removed(place, user):
    library = ctypes.CDLL(None, use_errno=True)
    there, made = f"isotrace-{os.getpid()}".encode(), f"isotrace-{os.getpid()}-made".encode()
    if user:
        os.seteuid(65534)
    try:
        descriptor = library.mq_open(b"/" + there, os.O_CREAT | os.O_RDWR, 0o600, None)
    finally:
        os.seteuid(0)
    assert descriptor >= 0
    os.close(descriptor)
    code = f"""
C = ctypes.CDLL(None, use_errno=True)
def call(function, *words):
    if function(*words) < 0: raise OSError(ctypes.get_errno(), '')
attempt('removed', lambda: call(C.mq_unlink, b'/' + {there!r}))
attempt('made', lambda: call(C.mq_open, b'/' + {made!r}, os.O_CREAT | os.O_RDWR, 0o600, None))
attempt('opened', lambda: call(C.mq_open, b'/' + {there!r}, os.O_RDONLY))
"""
    try:
        run = python(code, place, "--deny-path", "w:/**", "--allow-path", f"w:{place}/work/**", user=user)
        assert outcomes(run) == {"removed": "EACCES", "made": "EPERM", "opened": "through"}, "glibc says EACCES"
        assert "no message queues made or removed → EPERM: 2 denied" in run.stderr
        assert library.mq_open(b"/" + made, os.O_RDONLY) < 0 and ctypes.get_errno() == errno.ENOENT
    finally:
        left = [library.mq_unlink(b"/" + name) for name in (there, made)]
    assert left == [0, -1], "what was there still is"


def test_attributes_change_where_a_root_of_the_callers_own_leads(tmp_path):
    """It is the same directory as isotrace's root, in another mount, in which what is mounted in that one is not."""
    for name in ("root", "over"):
        (tmp_path / name).mkdir()
    code = f"""
attempt('chroot', lambda: os.chroot({str(tmp_path / "root")!r}))
attempt('over', lambda: os.chmod({str(tmp_path / "over/file")!r}, 0o777))
"""
    script = (
        'mount --make-rprivate / && mount --bind / "$1/root" && mount -t tmpfs none "$1/over" && touch "$1/over/file" '
        '&& chmod 600 "$1/over/file" && shift && "$@"; stat -c "mode %a" "$OVER/file"'
    )
    words = (*BLOCK, "--deny-path", "w:/etc/**", "--", sys.executable, "-c", "import os, errno\n" + ATTEMPT + code)
    run = subprocess.run(
        ("unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), *words),
        **{"capture_output": True, "text": True, "timeout": 5 * PATIENCE, "cwd": "/"},
        env=ENVIRONMENT | {"OVER": str(tmp_path / "over")},
    )
    found = outcomes(run)
    assert found["chroot"] == "through" and found["over"] == "ENOENT" and found["mode"] == "600", run.stderr


def test_a_thread_with_descriptors_of_its_own_does_not_change_those_of_its_process(place, user):
    for name in ("one", "two"):
        (place / "work" / name).touch(0o600)
        os.chown(place / "work" / name, *([65534] * 2 if user else [0, 0]))
    code = """
os.dup2(os.open(work + '/one', os.O_RDONLY), 50)
def run():
    ctypes.CDLL(None).unshare(0x400)  # CLONE_FILES
    os.dup2(os.open(work + '/two', os.O_RDONLY), 50)
    attempt('changed', lambda: os.fchmod(50, 0o640))
def shared(): attempt('shared', lambda: os.fchmod(50, 0o604))
for what in (run, shared):
    thread = threading.Thread(target=what); thread.start(); thread.join()
"""
    found = outcomes(python(code, place, "--deny-path", f"w:{place}/secret/", user=user))
    assert found == {"changed": "EPERM", "shared": "through"}
    assert [stat.S_IMODE(os.stat(place / "work" / name).st_mode) for name in ("one", "two")] == [0o604, 0o600]


def test_a_link_that_leads_elsewhere_in_turn_never_changes_what_is_denied(place, user):
    mode = (place / "secret/file").stat().st_mode
    run = python(RACE, place, "--deny-path", f"w:{place}/secret/**", user=user)
    assert int(outcomes(run)["done"]) > 0, "some were of the allowed file"
    assert (place / "secret/file").stat().st_mode == mode
    assert stat.S_IMODE((place / "work/own").stat().st_mode) == 0o777


SOCKETS = """
def connected(port):
    with socket.socket() as one: one.connect(('127.0.0.1', port))
def bound(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(('127.0.0.1', port)); one.listen()
def unbound():
    with socket.socket() as one: one.listen()
def unix():
    with socket.socket(socket.AF_UNIX) as one: one.bind(work + '/s'); one.listen()
port, other = map(int, os.environ['PORTS'].split())
attempt('allowed', lambda: connected(port))
attempt('other', lambda: connected(other))
attempt('other6', lambda: socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', other)))
attempt('any', lambda: socket.socket().connect(('0.0.0.0', other)))
attempt('bind', lambda: bound(other + 1))
attempt('bind0', lambda: bound(0))
attempt('unbound', unbound)
attempt('unix', unix)
attempt('fastopen', lambda: socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', other)))
attempt('mptcp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6))
attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt('ulp', lambda: socket.socket().setsockopt(6, 31, b'smc'))
attempt('udp', lambda: socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', other)))
attempt('pair', lambda: socket.socketpair())
def listening(one):
    if ctypes.CDLL(None, use_errno=True).listen(one, -1) < 0: raise OSError(ctypes.get_errno(), '')
datagrams = socket.socket(type=socket.SOCK_DGRAM)
attempt('listen_closed', lambda: listening(999))
attempt('listen_file', lambda: listening(os.open(work, os.O_RDONLY)))
attempt('listen_path', lambda: listening(os.open(work, os.O_PATH)))
attempt('listen_datagrams', lambda: listening(datagrams.fileno()))
"""


def test_ports_of_tcp_and_what_is_not_judged_by_port(place, user):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, other = (each.getsockname()[1] for each in (one, two))
        environment = ENVIRONMENT | {"PORTS": f"{port} {other}"}
        words = ("--deny-net", "tcp:", "--allow-net", f"tcp:*:{port}", "--format", "json")
        run = python(SOCKETS, place, *words, user=user, env=environment)
    found = outcomes(run)
    through = {name for name, said in found.items() if said == "through"}
    assert through == {"allowed", "unix", "udp", "pair"}, run.stdout + run.stderr
    assert {found[one] for one in ("other", "other6", "any", "bind", "bind0")} == {"EACCES"}
    assert {found[one] for one in ("unbound", "fastopen", "mptcp", "raw", "packet", "ulp")} == {"EPERM"}
    listened = [found[f"listen_{one}"] for one in ("closed", "file", "path", "datagrams")]
    assert listened == ["EBADF", "ENOTSOCK", "EBADF", "ENOTSUP"], "what the kernel answers"
    summary = json.loads((place / "refused").read_text().splitlines()[-1])
    assert [one["hits"] for one in summary["rules"]] == [None, None], "what nobody tells of is not 0"
    assert [(one["mechanism"], one["hits"]) for one in summary["standing"]] == [("seccomp", 6)]


def test_unix_sockets_are_not_made_under_a_rule_on_all_of_them(place, user):
    code = (
        "attempt('unix', lambda: socket.socket(socket.AF_UNIX)); attempt('pair', socket.socketpair)\n"
        "attempt('datagrams', lambda: socket.socketpair(type=socket.SOCK_DGRAM)); attempt('tcp', socket.socket)"
    )
    found = outcomes(python(code, place, "--deny-net", "unix:", user=user))
    assert found == {"unix": "EPERM", "pair": "through", "datagrams": "EPERM", "tcp": "through"}


def test_abstract_names_of_others_by_scope(place, user):
    name = f"isotrace-{os.getpid()}"
    code = f"""
attempt('theirs', lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))
own = socket.socket(socket.AF_UNIX); own.bind('\\0{name}-own'); own.listen()
attempt('own', lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}-own'))
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        refused = block("--deny-net", "unix:@*", "--", "true", user=user)
        assert refused.returncode == 3 and "abstract names" in refused.stderr
        run = python(code, place, "--deny-net", "unix:@*", "--best-effort", user=user)
    assert outcomes(run) == {"theirs": "EPERM", "own": "through"} and "LESS THAN ASKED" in run.stderr


def test_calls_by_seccomp_beside(place, user):
    code = "attempt('mkdir', lambda: os.mkdir(work + '/d')); attempt('write', lambda: open(file, 'w'))"
    run = python(code, place, "--deny", "mkdir", "--deny-path", f"w:{place}/secret/**", "--format", "json", user=user)
    assert outcomes(run) == {"mkdir": "EPERM", "write": "EACCES"}
    summary = json.loads((place / "refused").read_text().splitlines()[-1])
    assert [(one["mechanism"], one["hits"]) for one in summary["rules"]] == [("seccomp", 1), ("landlock", None)]
    assert "EACCES: not counted" in run.stderr


def test_an_audit_of_a_call_does_not_let_it_past_landlocks_filter(place, user):
    policy = place / "policy.toml"
    policy.write_text(
        f'version = 1\n[groups.a]\naction = "audit"\ndeny = ["chmod"]\n[groups.b]\ndeny-path = "w:{place}/secret/**"\n'
    )
    code = "attempt('denied', lambda: os.chmod(file, 0o777)); attempt('own', lambda: os.chmod(work + '/own', 0o777))"
    assert outcomes(python(code, place, "--policy", policy, user=user)) == {"denied": "EPERM", "own": "through"}


def test_a_set_user_id_program_gains_nothing(place):
    program = place / "work/id"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    free = subprocess.run([*NOBODY, program, "-u"], capture_output=True, text=True).stdout
    run = block("--deny-path", f"r:{place}/secret/**", "--", program, "-u", user=NOBODY)
    assert run.stdout == "65534\n" and "no_new_privs" in run.stderr
    assert free == "0\n" or "nosuid" in Path("/proc/self/mounts").read_text()


def test_what_is_open_before_goes_on_and_that_is_said(place, user):
    opened = os.open(place / "secret/file", os.O_RDONLY)
    try:
        code = f"attempt('read', lambda: os.read({opened}, 9)); attempt('open', lambda: open(file))"
        run = python(code, place, "--deny-path", f"r:{place}/secret/**", user=user, pass_fds=[opened])
    finally:
        os.close(opened)
    assert outcomes(run) == {"read": "through", "open": "EACCES"}
    assert "what is open when the command starts" in run.stderr


def test_ten_thousand_siblings(place, user):
    for at in range(10_000):
        (place / "secret" / f"f{at}").touch()
    code = "attempt('sibling', lambda: open(secret + '/f9999')); attempt('file', lambda: open(file))"
    run = python(code, place, "--deny-path", f"r:{place}/secret/file", user=user)
    assert outcomes(run) == {"sibling": "through", "file": "EACCES"}


def test_what_is_made_later_beside_what_is_denied_is_refused(place, user):
    code = "attempt('later', lambda: open(place + '/later')); attempt('make', lambda: open(place + '/made', 'w'))\n"
    code += "attempt('in_work', lambda: open(work + '/later'))\n"
    words = ["--deny-path", f"r:{place}/secret/**", "--", "sh", "-c"]
    waits = f'echo ready > {place}/work/ready; read go; exec "$0" -c "$1"'
    head = f"import os, errno\nplace = {str(place)!r}; work = place + '/work'\n"
    attempt = (
        "def attempt(name, function):\n    try: function(); print(name, 'through')\n"
        "    except OSError as error: print(name, errno.errorcode[error.errno])\n"
    )
    argv = [*user, *BLOCK, *words, waits, sys.executable, head + attempt + code]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd="/"
    )
    until(lambda: (place / "work/ready").exists(), "the command runs")
    (place / "later").write_text("made by somebody else")
    (place / "work/later").write_text("made by somebody else")
    said, trouble = process.communicate("go\n", timeout=2 * PATIENCE)
    assert said.split() == ["later", "EACCES", "make", "EACCES", "in_work", "through"], trouble


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--deny-path", "r:/srv/**/key"), "a ** that is not the end"),
        (("--deny-path", "w:/etc/**", "--errno", "ENOENT"), "denies with EACCES, not ENOENT"),
        (("--deny-path", "w:/etc/**", "--audit"), "cannot audit"),
        (("--deny-path", "x:/usr/**"), "of executing only execve"),
        (("--deny-net", "tcp:10.0.0.0/8"), "knows ports, no addresses"),
        (("--deny-path", "w:/etc/**", "--for", "9s"), "--for cannot lift the rules of Landlock"),
    ],
)
def test_what_it_cannot_do_starts_nothing(words, said, user):
    run = block(*words, "--", "echo", "started", user=user)
    assert run.returncode in (2, 3) and said in run.stderr and "started" not in run.stdout
    assert "Traceback" not in run.stderr


def test_what_does_not_exist_yet_is_named(place, user):
    words = ("--deny-path", "w:/**", "--allow-path", f"w:{place}/later/**", "--allow-path", f"w:{place}/work")
    run = block(*words, "--", "true", user=user)
    assert run.returncode == 0
    assert f"{place}/later" in run.stderr and "do not exist yet" in run.stderr
    assert "directories without what is in them" in run.stderr


def test_a_mount_that_is_made_later_is_judged_by_its_place():
    """In a mount namespace of its own, where another process mounts meanwhile."""
    code = """
cd /tmp; mkdir -m 755 isotrace-landlock && cd isotrace-landlock && mkdir work secret work/m secret/m
mkfifo go; trap 'rm -rf /tmp/isotrace-landlock' EXIT
"$@" --deny-path r:$PWD/secret/** -- sh -c 'read x <go; cat work/m/f; cat secret/m/f; mount --bind secret work' 2>said &
mount -t tmpfs x work/m; echo work >work/m/f; mount -t tmpfs x secret/m; echo secret >secret/m/f
echo >go; wait $!; cat said; umount work/m secret/m
"""
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", code, "sh", *BLOCK],
        capture_output=True, text=True, timeout=5 * PATIENCE, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert "work\n" in run.stdout and "secret\n" not in run.stdout.replace("said", ""), run.stdout + run.stderr
    assert "secret/m/f: Permission denied" in run.stdout


def test_the_command_of_the_manual_works_for_any_user(place, user):
    words = ("--deny-path", "w:/**", "--allow-path", f"w:{place}/work/**", "--allow-path", "w:/tmp/isotrace-none/**")
    nets = ("--deny-net", "tcp:", "--allow-net", "tcp:*:443")
    run = block(*words, *nets, "--", "sh", "-c", f"echo x > {place}/work/x && cat {place}/work/x; exit 5", user=user)
    assert run.returncode == 5 and run.stdout == "x\n", run.stderr
    assert "deny-path w:/** → EACCES: landlock" in run.stderr and "deny-net tcp: → EACCES: landlock" in run.stderr


LEARN = (sys.executable, "-m", "isotrace", "learn", "--verify")


def learn(place, script, status):
    """``isotrace learn --verify`` of a script, which ends with ``status`` where Landlock is the best there is."""
    run = subprocess.run(
        (*LEARN, "-o", place / "learned.toml", "--", "sh", "-c", script),
        capture_output=True, text=True, timeout=10 * PATIENCE, env=ENVIRONMENT, cwd=place,
    )  # fmt: skip
    if "Landlock, which holds" not in run.stderr:
        pytest.skip("needs a kernel without BPF at its security hooks: they are chosen first")
    assert run.returncode == status, run.stderr + run.stdout
    return run


@pytest.mark.parametrize("user", ["root"], indirect=True)
def test_what_was_learned_is_proved_by_landlock_where_bpf_cannot(place):
    learn(place, f"echo x > {place}/work/own; chmod 600 {place}/work/own; cat {place}/work/own", 0)
    assert (place / "work/own").read_text() == "x\n" and "deny-path" in (place / "learned.toml").read_text()


@pytest.mark.parametrize("user", ["root"], indirect=True)
def test_a_command_that_landlock_refuses_something_has_not_passed(place):
    (place / "work/d").mkdir()
    run = learn(place, f"set -e; rmdir {place}/work/d; mkdir {place}/work/d", 1)
    assert "Landlock may have denied the command something" in run.stderr
