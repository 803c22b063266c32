"""How far long work is, on standard error: a bar on a terminal, elsewhere a line at least every 30 s.

    with phase("embedding", len(images)) as meter:
        for batch in ...:
            meter.advance(len(batch))

A phase only counts. One thread of the process looks at the phases that are open and tells of them, so that a step costs
well under a microsecond, waits for neither terminal nor device, and may take an hour by itself. Phases stand in each
other; one line tells of all. Processes that `multiprocessing` has started (to read images, or to train beside the first
one) say nothing, unless one is told to (`speak`).
"""

import atexit
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from typing import Any

_SHORT = 10.0  # seconds: shorter work gets no line
_LINE = 19.0  # between two lines; a phase that begins right after one waits for _SHORT at most beyond it: under 30
_LOOK = 1.0  # between two looks at the phases, and before there is a bar
_FRAME = 0.25  # between two pictures of the bar
_FEW = 5  # units: fewer, and less than a twentieth of all, say too little of how long the rest will take
_LABEL = 120  # characters


class Meter:
    """What a phase counts.

    Attributes:
        done: units so far.
        note: a few words on what is being done, or on what has come of it so far.
    """

    def __init__(self, label: str, total: int | None, unit: str, done: int) -> None:
        self.label, self.total, self.unit = _plain(label), total, unit
        self.done = self.start = done
        self.note = ""
        self.since = 0.0
        self._lock = threading.Lock()

    def advance(self, count: int = 1) -> None:
        """So many units more are done. From any thread."""
        with self._lock:
            self.done += count


@contextmanager
def phase(
    label: str, total: int | None = None, unit: str = "images", *, done: int = 0, shown: bool = True
) -> Iterator[Meter]:
    """Tells of a phase of work while it lasts, on standard error; also as a decorator.

    A phase inside another one is taken for one unit of it in the estimate of the time that is left.

    Args:
        label: what is being done, and to what.
        total: how many units there are; None: not known, or not countable.
        unit: what they are called.
        done: units that an earlier run has done.
        shown: False: nothing is told, and `advance` only counts.
    """
    meter = Meter(label, total, unit, done)
    if shown:
        _teller.open(meter)
    try:
        yield meter
    finally:
        if shown:
            _teller.close(meter)


def speak() -> None:
    """From now on this process tells of its phases, though `multiprocessing` has started it."""
    _teller.aloud = True


def hush() -> None:
    """From now on this process tells of nothing: another one of the same job does."""
    _teller.silent = True


class _Teller:
    """Tells of the phases of one process. What is told of is in `phases`, the outermost first.

    Whoever writes holds `lock`. So nothing is written once a phase is closed, and a process that is forked never
    inherits a stream or a bar that is just being written to.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.aloud, self.silent = clock, False, False
        self.phases: list[Meter] = []
        self.last_line = -math.inf
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.bar: _Bar | None = None

    def open(self, meter: Meter) -> None:
        if self.silent or (parent_process() is not None and not self.aloud):
            return
        meter.since = self.clock()
        self.phases.append(meter)
        with self.lock:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._run, name="progress", daemon=True)
                with suppress(RuntimeError):  # no more threads are to be had: nobody tells
                    self.thread.start()

    def close(self, meter: Meter) -> None:
        with suppress(ValueError):  # of a silent process
            self.phases.remove(meter)  # before anything that waits: a second Ctrl-C may end it
        with self.lock:
            if not self.phases:
                self._clear()

    def look(self) -> float | None:
        """Tell what is due, and return the seconds until the next look; None where no phase is open."""
        with self.lock:
            phases, now = list(self.phases), self.clock()
            if not phases:
                self._clear()
                self.thread = None
                return None
            if _on_terminal():
                if self.bar is None and now - phases[0].since >= _LOOK:
                    self.bar = _Bar()
                if self.bar is not None:
                    self.bar.draw(phases, now)
                return _FRAME
            if now >= self._due(phases):
                self.last_line = now
                _print(line(phases, now))
            return min(_LOOK, max(0.001, self._due(phases) - now))

    def end(self) -> None:
        """Leave the terminal as it was."""
        with self.lock:
            self._clear()

    def forked(self) -> None:
        """In a new process: the phases, the thread and the bar are the other one's. The lock was taken before."""
        self.phases, self.thread = [], None
        if self.bar is not None:
            sys.stdout, sys.stderr = self.bar.streams
            self.bar = None
        self.lock.release()

    def _run(self) -> None:
        while (pause := self.look()) is not None:
            time.sleep(pause)

    def _due(self, phases: Sequence[Meter]) -> float:
        return max(phases[0].since + _SHORT, self.last_line + _LINE)

    def _clear(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class _Bar:
    """A row for each phase, drawn when asked to, and gone in the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self.streams = sys.stdout, sys.stderr
        self.rows: dict[Meter, Any] = {}
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=2)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True, ratio=3)),
            console=Console(stderr=True), auto_refresh=False, transient=True, expand=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # else it is no business of the terminal's
        )  # fmt: skip
        self.progress.start()

    def draw(self, phases: Sequence[Meter], now: float) -> None:
        shown = _telling(phases)
        counted = next((meter for meter in shown if meter.total), None)
        for gone in self.rows.keys() - set(shown):
            self.progress.remove_task(self.rows.pop(gone))
        for meter in shown:
            if meter not in self.rows:
                self.rows[meter] = self.progress.add_task(meter.label, total=meter.total, state="")
            words = _words(meter, now, rated=True, last=meter is shown[-1])
            left = _left(phases, now) if meter is counted else []
            state = ", ".join([*words, *left, *_noted(meter)])  # what is cut off is the note
            self.progress.update(self.rows[meter], completed=meter.done, state=state)
        with suppress(OSError, ValueError):  # the terminal has gone
            self.progress.refresh()

    def stop(self) -> None:
        with suppress(OSError, ValueError):
            self.progress.stop()


def line(phases: Sequence[Meter], now: float) -> str:
    """The phases in one line, the outermost first:
    "probe: 2 of 7 conditions; measuring hardened under RandomMask(0.5): 600 of 1,000 answers, 130 a second, about 0:12
    left". The rate is that of the innermost that counts; the time that is left is that of the outermost.
    """
    shown = _telling(phases)
    rated = next((meter for meter in reversed(shown) if meter.done > meter.start), None)
    parts = []
    for meter in shown:
        words = ", ".join([*_words(meter, now, rated=meter is rated, last=meter is shown[-1]), *_noted(meter)])
        parts.append(f"{meter.label}: {words}" if words else meter.label)
    return ", ".join(["; ".join(parts), *_left(phases, now)])


def _telling(phases: Sequence[Meter]) -> list[Meter]:
    """Without those around others that have nothing to say but their name."""
    last = len(phases) - 1
    return [m for i, m in enumerate(phases) if i == last or m.total is not None or m.note or m.done > m.start]


def _words(meter: Meter, now: float, *, rated: bool, last: bool) -> list[str]:
    counted, moved = meter.total is not None, meter.done > meter.start
    words = []
    if counted or moved:
        words.append(f"{meter.done:,} of {meter.total:,} {meter.unit}" if counted else f"{meter.done:,} {meter.unit}")
    if rated and moved and now > meter.since:
        words.append(_rate((meter.done - meter.start) / (now - meter.since)))
    if last and not moved:
        words.append(f"for {_span(now - meter.since)}")
    return words


def _noted(meter: Meter) -> list[str]:
    return [meter.note] if meter.note else []


def _left(phases: Sequence[Meter], now: float) -> list[str]:
    """How long the outermost phase that counts will take, if it goes on as it went."""
    counted = [meter for meter in phases if meter.total]
    if not counted:
        return []
    meter, reached = counted[0], _reached(counted)
    total, moved = meter.total or 0, reached - meter.start
    if moved <= 0 or reached > total or moved < min(_FEW, total / 20):
        return []
    return [f"about {_span((now - meter.since) / moved * (total - reached))} left"]


def _reached(counted: Sequence[Meter]) -> float:
    """Units of the first phase that are done: those it has counted, and what the one inside has of a further one."""
    meter, *inside = counted
    share = _reached(inside) / (inside[0].total or 1) if inside else 0.0
    return min(meter.done + min(share, 1.0), max(meter.total or 0, meter.done))


def _rate(per_second: float) -> str:
    if per_second < 1:
        return f"{60 * per_second:.2g} a minute"
    return f"{per_second:,.0f} a second" if per_second >= 10 else f"{per_second:.1f} a second"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _plain(text: str) -> str:
    """On one line, nothing that a terminal would take for a command, and not too long."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return printable if len(printable) <= _LABEL else f"{printable[: _LABEL - 4]} ..."


def _on_terminal() -> bool:
    with suppress(ValueError, AttributeError):  # closed, or there is none
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return False


def _print(text: str) -> None:
    with suppress(OSError, ValueError):  # the reader has gone: the work goes on
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")  # in one piece: other processes write there, too
            sys.stderr.flush()


_teller = _Teller()
atexit.register(_teller.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_teller.lock.acquire, after_in_parent=_teller.lock.release, after_in_child=_teller.forked
    )
