"""Files that are there whole or not at all, whatever happens while they are written."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from weatherproof.errors import InputError
from weatherproof.names import utf8

_FULL = (errno.ENOSPC, errno.EDQUOT)
OF_THE_DISK = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)  # and of no network
Need = int | Callable[[], int]  # bytes, or what counts them once the disk is full


def own_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for what can be made again: `~/.cache/weatherproof`, moved by XDG_CACHE_HOME."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weatherproof"


@contextmanager
def replacing(path: Path, size: Need = 0) -> Iterator[BinaryIO]:
    """A new file, written beside `path`, that takes its place when the block ends well; else `path` stays as it was.

    The file is on the disk before it takes the place, and the place before the block ends (fsync of both), so a power
    cut leaves the old file or the new one. One writer at a time: a killed one's leavings are overwritten by the next.

    Args:
        path: the file.
        size: bytes that are about to be written, for the message; or what counts them when it is asked.

    Raises:
        InputError: the disk is full or refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with disk_errors(path, size):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a whole file, in a folder that is made where it is missing, as `replacing` does. Returns the path."""
    data = utf8(content) if isinstance(content, str) else content
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, len(data)) as file:
        file.write(data)
    return path


@contextmanager
def disk_errors(path: Path, size: Need = 0) -> Iterator[None]:
    """Inside, what the disk refuses becomes an `InputError` that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        if refusal.errno in _FULL:
            raise InputError(
                f"no space left on the disk of {path}: {_need(size() if callable(size) else size)}free some space and "
                "run the same command again"
            ) from error
        raise InputError(f"cannot write {path}: {refusal.strerror}") from error


def _need(size: int) -> str:
    """What is said of the bytes that are needed; "" where nobody knows."""
    if not size:
        return ""
    unit, name = (2**20, "MB") if size >= 2**20 else (2**10, "kB")
    return f"need about {max(1, round(size / unit)):,} {name}; "


def _refusal(error: BaseException) -> OSError | None:
    """The disk's own error, also where torch.save has wrapped it in one of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _sync_folder(folder: Path) -> None:
    """Make a rename last. Not every file system has this; those that do not need none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
