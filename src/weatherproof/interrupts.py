"""Ctrl-C that a library in C makes another error of."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def interrupts_noticed() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C is a `KeyboardInterrupt` as ever; what is given says whether one came.

    Where it comes while an extension calls back into Python, the extension may clear it and raise an error of its own
    ("could not determine the shape of object type ..."), which would blame a file that is whole.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield lambda: came  # somebody else listens
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
