"""The live table, driven by keys through Textual's pilot and fed from recorded tables."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from top_tables import SLOT, Clock, Recorded, errors, rows

from isotrace.backends.counts import Losses
from isotrace.top import source as sources
from isotrace.top.app import TopApp
from isotrace.top.refusing import ActiveRefusal, Proposal, Status, ViewState
from isotrace.top.source import Requests, Source
from isotrace.trace.target import Target


class Tape:
    """A feed that posts a snapshot of its tables when it is asked to refresh."""

    def __init__(self, tables: Recorded) -> None:
        self.failure: BaseException | None = None
        self.clock = Clock()
        self.source = Source(tables, self.clock)
        self.requests: Requests = self.source.requests
        self.finished = False
        self.ended = ""

    def begin(self, post) -> None:
        self._post = post
        self.refresh()

    def refresh(self) -> None:
        self.clock.now += 1
        self._post(self.source.look(self.ended))

    def finish(self) -> None:
        self.finished = True


class Deputy:
    """Refuses when a test says so: it keeps what it was asked, and answers with what it was given."""

    def __init__(self, *answers) -> None:
        self.view_state, self.failure = ViewState(), None
        self.asked, self.answers, self.finished = [], list(answers), False

    def begin(self, tell) -> None:
        self.tell = tell

    def _answer(self, *what) -> None:
        self.asked.append(what)
        if self.answers:
            answer = self.answers.pop(0)
            self.tell(answer(what[1]) if callable(answer) else answer)

    def explain(self, wanted) -> None:
        self._answer("explain", wanted)

    def refuse(self, proposal) -> None:
        self._answer("refuse", proposal.wanted)

    def lift(self, number) -> None:
        self._answer("lift", number)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def tables(monkeypatch):
    found = Recorded()
    found.comms = {1: (b"sh", 0), 10: (b"cat", 1), 11: (b"\x1b[31mred\n", 1)}
    found.table = rows(
        (1, "wait4", 4), (10, "read", 100, {"errors": 7}), (10, "openat", 5), (11, "read", 30), (11, "write", 50)
    )
    found.failures = errors((10, "read", 11, 7, b"", 3, 0x2000, 512), (10, "openat", 2, 1, b"/nowhere", 0xFFFFFF9C))
    found.used = [(1, b"/etc/passwd", 9), (1, b"/tmp/\x1b[2J", 2)]
    monkeypatch.setattr(sources, "living_now", lambda: set(found.comms))
    return found


def text(app) -> list[str]:
    """What is on the screen, a string a line."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in line).ljust(width) for line in lines][:height]


def drive(tables, *steps, size=(80, 24), view="call", deputy=None):
    """Run the app; a step is a key, "…" to wait, or a function of (app, feed). Returns the last screen."""
    feed = Tape(tables)
    app = TopApp(feed, "--tree 1", view, deputy or Deputy(), "")

    async def run():
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            for step in steps:
                if callable(step):
                    result = step(app, feed)
                    if asyncio.iscoroutine(result):
                        await result
                elif len(step) > 1 and step[0] == "'":
                    await pilot.press(*step[1:])
                else:
                    await pilot.press(step)
                await pilot.pause()
            await pilot.pause()
            return text(app)

    return asyncio.run(run()), app, feed


def names(screen) -> list[str]:
    """The first column of the rows."""
    return [line.split()[0] for line in screen[4:-1] if line.strip()]


def test_the_first_screen(tables):
    screen, _, feed = drive(tables)
    assert len(screen) == 24
    assert screen[0].startswith("isotrace top --tree 1")
    assert "3 processes" in screen[0]
    assert "189" in screen[1] and "calls/s" in screen[1]
    assert screen[3].split()[:3] == ["call", "calls/s▼", "total"]
    assert names(screen) == ["read", "write", "openat", "wait4"]
    assert "? help" in screen[-1] and "1/4" in screen[-1]
    assert feed.finished


def test_views_by_number_and_tab(tables):
    assert names(drive(tables, "2")[0])[0] == "sh"
    assert "/etc/passwd" in names(drive(tables, "3")[0])
    assert names(drive(tables, "4")[0]) == ["EAGAIN", "ENOENT"]
    assert names(drive(tables, "tab", "tab", "tab")[0]) == ["EAGAIN", "ENOENT"]
    assert names(drive(tables, "tab", "shift+tab")[0])[0] == "read"


def test_hostile_names_and_paths_do_not_reach_the_terminal(tables):
    for key in ("2", "3"):
        screen = drive(tables, key)[0]
        assert all(line.isprintable() for line in screen)
        assert any("\\33[" in line for line in screen)


def test_sorting(tables):
    assert names(drive(tables, "left")[0]) == ["openat", "read", "wait4", "write"], "to the left is the name"
    assert names(drive(tables, "left", "r")[0]) == ["write", "wait4", "read", "openat"]
    assert names(drive(tables, "r")[0]) == ["wait4", "openat", "write", "read"]
    screen = drive(tables, "s", "s")[0]
    assert "errs▼" in screen[3] and names(screen)[0] == "read"


def test_filter_while_typing(tables):
    screen = drive(tables, "slash", "'re")[0]
    assert [line.split()[0] for line in screen[4:-2] if line.strip()] == ["read"]
    assert "/re" in screen[2]
    kept = drive(tables, "slash", "'wr", "enter", "p")[0]
    assert names(kept) == ["write"], "after Enter keys are keys again"
    assert "paused" in kept[0]
    assert len(names(drive(tables, "slash", "'wr", "escape")[0])) == 4
    assert len(names(drive(tables, "slash", "'wr", "enter", "escape")[0])) == 4
    assert "nothing contains 'zzz'" in "\n".join(drive(tables, "slash", "'zzz", "enter")[0])


def more(app, feed):
    tables = feed.source._tables
    tables.table = rows((1, "wait4", 4), (10, "read", 100), (10, "openat", 9005), (11, "read", 30))
    feed.refresh()


def test_rows_move_and_the_cursor_stays_on_its_row(tables):
    screen, app, _ = drive(tables, "down", "down", more)
    assert names(screen)[0] == "openat"
    assert app._table.selected == SLOT["openat"]


def test_the_cursor_stays_on_top_until_it_is_moved(tables):
    assert drive(tables, more)[1]._table.selected == SLOT["openat"]


def test_pause_holds_the_screen(tables):
    held = drive(tables, "p", more)[0]
    assert names(held)[0] == "read" and "paused" in held[0]


def test_going_on_after_a_pause_shows_what_is_there_by_now(tables):
    assert names(drive(tables, "p", more, "p")[0])[0] == "openat"


def test_zero(tables):
    screen = drive(tables, "z")[0]
    assert "nothing was called yet" in "\n".join(screen)


def test_counts_go_on_from_zero(tables):
    screen = drive(tables, "z", more)[0]
    assert names(screen) == ["openat"]
    assert "9,000" in screen[4]


def test_one_process(tables):
    screen, _, feed = drive(tables, "2", "down", "f")
    assert feed.requests.frozen == 10
    assert names(screen) == ["read", "openat"]
    assert "only cat 10" in screen[2]
    assert len(names(drive(tables, "2", "down", "f", "f")[0])) == 4
    assert len(names(drive(tables, "2", "down", "f", "escape")[0])) == 4
    assert "go to the processes" in drive(tables, "f")[0][-1]


def test_details(tables):
    screen = "\n".join(drive(tables, "enter", size=(120, 30))[0])
    assert "1.0µs–2.0µs" in screen and "130" in screen
    assert "7× read(3, 0x2000, 512) = -1 EAGAIN (Resource temporarily unavailable)" in screen
    assert "inside the kernel now" in screen
    closed = "\n".join(drive(tables, "enter", "escape")[0])
    assert "inside the kernel now" not in closed
    assert "/nowhere" in "\n".join(drive(tables, "4", "down", "enter", size=(120, 30))[0])


def test_details_fit_80_by_24(tables):
    screen = drive(tables, "enter")[0]
    assert len(screen) == 24 and all(len(line) == 80 for line in screen)
    assert any("1.0µs–2.0µs" in line for line in screen)


# ---- refusing -----------------------------------------------------------------------------------------------------


def possible(wanted):
    return Proposal(
        wanted, (f"to {wanted.whom}: 3 processes now", f"deny {wanted.call} → EPERM: lsm · TOCTOU-safe yes")
    )


def in_force(wanted, number=1, **more):
    return ActiveRefusal(number, wanted, "lsm", **more)


def refused(wanted):
    return Status((in_force(wanted),), note=f"{wanted.call} is denied")


def test_a_call_is_refused_to_the_target_once_the_mechanism_was_accepted(tables):
    deputy = Deputy(possible, refused)
    asked = "\n".join(drive(tables, "d", deputy=deputy)[0])
    assert "Deny read?" in asked and "lsm · TOCTOU-safe yes" in asked and "to --tree 1: 3 processes" in asked
    assert [what for what, _ in deputy.asked] == ["explain"], "nothing is refused before the answer"
    deputy = Deputy(possible, refused)
    screen, _, _ = drive(tables, "d", "y", deputy=deputy)
    assert [what for what, _ in deputy.asked] == ["explain", "refuse"]
    assert (deputy.asked[1][1].call, deputy.asked[1][1].pid) == ("read", None)
    assert "1 denied" in screen[0] and "read is denied" in screen[-1]
    assert deputy.finished, "and nothing is when the table is left"


@pytest.mark.parametrize("key", ["n", "escape", "enter", "d", "q"])
def test_only_y_is_a_yes(tables, key):
    deputy = Deputy(possible)
    screen, app, _ = drive(tables, "d", key, deputy=deputy)
    assert [what for what, _ in deputy.asked] == ["explain"]
    assert names(screen)[0] == "read" and app._exit is False and "denied" not in screen[0]


def test_while_an_answer_is_waited_for_the_table_goes_on(tables):
    deputy = Deputy(None)
    deputy.answers = []
    screen, app, _ = drive(tables, "d", more, "down", deputy=deputy)
    assert "looking how this kernel can deny read" in screen[-1]
    assert names(screen)[0] == "openat" and app._table.selected == SLOT["read"]


def test_a_question_that_comes_late_takes_no_keys_meant_for_something_else(tables):
    deputy = Deputy()

    def late(app, feed):
        deputy.tell(possible(deputy.asked[0][1]))

    screen, _, _ = drive(tables, "d", "slash", late, "'yy", "enter", deputy=deputy)
    assert [what for what, _ in deputy.asked] == ["explain"] and "/yy" in screen[2]
    screen, _, _ = drive(tables, "d", "question_mark", late, deputy=deputy)
    assert any("any key closes this" in line for line in screen)
    assert "press d on it again" in screen[-1]


def test_where_the_kernel_cannot_the_footer_says_why(tables):
    def impossible(wanted):
        return Proposal(
            wanted, ("deny read → EPERM: NOT ENFORCEABLE", "  lsm: bpf is not active"), "read cannot: lsm: bpf"
        )

    screen = drive(tables, "d", deputy=Deputy(impossible))[0]
    assert "read cannot: lsm: bpf" in screen[-1]
    assert any("lsm: bpf is not active" in line for line in screen)
    deputy = Deputy(impossible)
    screen = drive(tables, "d", "y", deputy=deputy)[0]
    assert len(deputy.asked) == 1 and names(screen)[0] == "read" and "read cannot" in screen[-1]


def test_a_process_and_its_descendants(tables):
    deputy = Deputy(possible, refused)
    screen = "\n".join(drive(tables, "2", "down", "d", deputy=deputy)[0])
    assert "Deny what to cat 10 and its descendants?" in screen and not deputy.asked
    drive(tables, "2", "down", "d", "down", "enter", "y", deputy=deputy)
    wanted = deputy.asked[1][1]
    assert (wanted.call, wanted.pid, wanted.whom) == ("openat", 10, "cat 10 and its descendants")
    assert deputy.view_state.processes[10].parent == 1
    deputy = Deputy()
    drive(tables, "2", "down", "d", "escape", deputy=deputy)
    assert not deputy.asked
    drive(tables, "2", "down", "f", "d", deputy=deputy)
    assert (deputy.asked[0][1].call, deputy.asked[0][1].pid) == ("read", 10), "one process's calls: it alone is meant"


def test_the_call_of_an_error(tables):
    deputy = Deputy()
    drive(tables, "4", "down", "d", deputy=deputy)
    assert (deputy.asked[0][1].call, deputy.asked[0][1].pid) == ("openat", None)


def test_a_file_is_no_call(tables):
    assert "this row is no call" in drive(tables, "3", "d")[0][-1]


@pytest.mark.parametrize("before", [[], ["p"]], ids=["live", "paused"])
def test_what_has_ended_is_refused_nothing(tables, before):
    def end(app, feed):
        tables.ended = {10, 11}
        feed.refresh()

    deputy = Deputy()
    screen = drive(tables, *before, "2", "down", end, "d", deputy=deputy)[0]
    assert "it has ended" in screen[-1] and not deputy.asked, "what is paused still shows it as running"


def test_refusals_are_listed_with_their_hits_as_they_grow(tables):
    deputy = Deputy()
    wanted = []

    def show(hits):
        def step(app, feed):
            wanted[:] = [deputy.asked[0][1]]
            first = in_force(wanted[0], hits=hits, latest="cat 10 /etc/passwd")
            second = in_force(wanted[0], number=2, ended="process 10 ended", unjudged=3)
            deputy.tell(Status((first, second)))

        return step

    screen = drive(tables, "d", show(7), "D", deputy=deputy, size=(120, 24))[0]
    assert any("Denied now: 1" in line for line in screen)
    assert any("read → EPERM  7 hits  lsm  --tree 1  latest: cat 10 /etc/passwd" in line for line in screen)
    assert any("not judged: 3" in line and "(process 10 ended)" in line for line in screen)
    screen = drive(tables, "d", show(7), "D", show(1234), deputy=deputy, size=(120, 24))[0]
    assert any("1,234 hits" in line for line in screen)
    assert "nothing is denied" in drive(tables, "D")[0][-1]


def test_lifting(tables):
    def two(wanted):
        return Status((in_force(wanted), in_force(wanted, number=5)))

    deputy = Deputy(possible, refused, Status(note="read works again"))
    screen = drive(tables, "d", "y", "u", deputy=deputy)[0]
    assert deputy.asked[-1] == ("lift", 1) and "read works again" in screen[-1] and "denied" not in screen[0]
    deputy = Deputy(possible, two)
    screen = drive(tables, "d", "y", "u", deputy=deputy)[0]
    assert any("Denied now: 2" in line for line in screen), "with several the list is where one is chosen"
    deputy = Deputy(possible, two)
    drive(tables, "d", "y", "D", "down", "u", deputy=deputy)
    assert deputy.asked[-1] == ("lift", 5)
    assert "nothing is denied" in drive(tables, "u")[0][-1]


def test_an_opening_that_fails_is_told(tables):
    deputy = Deputy(possible, Status(note="cannot attach to the hook: no memory"))
    screen = drive(tables, "d", "y", deputy=deputy)[0]
    assert "cannot attach to the hook" in screen[-1] and "denied" not in screen[0]


def failure_of(app, breaks):
    """What the app keeps of what breaks, and ends by."""

    async def run():
        async with app.run_test():
            breaks()
            deadline = time.monotonic() + 30
            while app.failure is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        return app.failure

    return asyncio.run(run())


def test_what_breaks_in_the_refusing_thread_ends_the_app_and_is_kept(tables):
    deputy = Deputy()
    app = TopApp(Tape(tables), "t", "call", deputy, "")
    assert isinstance(failure_of(app, lambda: setattr(deputy, "failure", ValueError("a bug"))), ValueError)


def test_a_long_question_fits_80_by_24(tables):
    def long(wanted):
        return Proposal(wanted, tuple(f"note {i}: " + "words that go on and on " * 8 for i in range(12)))

    screen = drive(tables, "d", deputy=Deputy(long))[0]
    assert all(len(line) == 80 for line in screen)
    assert any("y denies it    ↑↓ more" in line for line in screen) and any("note 0" in line for line in screen)
    below = drive(tables, "d", *["pagedown"] * 9, deputy=Deputy(long))[0]
    assert any("note 11" in line for line in below) and any("y denies it" in line for line in below)


def test_v_shows_a_question_in_full_and_answers_nothing(tables):
    def asked(wanted):
        return Proposal(wanted, ("limits of lsm: few",), details=("lsm: limits that are many words",))

    deputy = Deputy(asked)
    brief, full = (drive(tables, "d", *keys, deputy=Deputy(asked))[0] for keys in ("", "v"))
    assert any("limits of lsm: few" in line for line in brief) and any("v in full" in line for line in brief)
    assert any("limits that are many words" in line for line in full) and not any("few" in line for line in full)
    drive(tables, "d", "v", "v", "x", deputy=deputy)
    assert [what for what, *_ in deputy.asked] == ["explain"]


def test_help(tables):
    screen = drive(tables, "question_mark")[0]
    assert any("any key closes this" in line for line in screen)
    assert all(len(line) == 80 for line in screen)
    assert not any("any key closes" in line for line in drive(tables, "question_mark", "x")[0])


def test_keys_that_come_faster_than_help_closes(tables):
    assert names(drive(tables, "question_mark", "'xxx")[0])[0] == "read"


def test_too_small(tables):
    screen = "\n".join(drive(tables, size=(50, 10))[0])
    assert "needs 60×12" in screen and "50×10" in screen
    assert "read" not in screen


def test_resize_keeps_the_selected_row_in_view(tables):
    tables.table = rows(*((10, name, 1000 - i) for i, name in enumerate(list(SLOT)[:40])))
    feed = Tape(tables)
    app = TopApp(feed, "t", "call", Deputy(), "")

    async def run():
        async with app.run_test(size=(160, 50)) as pilot:
            await pilot.pause()
            await pilot.press("end")
            await pilot.resize_terminal(80, 24)
            await pilot.pause()
            small = text(app)
            await pilot.resize_terminal(50, 10)
            await pilot.pause()
            tiny = text(app)
            await pilot.resize_terminal(200, 50)
            await pilot.pause()
            return small, tiny, text(app)

    small, tiny, large = asyncio.run(run())
    last = list(SLOT)[39]
    assert all(len(line) == 80 for line in small) and last in names(small)
    assert any("needs" in line for line in tiny)
    assert last in names(large) and "of time" in large[3]


def test_what_is_said_meanwhile_is_in_the_footer(tables):
    """As what becomes of a container that is waited for."""
    said = [["container web ended", "waiting for container web"]]

    def say(app, _feed):
        app.news = lambda: said.pop() if said else []
        app._check()

    assert "container web ended; waiting for container web" in drive(tables, say)[0][-1]
    assert not said


def test_a_thousand_processes(tables):
    pids = range(1000, 2000)
    tables.comms = {1: (b"sh", 0)} | dict.fromkeys(pids, (b"worker", 1))
    tables.table = rows((1, "wait4", 1), *((pid, "read", pid) for pid in pids))
    screen, app, _ = drive(tables, "2", "end")
    assert "1001/1001" in screen[-1]
    assert app._table.selected == 1000, "the least busy is the last"
    assert len(names(screen)) == 19
    top = drive(tables, "2", "pagedown", "pageup")[0]
    assert names(top)[0] == "sh"


def test_the_table_stays_when_the_target_is_gone(tables):
    def end(app, feed):
        feed.ended = "process 1 ended"
        feed.refresh()

    screen = drive(tables, end)[0]
    assert "■ process 1 ended" in screen[0]
    assert names(screen)[0] == "read"


def test_losses_are_shown(tables):
    tables.lost = Losses(calls=12)
    assert "12 calls not counted" in drive(tables)[0][-1]


def test_leaving(tables):
    for key in ("q", "ctrl+c"):
        _, app, feed = drive(tables, key)
        assert not app.is_running and feed.finished


def test_a_signal_ends_it(tables):
    async def run():
        feed = Tape(tables)
        app = TopApp(feed, "t", "call", Deputy(), "")
        app.stopped = threading.Event()
        async with app.run_test() as pilot:
            app.stopped.set()
            for _ in range(20):
                await asyncio.sleep(0.05)
                await pilot.pause()
                if app._exit:
                    return feed
        return None

    assert asyncio.run(run()) is not None


def test_what_breaks_in_the_worker_ends_the_app_and_is_kept(tables):
    feed = Tape(tables)
    app = TopApp(feed, "t", "call", Deputy(), "")
    assert isinstance(failure_of(app, lambda: setattr(feed, "failure", OSError("the map is gone"))), OSError)


def test_mouse_selects_and_opens(tables):
    async def run():
        feed = Tape(tables)
        app = TopApp(feed, "t", "call", Deputy(), "")
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await pilot.click(offset=(5, 6))
            await pilot.pause()
            chosen = app._table.selected
            await pilot.click(offset=(5, 6))
            await pilot.pause()
            return chosen, app._open

    assert asyncio.run(run()) == (SLOT["openat"], True)


def test_without_colours_the_cursor_is_reversed(tables, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    def check(app, feed):
        strip = app._table.render_line(1)
        assert all(segment.style.reverse for segment in strip if segment.text.strip())

    drive(tables, check)


def test_the_title_is_harmless():
    assert str(Target(pid=5, follow=True)) == "--pid 5 -f"
    assert str(Target(command=("sh", "-c", "echo \x1b[2J"))).isprintable()
