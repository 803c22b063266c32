"""What Pillow and libtiff say of images while they are decoded: one text an image, from any thread, instead of hundreds
of lines without a file name.

Pillow warns, logs, and leaves it to libtiff to write to the standard error stream. While somebody listens, each of them
is kept for the file that the thread is busy with.
"""

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from PIL import _imaging

_BUSY = threading.local()  # .path: the file that this thread decodes
_LOCK = threading.Lock()
_HEARD: dict[str, str] = {}  # by path, the first that was said
_LISTENERS: list[ExitStack] = []  # one stack for all who listen at the same time; the last to leave closes it
_COUNT = [0]


@contextmanager
def speaking_of(path: str) -> Iterator[None]:
    """Inside, what is said in this thread is about this file."""
    before = getattr(_BUSY, "path", None)
    _BUSY.path = path
    try:
        yield
    finally:
        _BUSY.path = before


@contextmanager
def listening(*paths: str) -> Iterator[dict[str, str]]:
    """What is said of these files until the end of the block, the first of each: filled in then.

    Several threads may listen at the same time; Python's warnings are set aside from the first to the last of them.
    """
    heard: dict[str, str] = {}
    with _LOCK:
        if not _COUNT[0]:
            _LISTENERS.append(_set_up())
        _COUNT[0] += 1
    try:
        yield heard
    finally:
        with _LOCK:
            _COUNT[0] -= 1
            if not _COUNT[0]:
                _LISTENERS.pop().close()
            heard.update((path, _HEARD.pop(path)) for path in _mine(paths))


def _mine(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path in _HEARD] if _HEARD else []


def _set_up() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    for category in (UserWarning, RuntimeWarning):  # of libraries' hints for developers, nothing changes
        warnings.simplefilter("always", category)
    show = warnings.showwarning

    def keep_warning(message: Warning | str, *about: Any, **more: Any) -> None:
        if not _keep(str(message)):
            show(message, *about, **more)

    warnings.showwarning = keep_warning
    logger, handler = logging.getLogger("PIL"), _Handler(logging.WARNING)
    logger.addHandler(handler)
    stack.callback(logger.removeHandler, handler)
    if _libtiff is not None:
        before = _libtiff.TIFFSetErrorHandler(_from_libtiff)
        stack.callback(_libtiff.TIFFSetErrorHandler, ctypes.cast(before, _ErrorHandler))
    return stack


def _keep(text: str) -> bool:
    path = getattr(_BUSY, "path", None)
    if path is not None:
        _HEARD.setdefault(path, " ".join(text.split()))
    return path is not None


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _keep(record.getMessage())


# void handler(const char *module, const char *format, va_list): the last is left alone, it differs by machine.
_ErrorHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


@_ErrorHandler
def _from_libtiff(module: bytes | None, text: bytes | None, _: int | None) -> None:
    _keep(f"{(module or b'libtiff').decode(errors='replace')}: {(text or b'').decode(errors='replace')}")


_libtiff: ctypes.CDLL | None = None
with suppress(OSError, AttributeError):  # where libtiff is part of Pillow's own binary, it says what it says
    _library = ctypes.CDLL(_imaging.__file__)
    _library.TIFFSetErrorHandler.restype = ctypes.c_void_p
    _library.TIFFSetErrorHandler.argtypes = [_ErrorHandler]
    _libtiff = _library
