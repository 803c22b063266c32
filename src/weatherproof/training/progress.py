"""How far a training is, on standard error: a bar on a terminal, an occasional line elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

_LINE_SECONDS = 60.0  # between two lines where there is no terminal; a short training prints none


class Meter:
    """A context manager; `update` after each step costs microseconds and never waits for the device."""

    def __init__(self, label: str, start: int, steps: int, shown: bool) -> None:
        self._label, self._start, self._steps = label, start, steps
        self._bar: Any = None
        self._row: Mapping[str, Any] = {}
        self._began = self._printed = time.monotonic()
        self._lines = shown and not sys.stderr.isatty()
        if shown and not self._lines:
            self._bar, self._task = _bar(label, start, steps)

    def __enter__(self) -> "Meter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, row: Mapping[str, Any] | None = None) -> None:
        """`step` steps are done; `row` is the log's newest line, where there is one."""
        self._row = row or self._row
        if self._bar is not None:
            self._bar.update(self._task, completed=step, state=_state(self._row))
        elif self._lines and time.monotonic() - self._printed >= _LINE_SECONDS:
            self._printed = time.monotonic()
            left = (self._printed - self._began) / max(1, step - self._start) * (self._steps - step)
            state = f"{_state(self._row)}, about {_clock(left)} left"
            print(f"{self._label}: step {step}/{self._steps}, {state}", file=sys.stderr, flush=True)


def _bar(label: str, start: int, steps: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    return bar, bar.add_task(label, completed=start, total=steps, state="")


def _state(row: Mapping[str, Any]) -> str:
    if not row:
        return "loss -"
    return f"epoch {row['epoch']:.1f}, loss {row['loss']:.4g}, {row['images_per_second']:.0f} images/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
