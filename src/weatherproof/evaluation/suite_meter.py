"""How far a suite is, on standard error: a bar on a terminal, a line a minute elsewhere."""

import sys
import time
from typing import Any

_LINE_SECONDS = 60.0  # a short suite prints none


class SuiteMeter:
    """A context manager; `update(images)` after each condition of a block.

    Args:
        label: what is being done.
        done: images under conditions that an earlier run has answered.
        total: images under conditions altogether.
    """

    def __init__(self, label: str, done: int, total: int) -> None:
        self._label, self._done, self._start, self._total = label, done, done, total
        self._began = self._printed = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "SuiteMeter":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(self._label, completed=self._done, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, images: int) -> None:
        """So many images more have been answered under one condition."""
        self._done += images
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif now - self._printed >= _LINE_SECONDS:
            self._printed = now
            rate = (self._done - self._start) / (now - self._began)
            share, left = self._done / self._total, (self._total - self._done) / rate / 60
            said = f"{self._label}: {share:.0%} of {self._total:,} images, {rate:,.0f} a second"
            print(f"{said}, about {left:.0f} minutes left", file=sys.stderr, flush=True)
