"""The policies that come with isotrace, by Landlock and seccomp on this kernel, as root and as a user without privileges.

Real programs work under them, and attacks do not: writes outside, secrets, ports, other programs' sockets and processes.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from isotrace.enforce.calls import notify
from isotrace.kernel import landlock
from tests.live.test_block_landlock import NOBODY, ROOT
from tests.live.tracer import PATIENCE

#: Where a home is beside temporary directories, not in one.
PLACES = [place for place in ("/home", "/srv", "/var/lib") if os.access(place, os.W_OK)]
PRESETS = ("@agent", "@build", "@install")

pytestmark = [
    pytest.mark.skipif(landlock.abi() < 5, reason=f"needs landlock of ABI 5: {landlock.abi()}"),
    pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: to run without privileges"),
    pytest.mark.skipif(not PLACES, reason="needs a directory for a home beside /tmp"),
]


class Ann:
    """A home with secrets, caches and a project, and isotrace started in the project."""

    def __init__(self, home, user):
        self.home, self.project, self._user = home, home / "project", user

    def run(self, preset, command, *words, **variables):
        """``command`` under the preset. It is given up after a while."""
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = {**inherited, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        block = (sys.executable, "-m", "isotrace", "block", "--backend", "landlock", "--policy", preset, *words)
        return subprocess.run(
            (*self._user, *block, "-o", self.project / "refused", "--", *map(str, command)),
            cwd=self.project, env=environment | variables, capture_output=True, text=True, timeout=5 * PATIENCE,
        )  # fmt: skip

    def shell(self, preset, script, *words, **variables):
        """Lines of sh, of which each must succeed; what they print."""
        done = self.run(preset, ("sh", "-euc", script), *words, **variables)
        failed = [line for line in done.stderr.splitlines() if not line.startswith("isotrace: ")]
        assert done.returncode == 0, "\n".join([*failed, done.stdout])
        return done.stdout

    def attempts(self, preset, code):
        """Python that calls ``attempt(name, function)``: the error of each, or "through"."""
        done = self.run(preset, (sys.executable, "-c", _ATTEMPT + textwrap.dedent(code)))
        found = dict(line.split() for line in done.stdout.splitlines())
        assert done.returncode == 0 and found, done.stderr
        return found


_ATTEMPT = """\
import ctypes, errno, os, shutil, socket, sys
home = os.environ['HOME']
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, function, *words):
    try: function(*words)
    except OSError as error: print(name, errno.errorcode[error.errno], flush=True)
    else: print(name, 'through', flush=True)
def write(path, mode='a'):
    open(path, mode).close()
def read(path):
    open(path, 'rb').read(1)
def call(name, *words):
    if getattr(libc, name)(*words) < 0: raise OSError(ctypes.get_errno(), name)
"""


@pytest.fixture(params=["root", "nobody"])
def ann(request):
    user = () if request.param == "root" else NOBODY
    if user and subprocess.run([*user, "test", "-x", sys.executable], cwd="/").returncode:
        pytest.skip("needs an interpreter that every user can reach")
    home = Path(tempfile.mkdtemp(prefix="isotrace-", dir=PLACES[0]))
    try:
        home.chmod(0o755)
        for name in (
            "project",
            ".ssh",
            ".aws",
            ".mozilla/firefox",
            ".config/gh",
            ".config/pip",
            ".cache/pip",
            ".npm",
            ".cargo",
        ):
            (home / name).mkdir(parents=True)
        for secret in SECRETS:
            (home / secret).write_text("secret")
        (home / ".bashrc").write_text("# ann's")
        (home / ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n")
        if user:
            subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        yield Ann(home, user)
    finally:
        shutil.rmtree(home)


SECRETS = (
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".mozilla/firefox/logins.json",
    ".config/gh/hosts.yml",
    ".git-credentials",
)
needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}")
    for name in ("make", "gcc", "git", "npm")
}


# ---- programs work ------------------------------------------------------------------------------------------------


@needs["make"]
@needs["gcc"]
@pytest.mark.parametrize("preset", PRESETS)
def test_make_builds_and_runs(ann, preset):
    (ann.project / "main.c").write_text(
        '#include <stdio.h>\nint main(void) { FILE *t = tmpfile(); return !t || puts("hello") < 0; }\n'
    )
    (ann.project / "Makefile").write_text(
        "all: prog out/log\nprog: main.o\n\t$(CC) -o $@ $<\n%.o: %.c\n\t$(CC) -c -g -o $@ $<\n"
        "out/log: prog\n\tmkdir -p out && ./prog > $@ 2>/dev/null && chmod 600 $@\n"
        "\ttouch -d 2020-01-01 $@ && mv $@ $@.1 && cp -p $@.1 $@\n"
        "clean:\n\trm -rf out prog main.o\n"
    )
    assert ann.shell(preset, "make -s -j4; cat out/log; make -s clean; ls") == "hello\nMakefile\nmain.c\nrefused\n"


@needs["git"]
@pytest.mark.parametrize("preset", PRESETS)
def test_git_commits_clones_and_rebases(ann, preset):
    said = ann.shell(
        preset,
        """
        git init -q -b main repository; cd repository
        echo one > file; git add file; git commit -qm one
        git switch -qc topic; echo two > other; git add other; git commit -qm two
        git switch -q main; echo three >> file; git commit -qam three; git rebase -q main topic
        git gc -q; git worktree add -q ../tree main; git clone -q . ../clone; git -C ../clone log --format=%s
        echo four >> file; git stash -q; git stash pop -q; git diff --stat | tail -1
        """,
    )
    assert said.splitlines() == ["two", "three", "one", " 1 file changed, 1 insertion(+)"]


@pytest.mark.parametrize("preset", PRESETS)
def test_python_has_environments_processes_and_databases(ann, preset):
    (ann.project / "work.py").write_text(
        "import multiprocessing, sqlite3, subprocess, tempfile, threading\n"
        "def double(n): return 2 * n\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(double, [1, 2]))\n"
        "    db = sqlite3.connect('data.db'); db.execute('create table t (n)'); db.commit(); db.close()\n"
        "    with tempfile.NamedTemporaryFile('w') as file: file.write('x'); file.flush(); print(open(file.name).read())\n"
        "    print(subprocess.run(['cat'], input='piped', capture_output=True, text=True).stdout)\n"
    )
    python = Path(sys.executable).resolve()
    assert ann.shell(preset, f"{python} -m venv --without-pip env; env/bin/python work.py") == "[2, 4]\nx\npiped\n"


@pytest.mark.parametrize("preset", ["@install", "@agent"])
def test_pip_installs_a_package(ann, preset):
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("needs pip")
    package = ann.project / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        "[project]\nname = 'ours'\nversion = '1'\n"
    )
    (package / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(directory, settings=None, metadata=None):\n"
        "    with zipfile.ZipFile(f'{directory}/ours-1-py3-none-any.whl', 'w') as wheel:\n"
        "        wheel.writestr('ours.py', 'print(\"installed\")')\n"
        "        wheel.writestr('ours-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: ours\\nVersion: 1\\n')\n"
        "        tags = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n"
        "        wheel.writestr('ours-1.dist-info/WHEEL', tags)\n"
        "        wheel.writestr('ours-1.dist-info/RECORD', '')\n"
        "    return 'ours-1-py3-none-any.whl'\n"
    )
    if not os.access("/root", os.X_OK) or ann.home.stat().st_uid:
        subprocess.run(["chown", "-R", "65534:65534", package], check=True)
    pip = f"{sys.executable} -m pip --disable-pip-version-check install -q --no-index --target site ./package"
    assert ann.shell(preset, f"{pip}; PYTHONPATH=site {sys.executable} -c 'import ours'") == "installed\n"


@needs["npm"]
@pytest.mark.parametrize("preset", ["@install", "@build"])
def test_npm_installs_and_runs_scripts(ann, preset):
    (ann.project / "dependency").mkdir()
    (ann.project / "dependency/package.json").write_text(
        '{"name": "dependency", "version": "1.0.0", "main": "index.js"}'
    )
    (ann.project / "dependency/index.js").write_text("console.log('installed')")
    (ann.project / "package.json").write_text(
        '{"name": "ours", "version": "1.0.0", "dependencies": {"dependency": "file:dependency"},'
        ' "scripts": {"postinstall": "echo built > built", "start": "node -e \\"require(\'dependency\')\\""}}'
    )
    said = ann.shell(preset, "npm install --offline --silent --no-audit --no-fund; cat built; npm run --silent start")
    assert said.splitlines() == ["built", "installed"]


@pytest.mark.parametrize("editor", ["vim", "ed", "sed"])
@pytest.mark.parametrize("preset", ["@agent", "@build"])
def test_editors_write_files(ann, preset, editor):
    if shutil.which(editor) is None:
        pytest.skip(f"needs {editor}")
    (ann.project / "text").write_text("one\ntwo\n")
    if ann.home.stat().st_uid:
        os.chown(ann.project / "text", 65534, 65534)
    script = {
        "vim": "vim -u NONE -N -es -c 'set backup undofile' -c '%s/two/three/' -c 'wq' text",
        "ed": "printf '%s\\n' ',s/two/three/' w q | ed -s text",
        "sed": "sed -i.orig s/two/three/ text",
    }[editor]
    ann.shell(preset, script)
    assert (ann.project / "text").read_text() == "one\nthree\n"


# ---- attacks do not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_written_elsewhere(ann, preset):
    outside = {path: path.read_bytes() for path in ann.home.iterdir() if path.is_file()}
    found = ann.attempts(
        preset,
        """
        import tempfile
        attempt('inside', write, 'own')
        attempt('temporary', lambda: tempfile.NamedTemporaryFile().close())
        attempt('new', write, home + '/new')
        attempt('append', write, home + '/.bashrc')
        attempt('cut', os.truncate, home + '/.bashrc', 0)
        attempt('mode', os.chmod, home + '/.bashrc', 0o777)
        attempt('times', os.utime, home + '/.bashrc', (0, 0))
        os.symlink(home, 'link')
        attempt('by_link', write, 'link/.bashrc')
        attempt('moved_in', os.rename, home + '/.bashrc', 'moved')
        attempt('moved_out', os.rename, 'own', home + '/own')
        attempt('removed', os.remove, home + '/.bashrc')
        attempt('linked', lambda: (os.link(home + '/.bashrc', 'hard'), write('hard')))
        attempt('directory', os.mkdir, home + '/.config/autostart')
        attempt('key', write, home + '/.ssh/authorized_keys')
        attempt('etc', write, '/etc/isotrace-preset')
        attempt('proc', write, '/proc/sys/kernel/core_pattern')
        attempt('socket', lambda: socket.socket(socket.AF_UNIX).bind(home + '/s'))
        """,
    )
    assert {name for name, result in found.items() if result == "through"} == {"inside", "temporary"}
    assert {path: path.read_bytes() for path in ann.home.iterdir() if path.is_file()} == outside
    assert (ann.home / ".bashrc").stat().st_mode & 0o777 == 0o644 and not Path("/etc/isotrace-preset").exists()


def test_a_star_in_the_name_of_the_working_directory_is_a_star(ann):
    ann.project.rename(ann.home / "p*")
    ann.project = ann.home / "p*"
    shutil.copytree(ann.project, ann.home / "pq", copy_function=shutil.copy2)
    shutil.chown(ann.home / "pq", ann.project.owner(), ann.project.group())
    found = ann.attempts("@agent", "attempt('own', write, 'new'); attempt('other', write, '../pq/new')")
    assert found == {"own": "through", "other": "EACCES"}


@pytest.mark.parametrize("preset", ["@agent", "@install"])
def test_no_secret_is_read(ann, preset):
    (ann.project / "key").symlink_to(ann.home / SECRETS[0])
    found = ann.attempts(
        preset,
        f"""
        attempt('other', read, home + '/.bashrc'); attempt('passwd', read, '/etc/passwd')
        for name in {SECRETS!r}:
            attempt(name, read, home + '/' + name)
        attempt('linked', read, 'key')
        attempt('listed', os.listdir, home + '/.ssh')
        attempt('hard', lambda: (os.link(home + '/.ssh/id_ed25519', 'hard'), read('hard')))
        attempt('moved', lambda: (os.rename(home + '/.ssh', 'ssh'), read('ssh/id_ed25519')))
        attempt('reopened', lambda: read('/proc/self/fd/%d' % os.open(home + '/.ssh/id_ed25519', os.O_PATH)))
        attempt('executed', os.execv, home + '/.ssh/id_ed25519', ['x'])
        attempt('shadow', read, '/etc/shadow')
        """,
    )
    assert {name for name, result in found.items() if result == "through"} == {"other", "passwd"}


@pytest.mark.parametrize(("preset", "ports"), [("@agent", {443}), ("@install", {443, 53}), ("@build", set())])
def test_only_some_ports_are_reached(ann, preset, ports):
    """Whether somebody listens at 443 makes no difference: what is refused is refused before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = ann.attempts(
            preset,
            f"""
            def connect(port, family=socket.AF_INET, host='127.0.0.1'):
                with socket.socket(family) as it: it.connect((host, port))
            for port in (443, 53, 80, 22, {port}):
                attempt(port, connect, port)
            attempt('v6', connect, {port}, socket.AF_INET6, '::ffff:127.0.0.1')
            attempt('fastopen', lambda: socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', {port})))
            attempt('bound', lambda: socket.socket().bind(('127.0.0.1', 0)))
            attempt('listens', lambda: socket.socket().listen())
            attempt('mptcp', socket.socket, socket.AF_INET, socket.SOCK_STREAM, 262)
            attempt('raw', socket.socket, socket.AF_INET, socket.SOCK_RAW, 6)
            attempt('ping', socket.socket, socket.AF_INET, socket.SOCK_DGRAM, 1)
            attempt('vsock', socket.socket, 40, socket.SOCK_STREAM)
            attempt('unix', socket.socket, socket.AF_UNIX)
            attempt('udp', lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)))
            attempt('pair', socket.socketpair)
            """,
        )
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    reached = {name for name, result in found.items() if result in ("through", "ECONNREFUSED")}
    assert reached == {"pair", *map(str, ports), *(["udp"] if ports else [])}, found


@pytest.mark.parametrize("preset", PRESETS)
def test_other_programs_sockets_are_not_reached(ann, preset):
    with socket.socket(socket.AF_UNIX) as file, socket.socket(socket.AF_UNIX) as abstract:
        file.bind(str(ann.project / "docker.sock"))
        abstract.bind("\0isotrace-preset")
        (ann.project / "docker.sock").chmod(0o777)
        for one in (file, abstract):
            one.listen()
        found = ann.attempts(
            preset,
            """
            attempt('file', lambda: socket.socket(socket.AF_UNIX).connect('docker.sock'))
            attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\\0isotrace-preset'))
            attempt('datagrams', lambda: socket.socketpair(type=socket.SOCK_DGRAM)[0].connect('docker.sock'))
            """,
        )
    assert set(found.values()) <= {"EPERM", "EACCES"} and len(found) == 3


@pytest.mark.parametrize("preset", ["@agent", "@install"])
def test_the_kernel_and_other_processes_stay_as_they_are(ann, preset):
    words = ("sleep", "600")
    with subprocess.Popen((*ann._user, *words), stdin=subprocess.DEVNULL) as other:
        try:
            found = ann.attempts(
                preset,
                f"""
                other = {other.pid}
                attempt('attached', call, 'ptrace', 16, other, 0, 0)
                attempt('memory', read, f'/proc/{{other}}/mem')
                attempt('descriptors', os.readlink, f'/proc/{{other}}/fd/0')
                if os.getuid(): attempt('environment', read, f'/proc/{{other}}/environ')
                attempt('root', os.listdir, f'/proc/{{other}}/root')
                buffer = ctypes.create_string_buffer(64)
                attempt('vm_readv', call, 'process_vm_readv', other, buffer, 0, buffer, 0, 0)
                attempt('mounted', call, 'mount', b'none', b'.', b'nothing', 0, None)
                attempt('program', call, 'syscall', 321, 0, 0, 0)
                attempt('events', call, 'syscall', 298, 0, 0, -1, -1, 0)
                attempt('module', call, 'syscall', 175, 0, 0, b'')
                attempt('kexec', call, 'syscall', 246, 0, 0, 0, 0)
                attempt('keyring', call, 'syscall', 250, 0, -3, 0)
                attempt('ring', call, 'syscall', 425, 1, buffer)
                if not os.getuid():
                    for name in os.listdir('/sys/class/block'):
                        if os.path.exists('/dev/' + name): attempt('disk', read, '/dev/' + name)
                """,
            )
        finally:
            other.kill()
    assert set(found.values()) <= {"EPERM", "EACCES"} and len(found) >= 12, found
