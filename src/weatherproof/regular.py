"""Only regular files are opened: a named pipe, a socket or a device could block a reader, or feed it, for ever."""

import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def irregular(path: str | Path) -> str | None:
    """What a path is where it is no regular file: "a folder", "a named pipe", ...; None for a regular file.

    Raises:
        OSError: nothing is there, or it cannot be looked at.
    """
    mode = Path(path).stat().st_mode
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "of an unknown kind")
