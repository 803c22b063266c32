"""Only regular files are opened: a named pipe, a socket or a device could block a reader, or feed it, for ever."""

import os
import stat
from pathlib import Path

from weatherproof.errors import InputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_regular(path: str | Path) -> bool:
    """Whether a regular file is there, at the end of all links."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return False


def irregular(path: str | Path) -> str | None:
    """What a path is where it is no regular file: "a folder", "a named pipe", ...; None for a regular file.

    Raises:
        OSError: nothing is there, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116  # a Path for each of a million images takes longer than the look
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "of an unknown kind")


def regular_file(path: str | Path, what: str = "a file") -> Path:
    """The path itself, which may be opened.

    Args:
        path: of a file that the user named.
        what: was expected, for the message.

    Raises:
        InputError: nothing is there, or no regular file.
    """
    try:
        kind = irregular(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {str(path)!r}: expected {what} ({reason})") from None
    if kind is not None:
        raise InputError(f"{str(path)!r} is {kind}: expected {what}, a regular file")
    return Path(path)
