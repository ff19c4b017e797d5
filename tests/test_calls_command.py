"""`isotrace calls`, as a user runs it."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from isotrace import catalog
from isotrace.catalog import families, rings
from isotrace.commands.calls import calls
from isotrace.errors import UsageError


def run(*args):
    result = CliRunner().invoke(calls, args, catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def table(*args):
    header, *lines = run(*args).splitlines()
    return header, {line.split()[0]: line for line in lines}


def test_without_arguments_it_lists_everything():
    header, lines = table()
    assert header.split()[:4] == ["NAME", "X86_64", "I386", "ARM64"]
    assert lines.keys() == catalog.names()
    assert lines["openat"].split()[:4] == ["openat", "257", "295", "56"]
    assert "filename:path" in lines["openat"] and "flags:flags(open_mode_flags)" in lines["openat"]
    assert lines["socketcall"].split()[:4] == ["socketcall", "-", "102", "-"]


def test_a_pipe_gets_aligned_columns_without_colours():
    header, lines = table("%network")
    column = header.index("ARGUMENTS")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines.values())
    assert "\x1b" not in run("openat")


@pytest.mark.parametrize("term", ["%network", "@aio", "@file-system"])
def test_a_family_lists_its_members(term):
    assert table(term)[1].keys() == families.table()[term]


def test_terms_may_be_words_or_one_expression():
    assert table("@aio", "!io_submit") == table("@aio,!io_submit")
    assert "io_submit" not in table("@aio", "!io_submit")[1]


def test_one_abi_has_its_own_numbers_and_arguments():
    header, lines = table("mmap,mmap2,socketcall", "--abi", "i386")
    assert "I386" in header and "X86_64" not in header
    assert lines["mmap"].split()[:3] == ["mmap", "90", "arg:in(mmap_arg32)"]
    assert table("mmap,mmap2,read", "--abi", "x86_64")[1].keys() == {"mmap", "read"}


def test_the_page_of_one_call():
    page = run("openat")
    assert "openat(int dfd, const char * filename, int flags, umode_t mode)" in page
    for expected in ("257", "295", "0x40000000 + 257", "directory descriptor", "bits of open_mode_flags"):
        assert expected in page
    assert "flags&O_CREAT" in page and "%file" in page and "file_open" in page and "seccomp" in page


def test_the_page_says_what_cannot_be_refused():
    assert "does not return" in run("exit_group") and "never" in run("exit_group")
    assert "ENOSYS" in run("tuxcall")


def test_json_is_one_object_a_line():
    records = {record["name"]: record for record in map(json.loads, run("--format", "json").splitlines())}
    assert records.keys() == catalog.names()
    read = records["read"]
    assert read["numbers"] == {"x86_64": 0, "x32": 0x40000000, "i386": 3, "arm64": 63}
    assert read["args"][1] == {"name": "buf", "kind": "outbuf", "params": ["ret"]}
    assert read["result"] == "size" and "%desc" in read["families"]
    assert read["refusable"]["by_object"] == ["file_permission"]


def test_help_ends_with_examples():
    output = run("--help")
    assert "  isotrace calls openat " in output
    assert output.rstrip().splitlines()[-1].strip().startswith("isotrace calls")


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["opne"], 'unknown system call "opne"', "open"),
        (["%fil"], 'unknown family "%fil"', "%file"),
        (["socketcall", "--abi", "x86_64"], "none of these calls exists on x86_64", "--abi"),
    ],
)
def test_bad_input_is_a_message_and_a_hint(args, message, hint):
    with pytest.raises(UsageError) as caught:
        run(*args)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_terminal_gets_a_table_that_fits():
    """In a terminal of 100 columns no line is longer: the long columns wrap."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from isotrace.commands.calls import calls; calls()", "socket,connect"]
    env = os.environ | {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"}
    child = subprocess.Popen(command, stdout=theirs, env=env)
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # EIO is how a terminal ends
        while chunk := os.read(ours, 65536):
            output += chunk
    os.close(ours)
    assert child.wait() == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.decode().splitlines()]
    assert any(line.split()[:4] == ["connect", "42", "362", "203"] for line in lines)
    assert max(map(len, lines)) <= 100


def test_the_words_of_deny_are_shown():
    assert "Words of --deny that cover it:\n  open  open a file\n" in run("openat2")
    assert re.search(r"connect +reach an address \(only with an address\)", run("sendto"))
    assert " chmod " in table("%file")[1]["fchmodat2"]
    assert json.loads(run("clone3", "--format", "json").splitlines()[0])["words"] == ["fork", "clone"]


def test_operations_of_io_uring_are_listed_where_they_are_asked_for():
    header, lines = table("%io_uring,read")
    assert lines.keys() == rings.names() | {"read"} and header.split()[0] == "NAME"
    assert lines["io_uring:openat"].split()[:5] == ["io_uring:openat", "-", "-", "-", "dfd:dirfd"]
    page = run("io_uring:openat")
    assert "directory descriptor" in page and "io_uring_setup" in page
    found = json.loads(run("--format", "json", "io_uring:close"))
    assert (found["numbers"], found["prototype"], found["refusable"]["by_number"]) == ({}, "", [])
    with pytest.raises(UsageError):
        run("--abi", "arm64", "io_uring:close")
