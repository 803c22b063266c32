"""Signals that ask this process to stop: Ctrl-C, SIGTERM, and SIGUSR1, which SLURM sends before a time limit."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # elsewhere than on POSIX there are two
_UNHEARD = (signal.default_int_handler, signal.SIG_DFL)
TOO_EARLY = "stopped; nothing was done yet"


def number_of(error: KeyboardInterrupt) -> int:
    """The signal that has brought this about."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else signal.SIGINT


@contextmanager
def interrupts_noticed(once: bool = False) -> Iterator[Callable[[], int | None]]:
    """Inside, a signal that asks to stop is a `KeyboardInterrupt`, as Ctrl-C ever is; what is given says which one
    came, or None.

    Where it comes while an extension calls back into Python, the extension may clear it and raise an error of its own
    ("could not determine the shape of object type ..."), which would blame a file that is whole.

    Args:
        once: further signals do nothing: a launcher passes on the one that each process has got already.
    """
    came: int | None = None

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal came
        if once and came is not None:
            return
        came = number
        raise KeyboardInterrupt(number)

    with _heard_by(note):
        yield lambda: came


@contextmanager
def leaving() -> Iterator[None]:
    """Inside, a signal that asks to stop ends the program at once: a library that is being imported may swallow an
    exception, or make another one of it, and there is nothing yet to take care of."""
    with _heard_by(_leave):
        yield


def _leave(number: int, _frame: FrameType | None) -> None:
    os.write(2, f"weatherproof: {TOO_EARLY}\n".encode())
    os._exit(128 + number)


@contextmanager
def _heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, the signals to which nobody listens go to the handler; all of them in the main thread, else none."""
    in_main = current_thread() is main_thread()
    before = {number: own for number in STOPPING if in_main and (own := signal.getsignal(number)) in _UNHEARD}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Inside, Ctrl-C does nothing here, nor in the processes that are started: they inherit it."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
