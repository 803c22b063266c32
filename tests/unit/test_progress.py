"""Progress: what is told, when, to whom, and that it costs nothing."""

import io
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from weatherproof import progress
from weatherproof.progress import phase

SHORT, LINE = 10.0, 19.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watched(progress._Teller):
    """A teller without a thread: time passes when the test says so, and it looks as often as the thread would."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(lambda: self.now)
        self.thread = threading.current_thread()  # alive, so that none is started
        self.lines: list[tuple[float, str]] = []

    def passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            pause = self.look()
            self.thread = threading.current_thread()
            self.now = min(end, self.now + (1.0 if pause is None else pause))


@pytest.fixture
def teller(monkeypatch: pytest.MonkeyPatch) -> Watched:
    teller = Watched()
    monkeypatch.setattr(progress, "_teller", teller)
    monkeypatch.setattr(progress, "_SHORT", SHORT)
    monkeypatch.setattr(progress, "_print", lambda text: teller.lines.append((teller.now, text)))
    return teller


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[progress._Teller]:
    """A teller with its thread, in a hurry."""
    teller = progress._Teller()
    monkeypatch.setattr(progress, "_teller", teller)
    monkeypatch.setattr(progress, "_SHORT", 0.02)
    monkeypatch.setattr(progress, "_LINE", 0.02)
    yield teller
    assert not teller.phases


@pytest.mark.parametrize("step", [0.1, 7.0, 600.0])
def test_a_line_comes_at_least_every_30_s_however_long_a_step_takes(teller: Watched, step: float) -> None:
    begun = teller.now
    with phase("training", 100, "steps") as meter:
        while teller.now < begun + 1800:
            teller.passes(step)
            meter.advance()
        ended = teller.now
    times = [begun, *(at for at, _ in teller.lines), ended]
    assert all(after - before <= 30 for before, after in pairwise(times))
    assert len(teller.lines) < 1800 / 15  # and not many more


def test_phases_one_after_the_other_leave_no_30_s_without_a_line(teller: Watched) -> None:
    begun = teller.now
    for number in range(60):
        with phase(f"condition {number}"):
            teller.passes(10.5 + number % 17)
    times = [begun, *(at for at, _ in teller.lines), teller.now]
    assert all(after - before <= 30 for before, after in pairwise(times))


def test_short_phases_are_not_told_of(teller: Watched) -> None:
    for _ in range(50):
        with phase("embedding", 10):
            teller.passes(9.5)
        teller.passes(5)
    assert teller.lines == []


def test_nothing_is_told_outside_phases(teller: Watched) -> None:
    with phase("embedding", 10):
        teller.passes(60)
    told = len(teller.lines)
    teller.passes(3600)
    assert len(teller.lines) == told > 0


def test_a_line_says_what_how_far_how_fast_and_how_long_still(teller: Watched) -> None:
    with phase("embedding photos/train", 4000) as meter:
        for _ in range(10):
            meter.advance(100)
            teller.passes(1)
        teller.passes(0.001)
        assert teller.lines[-1][1] == "embedding photos/train: 1,000 of 4,000 images, 100 a second, about 0:30 left"


def test_what_an_earlier_run_has_done_is_not_taken_for_speed(teller: Watched) -> None:
    with phase("common-15 on model", 1000, done=500) as meter:
        meter.advance(100)
        teller.passes(10.001)
    assert teller.lines[-1][1] == "common-15 on model: 600 of 1,000 images, 10 a second, about 0:40 left"


def test_work_that_cannot_be_counted_says_for_how_long_it_has_lasted(teller: Watched) -> None:
    with phase("drawing the page"):
        teller.passes(10.001)
    with phase("fitting", unit="evaluations") as meter:
        meter.advance(5)
        teller.passes(SHORT + LINE)
    assert [text for _, text in teller.lines] == [
        "drawing the page: for 0:10",
        "fitting: 5 evaluations, 16 a minute",
    ]


def test_a_phase_within_another_is_told_with_it_and_counts_for_what_is_left(teller: Watched) -> None:
    with phase("audit"), phase("probe", 4, "conditions") as outer:
        teller.passes(6)
        outer.advance()
        with phase("measuring a under RandomMask(0.5)", 200, "answers") as inner:
            inner.advance(100)
            teller.passes(4.001)
    assert teller.lines[-1][1] == (  # 1.5 of 4 conditions took 10 s
        "probe: 1 of 4 conditions; measuring a under RandomMask(0.5): 100 of 200 answers, 25 a second, about 0:17 left"
    )


@pytest.mark.parametrize(("total", "done", "told"), [(7, 1, True), (93, 4, False), (93, 5, True), (10**6, 5, True)])
def test_what_is_left_is_not_guessed_from_too_little(teller: Watched, total: int, done: int, told: bool) -> None:
    with phase("demo", total, "parts") as meter:
        meter.advance(done)
        teller.passes(10.001)
    assert ("left" in teller.lines[-1][1]) is told


def test_the_phase_around_is_told_of_where_nothing_is_inside(teller: Watched) -> None:
    with phase("audit"):
        with phase("embedding", 5) as meter:
            meter.advance(5)
        teller.passes(11)
    assert [text for _, text in teller.lines] == ["audit: for 0:10"]


def test_notes_stand_behind_the_count(teller: Watched) -> None:
    with phase("hardening", 10, "steps") as meter:
        meter.advance(5)
        meter.note = "epoch 0.5, loss 1.2"
        teller.passes(10.001)
    assert teller.lines[-1][1] == "hardening: 5 of 10 steps, 30 a minute, epoch 0.5, loss 1.2, about 0:10 left"


@pytest.mark.parametrize(("total", "done"), [(0, 0), (0, 5), (10, 15), (None, 0)])
def test_counts_that_do_not_fit_do_no_harm(teller: Watched, total: int | None, done: int) -> None:
    with phase("reading", total) as meter, phase("inside", total) as inner:
        meter.advance(done)
        inner.advance(done)
        teller.passes(60)
    assert teller.lines and "left" not in teller.lines[-1][1]


def test_an_error_ends_a_phase(teller: Watched) -> None:
    with pytest.raises(KeyboardInterrupt), phase("outer"), phase("inner"):
        raise KeyboardInterrupt
    teller.passes(100)
    assert teller.lines == [] and teller.phases == []


def test_phases_may_end_in_any_order(teller: Watched) -> None:
    outer, inner = phase("outer"), phase("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    teller.passes(10.001)
    inner.__exit__(None, None, None)
    assert [text for _, text in teller.lines] == ["inner: for 0:10"]


def test_labels_are_one_line_that_commands_no_terminal(teller: Watched) -> None:
    with phase("reading a\nb\x1b[2J\udc80" + "x" * 500):
        teller.passes(11)
    (text,) = (text for _, text in teller.lines)
    assert text.startswith("reading a b\\x1b[2J\\udc80xxx") and text.isprintable() and len(text) < 150


def test_a_function_is_a_phase_each_time_it_is_called(teller: Watched) -> None:
    @phase("drawing")
    def draw() -> int:
        teller.passes(LINE)
        return len(teller.phases)

    assert [draw(), draw()] == [1, 1]
    assert [text for _, text in teller.lines] == ["drawing: for 0:10", "drawing: for 0:10"]


def test_what_is_not_to_be_shown_only_counts(teller: Watched) -> None:
    with phase("training", 5, shown=False) as meter:
        meter.advance(3)
        teller.passes(100)
    assert meter.done == 3 and teller.lines == []


def test_counts_from_many_threads_add_up() -> None:
    with phase("decoding", 80_000, shown=False) as meter:
        threads = [threading.Thread(target=lambda: [meter.advance() for _ in range(10_000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert meter.done == 80_000


def test_a_thread_tells_while_a_step_lasts(real: progress._Teller, capsys: pytest.CaptureFixture[str]) -> None:
    with phase("one long step", 1, "steps"):
        time.sleep(0.3)
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) >= 2
    assert all(line.startswith("one long step: 0 of 1 steps, for 0:00") for line in err.splitlines())
    time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_the_thread_ends_soon_after_the_last_phase(real: progress._Teller) -> None:
    for _ in range(3):
        with phase("embedding"), phase("inside"):
            pass
    assert sum(thread.name == "progress" and thread is real.thread for thread in threading.enumerate()) <= 1
    deadline = time.monotonic() + 5
    while real.thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert real.thread is None


def test_a_stream_that_has_gone_does_not_stop_the_work(real: progress._Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        with phase("embedding"):
            time.sleep(0.1)
        assert real.thread is None or real.thread.is_alive()


def _open_a_phase(aloud: bool) -> None:
    progress._SHORT = progress._LINE = 0.02
    if aloud:
        progress.speak()
    with phase("a phase of another process"):
        time.sleep(0.3)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("aloud", [False, True])
def test_other_processes_are_silent_unless_told_to_speak(
    capfd: pytest.CaptureFixture[str], method: str, aloud: bool
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    child = multiprocessing.get_context(method).Process(target=_open_a_phase, args=(aloud,))
    with phase("around"):
        child.start()
        child.join()
    assert child.exitcode == 0
    assert ("a phase of another process: for" in capfd.readouterr().err) is aloud


FORKS = """
import multiprocessing, sys, threading, time
from weatherproof import progress

class Slow:
    lock = threading.Lock()

    def isatty(self):
        return False

    def write(self, text):
        with self.lock:
            time.sleep(0.01)
            sys.__stderr__.write(text)

    def flush(self):
        sys.__stderr__.flush()

def work():
    sys.stderr.write("worker\\n")
    with progress.phase("inside"):
        pass

sys.stderr = Slow()
progress._SHORT = progress._LINE = 0.0
context = multiprocessing.get_context("fork")
with progress.phase("around"):
    for _ in range(20):
        child = context.Process(target=work)
        child.start()
        child.join(5)
        if child.exitcode is None:
            child.kill()
        assert child.exitcode == 0, child.exitcode
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_never_inherits_a_stream_in_the_middle_of_a_line() -> None:
    """A loader's workers are forked while lines are being written all the time, and each of them can write, too."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stderr.splitlines().count("worker") == 20 and "around: for 0:0" in done.stderr


def test_a_terminal_gets_bars_and_is_left_clean(teller: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with phase("clean-probe", 7, "conditions") as outer:
        teller.passes(0.9)
        assert screen.getvalue() == ""  # it may be over at once
        outer.advance(3)
        with phase("measuring a under RandomMask(0.5)", 100, "answers") as inner:
            inner.advance(40)
            teller.passes(1)
        teller.passes(1)
    assert sys.stderr is screen and teller.bar is None and teller.lines == []
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"clean-probe +\S+ +3 of 7 conditions, \d\.\d a second, about 0:0\d left", shown)
    assert re.search(r"measuring a under RandomMask\(0\.5\) +\S+ +\S* *40 of 100 answers, \d+ a second", shown)
    assert screen.getvalue().count("\x1b[?25h") == screen.getvalue().count("\x1b[?25l") == 1  # the cursor is back


def test_a_terminal_that_cannot_draw_gets_lines(teller: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with phase("embedding"):
        teller.passes(11)
    assert [text for _, text in teller.lines] == ["embedding: for 0:10"]


def _cost(step: Callable[[], object], times: int = 20_000) -> float:
    """Seconds of this thread for a call, of the fastest of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(times):
            step()
        rounds.append((time.thread_time() - began) / times)
    return min(rounds)


def test_a_step_costs_microseconds_and_a_phase_little_more() -> None:
    def whole() -> None:
        with phase("embedding", 5):
            pass

    with phase("training", 10**9) as meter:
        assert _cost(meter.advance) < 5e-5  # under the checks of types here; a microsecond without
        assert _cost(whole, 2_000) < 1e-3
