"""`isotrace -v` before a command: what was chosen, compiled, loaded, attached and tried, of runs on this kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tracer import PATIENCE, environment, started

from isotrace.kernel import features

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs privileges: not root")


def run(*words, cache="off"):
    """(standard output, standard error) of isotrace that has done well."""
    command = [sys.executable, "-m", "isotrace", *map(str, words)]
    env = environment(ISOTRACE_CACHE=str(cache))
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def verbose(text):
    """What is said under -v, as (package, what); all other lines."""
    found = [re.fullmatch(r"isotrace: \d+\.\d{3} s · ([a-z.]+): (.*)", line) or line for line in text.splitlines()]
    return [(one[1], one[2]) for one in found if isinstance(one, re.Match)], [
        one for one in found if isinstance(one, str)
    ]


def test_a_log_says_what_was_chosen_compiled_kept_loaded_and_attached(tmp_path):
    cache = tmp_path / "kept"
    words = ("log", "--calls", "openat", "--format", "none", "--", "true")
    out, err = run("-v", *words, cache=cache)
    assert out == ""
    said, rest = verbose(err)
    text = "\n".join(f"{package}: {what}" for package, what in said)
    assert re.fullmatch(r"isotrace: \d+ calls, \d+ delivered, 0 lost", "\n".join(rest))
    assert "kernel: requirement btf: yes" in text and "kernel: backend: bpf, available" in text
    (kept,) = cache.iterdir()
    assert f".bpf): {'ISOTRACE_COMPILER' if 'ISOTRACE_COMPILER' in os.environ else 'BCC'}" in text
    assert re.search(rf"backends: trace.c: compiled after \d+\.\d\d s, cached as {kept}", text)
    loaded = re.findall(r"backends: program (\w+) \(\w+\): [\d,]+ instructions, [\d,]+ after translation", text)
    assert {"on_exit", "on_enter", "exit_memory"} <= {*loaded}
    assert "backends: map events: ringbuf, 67,108,864 bytes" in text and "backends: target: true" in text
    attached = re.findall(r"backends: attached (\w+) to the ", text)
    assert {"on_exit", "on_enter", "on_fork"} <= {*attached} <= {*loaded}

    _out, err = run("-v", *words, cache=cache)
    again = "\n".join(what for _, what in verbose(err)[0])
    assert f"trace.c: from the cache, {kept}" in again and "compiles it" not in again

    _out, err = run("log", "-v", *words[1:], cache=cache)
    assert verbose(err)[0] == []


def test_what_a_process_is_called_moves_no_terminal(tmp_path):
    program = tmp_path / "\x1b[2J\nfoo"
    program.symlink_to("/bin/true")
    _out, err = run("-v", "log", "--calls", "close", "--format", "none", "--", program)
    assert "\x1b" not in err and all(line.startswith("isotrace: ") for line in err.splitlines())


def needs(feature):
    found = features.check(feature)
    if found.verdict != "yes":
        pytest.skip(f"needs {feature}: {found.why}")


def test_block_says_what_each_mechanism_was_and_what_it_made(tmp_path):
    needs("landlock")
    rules = ("--deny", "mkdir", "--deny-path", f"r:{tmp_path}/**", "--backend", "landlock")
    _out, err = run("-v", "block", *rules, "--", "true")
    said, rest = verbose(err)
    text = "\n".join(f"{package}: {what}" for package, what in said)
    assert "enforce: deny mkdir: landlock cannot: " in text
    assert re.search(r"enforce: deny mkdir: seccomp: chosen \(TOCTOU-safe yes", text)
    assert re.search(r"enforce: deny-path r:\S+: landlock: chosen", text)
    assert re.search(r"enforce.calls: seccomp filter: \d+ instructions, \d+ system call numbers; isotrace gets", text)
    made = len(re.findall(r"enforce.landlock: path rule: access 0x[0-9a-f]+ (?:below|at) /", text))
    assert made and re.search(rf"enforce.landlock: {made} path rules, 0 port rules", text)
    assert rest[0].startswith("isotrace: deny mkdir → EPERM: seccomp")


def test_top_says_it_before_the_summary_and_lines_come_once():
    _out, err = run("-v", "top", "--once", "--", "true")
    said, _rest = verbose(err)
    attached = [what for _, what in said if what.startswith("attached ")]
    assert "attached on_exit" in " ".join(attached) and len(attached) == len({*attached})


@pytest.mark.parametrize("feature", ["lsm_bpf", "fmod_ret_security"])
def test_block_of_what_runs_says_what_is_tried_at_which_hooks(feature):
    needs(feature)
    with started(["sleep", "1000"]) as process:
        _out, err = run("-v", "block", "--backend", "lsm", "--deny", "mkdir", "--pid", process.pid, "--for", "1s")
    said, rest = verbose(err)
    text = "\n".join(f"{package}: {what}" for package, what in said)
    assert re.search(r"enforce: deny mkdir: (lsm|fmod_ret): chosen", text)
    assert re.search(r"kernel: (LSM|fmod_ret) program at \w+: yes", text)
    assert re.search(r"enforce: \d+ rules, \d+ enforcing programs", text)
    assert re.search(r"backends: attached (lsm|kmod_ret)__\w*mkdir at the hook in its name", text)
    assert re.search(r"enforce.hooks: self-test at .*mkdir", text)
    assert re.search(r"enforce.selftest: self-test in process \d+, where EUCLEAN means denied: \d+ × EUCLEAN", text)
    assert "isotrace: enforcing from now on" in rest
