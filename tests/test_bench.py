"""The bench, apart from measuring: what tools say of losses, the page, and that nothing is left behind."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import __main__ as main
from bench import block, quick, report, works
from bench.measure import Keeper, Trouble, reason
from bench.runs import Budget, Cell
from bench.tools import GROUPS, TOOLS, Tool

ROOT = Path(__file__).parents[1]
BY_NAME = {tool.name: tool for tool in TOOLS}


@pytest.mark.parametrize(
    ("name", "said", "lost"),
    [
        ("isotrace log", "isotrace: 1000 calls, 900 delivered, 100 lost\nisotrace: lost: getppid 100", 100),
        ("isotrace log", "isotrace: 12 calls, 12 delivered, 0 lost", 0),
        ("perf trace", "LOST 18 events!\n 0.1 ( ): read(fd: 3)\nLOST 2 events!\n", 20),
        ("bpftrace, print", "Lost 7 events\nLost 3 events\n", 10),
        ("perf record", "     LOST events:          3  ( 0.0%)\n   LOST_SAMPLES events:    4\n", 7),
        ("opensnoop", "Possibly lost 5 samples\n", 5),
        ("strace -f", "anything lost 3", 0),
    ],
)
def test_what_a_tool_says_of_losses(name, said, lost):
    assert BY_NAME[name].losses(said) == lost


def test_every_tool_is_told_what_to_trace_and_nothing_else():
    for tool in TOOLS:
        argv = tool.argv(Path("/o"), ["/w", "getppid", "5"])
        assert tool.group in GROUPS
        if tool.attach:
            assert tool.command[-1] == "-p"
        else:
            assert argv[-3:] == ["/w", "getppid", "5"] or argv[-2:] == ["-c", "/w getppid 5"]
        if tool.command[0] == "bpftrace":
            probes = re.findall(r"tracepoint:\S+ (\S+)", " ".join(tool.command))
            assert probes and all(condition.startswith("/@") for condition in probes)


def test_a_tool_that_is_missing_says_which_package_has_it():
    assert Tool("x", "text", ("no-such-tool-here",), "some-package").missing() == "not installed (package some-package)"
    assert "no-such" in (works.Work("w", works._redis, needs=("no-such",), package="p").missing() or "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("a\nUnable to find kernel headers. Try more.\nException: Failed", "Unable to find kernel headers"),
        ("ERROR: couldn't set RLIMIT_MEMLOCK\nhello\n", "hello"),
        ("", "nothing was said"),
    ],
)
def test_why_a_tool_failed_is_a_line(said, expected):
    assert reason(said) == expected


def _cell(ratio, cpu=1.0, calls=1_000_000, lost=0, seconds=1.0):
    return Cell("", [seconds] * 5, [ratio] * 5, [lost] * 5, [cpu] * 5, [2048] * 5, [calls] * 5)


def _results(ours=3.0):
    loop = {name: _cell(9.0, 4.0) for name in ("perf trace", "perf record")} | {
        "bare": Cell("", [200.0] * 5),
        "isotrace log": _cell(ours, 1.5),
        "isotrace log --format none": _cell(2.0, 0.5),
        "strace -f": _cell(101.0, 20.0, 50_000),
        "syscount": Cell("does not start here: no | headers"),
    }
    redis = {"bare": Cell("", [1e4] * 5), "isotrace log": _cell(1.25), "isotrace log --format none": _cell(1.25)}
    names = ("isotrace log", "bpftrace, print", "bpftrace, count")
    beside = dict(zip(names, (_cell(2.0), _cell(2.5), _cell(1.5)), strict=True))
    start = {"isotrace log": _cell(1.0, 0.5, seconds=0.6), "perf trace": _cell(1.0, 0.0)}
    table = {"getppid in a loop": loop, "redis-server, GET": redis}
    return report.Results(table, beside, start, frozenset({"redis-server, GET"}), {"nginx": "not installed"})


def _verdicts(results):
    return {goal.asked: goal.row()[1:] for goal in report.goals(results, TOOLS)}


def test_thresholds_are_judged_by_what_was_measured():
    found = _verdicts(_results())
    assert found["strace -f adds at least 40 times as much: getppid in a loop"] == ["50×", "yes"]
    assert found["redis-server keeps at least 85 % under isotrace log --format none"] == ["80 %", "**no**"]
    assert found["redis-server keeps at least 70 % under isotrace log"] == ["80 %", "yes"]
    assert found["start to first line below 0.8 s"] == ["0.60 s", "yes"]
    assert found["a bystander of isotrace log pays no more than one of bpftrace, print (time ÷ time)"] == [
        "0.80",
        "yes",
    ]
    assert found["a bystander of isotrace log pays no more than one of bpftrace, count (time ÷ time)"][1] == "**no**"
    assert found["perf trace takes at least 5 times the CPU per call of isotrace log"] == ["4.0×", "**no**"]
    least = {asked: row for asked, row in found.items() if asked.startswith("least slowdown")}
    assert [row[1] for row in least.values()] == ["yes", "yes"]
    slow = _verdicts(_results(ours=10.0))
    assert [row[1] for asked, row in slow.items() if asked.startswith("least slowdown, text")] == ["**no**"]


def test_what_could_not_be_measured_is_said():
    empty = report.Results({}, {}, {}, frozenset(), {})
    assert {row[0] for row in _verdicts(empty).values()} == {"not measured"}
    page = report.page(empty, TOOLS, "machine", "repeat", "notes\n")
    assert page.startswith("# Benchmarks\n\nrepeat\n\nmachine\n") and page.endswith("notes\n")


def test_the_page_has_every_tool_and_its_reason():
    page = report.page(_results(), TOOLS, "machine", "repeat", "")
    assert "no: does not start here: no / headers" in page and "* nginx: not installed" in page
    assert "| bare | 100,000/s (100,000/s…100,000/s) |" in page
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")]
    blocks = re.split(r"\n\n", page)
    for part in blocks:
        rows = [line.count("|") for line in part.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1, part
    assert widths


def test_cpu_is_per_million_calls_without_the_start():
    assert report.cpu_per_million(_cell(1.0, 2.5, 500_000), _cell(1.0, 0.5)) == pytest.approx(4.0)
    assert math.isnan(report.cpu_per_million(_cell(1.0, 2.5, 0), None))


@pytest.mark.parametrize(("value", "text"), [(1.234, "1.23×"), (7.26, "7.3×"), (112.4, "112×")])
def test_a_ratio_has_the_digits_that_mean_something(value, text):
    assert report.ratio(value) == text


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.md"
    path.write_text("old")

    def full(*_paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="space"):
        main.write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    main.write(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_rounds_end_when_the_time_does(capsys):
    ample, none = Budget(5, 1000.0, 2), Budget(5, 0.0, 2)
    assert list(ample.take("a")) == [0, 1, 2, 3, 4] and not ample.short
    assert list(none.take("a")) == [0, 1] and none.short == {"a": 2}
    assert "for want of time" in capsys.readouterr().err


def test_words_choose_works_and_tools():
    chosen, tools = main.chosen("redis,strace")
    assert [work.name for work in chosen] == ["redis-server, GET"]
    assert {tool.command[0] for tool in tools} == {"strace"}
    assert [len(found) for found in main.chosen("")] == [len(works.WORKS), len(TOOLS)]


_STUBBORN = """
import os, signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
os.fork()
os.write(1, b"%d\\n" % os.getpid())  # at once: two processes write there, and unbuffered print() writes its newline apart
time.sleep(1000)
"""


def _gone(pids):
    """SIGKILL takes a moment."""
    end = time.monotonic() + 60
    while any(map(_alive, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(_alive, pids))


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _two_pids(one):
    end = time.monotonic() + 60
    while len(one.said.split()) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    return [int(word) for word in one.said.split()]


def test_no_process_is_left_whatever_it_ignores(tmp_path):
    keeper = Keeper(tmp_path)
    pids = _two_pids(keeper.start([sys.executable, "-c", _STUBBORN]))
    keeper.close()
    assert _gone(pids)


def test_a_process_that_is_asked_to_end_takes_its_children_along(tmp_path):
    keeper = Keeper(tmp_path)
    one = keeper.start([sys.executable, "-c", _STUBBORN.replace("SIG_IGN", "SIG_DFL")])
    pids = _two_pids(one)
    keeper.end(one)
    assert _gone(pids) and not one.log.exists()
    keeper.close()


_ABANDONED = """
import os, sys, time
from pathlib import Path
from bench.measure import Keeper
one = Keeper(Path(sys.argv[1])).start(["sleep", "1000"])
print(one.child.pid, flush=True)
time.sleep(1000)
"""


def test_no_process_outlives_a_bench_that_is_killed(tmp_path):
    bench = subprocess.Popen([sys.executable, "-c", _ABANDONED, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    pid = int(bench.stdout.readline())
    bench.kill()
    bench.communicate()
    assert _gone([pid])


def test_a_process_that_fails_says_why(tmp_path):
    keeper = Keeper(tmp_path)
    one = keeper.start(["sh", "-c", "echo 'error: no luck'; exit 3"])
    with pytest.raises(Trouble, match="sh ended with status 3: error: no luck"):
        one.finish()
    other = keeper.start(["sh", "-c", "kill -TERM $$"])
    with pytest.raises(Trouble, match=f"status -{signal.SIGTERM.value}"):
        other.finish()
    keeper.close()


_FIGURE = re.compile(r"\d[\d,.]*\s?(?:×|times\b|%|ns\b|µs\b|x faster|calls a second|MiB\b)")


def test_no_figure_of_the_readme_is_missing_from_the_table():
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    table = (ROOT / "docs/benchmarks.md").read_text()
    assert [figure for figure in _FIGURE.findall(text) if figure not in table] == []


def test_the_section_on_block_stays_when_the_rest_of_the_page_is_new():
    old = "# Benchmarks\n\nold\n\n## isotrace block\n\n| what |\n\n## Afterwards\n\nmore\n"
    kept = report.block_of(old)
    assert kept == "## isotrace block\n\n| what |\n"
    assert report.with_block("# Benchmarks\n\nnew\n", kept) == "# Benchmarks\n\nnew\n\n## isotrace block\n\n| what |\n"
    assert report.with_block(old, "## isotrace block\n\nother\n") == old.replace("| what |", "other")
    assert report.with_block("new\n", report.block_of("no such section\n")) == "new\n"


def test_what_refusing_adds_is_told_beside_the_bare_work():
    found = {"instruction": 0.5, "bare": 5000.0, "other bare": 4000.0, "apply 1": 1.0, f"apply {block.TREE}": 3.0}
    names = ("literal", "patterns", "open")
    found |= {f"{name} target": 5500.0 for name in names} | {f"{name} other": 4040.0 for name in names}
    found |= {f"tree {count}": 5500.0 for count in (*block.CROWD, block.TREE)}
    rows = {title: (figure, remark) for title, figure, remark in block.rows(found)}
    assert rows["openat and close, bare"][0] == "10000"
    assert rows["100 path rules, for the target"] == ("+10.0 %", "11000 instructions; asked for: at most +15 %")
    assert rows["… for everyone else"][0] == "+1.0 %"
    assert [rows[f"a start for a tree of {count}"][0] for count in (1, block.TREE)] == ["2.00 G", "6.00 G"]


# ---- bench-quick -----------------------------------------------------------------------------------------------------


def quick_cells(**ratios):
    return {tool.name: Cell(ratios=[ratios.get(tool.name.split()[-1], 2.0)], lost=[0]) for tool in quick.tools()}


def test_the_quick_table_has_strace_beside_every_use_of_isotrace():
    assert {tool.group for tool in quick.tools()} == {"text", "records", "counts"}
    assert quick.tools()[-1].argv(Path("/o"), ["/w"])[-5:] == ["record", "-o", "/o", "--", "/w"]
    assert {work.name for work in quick.works()} >= {*quick._SERVERS, quick._LOOP, quick._FILES}


def test_the_quick_table_compares_what_was_added():
    table = dict.fromkeys((quick._LOOP, quick._FILES), quick_cells(log=1.5, **{"-f": 31.0}))
    found = quick.against_strace(table)
    assert [row[1] for row in found] == ["60", "0", "60", "0"]
    table[quick._FILES] = {**table[quick._FILES], "strace -f": Cell("not installed")}
    assert ("not installed" in quick.against_strace(table)[2][0], len(quick.against_strace(table))) == (True, 3)


def test_the_quick_table_says_what_servers_keep_and_which_are_missing():
    redis, nginx = quick._SERVERS
    found = quick.servers({nginx: quick_cells(record=1.25)}, {redis: "not installed: x"})
    assert found[0] == (f"{redis}: not installed: x", "", "")
    assert (f"{nginx}: keeps under isotrace record", "80 %", "≥ 75 %") in found
    assert quick.lines([("a", "1 µs", "≤ 2"), ("bb", "", "")]) == ["    here  goal", "a   1 µs   ≤ 2", "bb"]
