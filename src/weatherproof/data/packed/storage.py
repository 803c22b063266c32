"""Where packed files lie: on a disk, or behind an address that fsspec reads. Bytes by file, place and length."""

import glob
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from weatherproof.errors import InputError, shown
from weatherproof.names import printable
from weatherproof.regular import irregular
from weatherproof.texts import path_of

MOST_FILES = 1_000_000  # that a pattern may stand for
_MOST_OPEN = 64  # files that a process keeps open
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_MAGIC = re.compile(r"[*?\[]")


@runtime_checkable
class Storage(Protocol):
    """Files by their paths, read in parts from any thread and process."""

    def find(self, pattern: str) -> list[str]:
        """The files that match, sorted. A folder is not one of them."""

    def find_in(self, folder: str, pattern: str) -> list[str]:
        """The files of a folder that match, sorted. The folder's own name is no pattern."""

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    def where(self, path: str) -> str:
        """The path as it is from anywhere."""

    def size(self, path: str) -> int:
        """Bytes. Raises `InputError` where it cannot be looked at."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """These bytes, fewer where the file ends. Raises `InputError` where they cannot be read."""

    def open(self, path: str) -> BinaryIO:
        """The file from its start, to be closed by the caller. Raises `InputError`."""


def storage_of(pattern: str) -> tuple[Storage, str]:
    """Who reads a pattern, and what it is called there. An address has "://" in it."""
    if "://" in pattern:
        return _remote(pattern)
    return LocalFiles(), str(path_of(pattern))


def braces(pattern: str) -> Iterator[str]:
    """What the braces of a pattern stand for, as a shell expands them: {a,b} and {000..099}.

    >>> list(braces("x-{08..10}.{tar,tgz}"))
    ['x-08.tar', 'x-08.tgz', 'x-09.tar', 'x-09.tgz', 'x-10.tar', 'x-10.tgz']

    Raises:
        InputError: more than a million files.
    """
    try:
        found = _expanded(pattern)
    except (OverflowError, ValueError):  # numbers of thousands of digits
        raise InputError(f"{shown(pattern)} has more digits than any pattern needs") from None
    if len(found) > MOST_FILES:
        raise InputError(f"{shown(pattern)} stands for more than {MOST_FILES:,} files")
    return iter(found)


def _expanded(pattern: str) -> list[str]:
    """All, or a few more than can be too many."""
    found, start, opening = [""], 0, pattern.find("{")
    while opening >= 0:
        closing = _closing(pattern, opening)
        choices = _choices(pattern[opening + 1 : closing]) if closing > 0 else None
        if choices is None:
            opening = pattern.find("{", opening + 1)
            continue
        if len(found) * len(choices) > MOST_FILES:
            return found * (MOST_FILES + 1) if len(found) == 1 else found * (MOST_FILES // len(found) + 1)
        before = pattern[start:opening]
        found = [head + before + choice for head in found for choice in choices]
        start, opening = closing + 1, pattern.find("{", closing + 1)
    return [head + pattern[start:] for head in found]


def _closing(pattern: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(pattern)):
        depth += (pattern[place] == "{") - (pattern[place] == "}")
        if depth == 0:
            return place
    return -1


def _choices(inside: str) -> list[str] | None:
    """What one pair of braces stands for; None where they are letters like others."""
    if found := _RANGE.fullmatch(inside):
        low, high, step = int(found[1]), int(found[2]), abs(int(found[3] or 1)) or 1
        padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-")[0] == "0" for text in found.group(1, 2))
        width = max(map(len, found.group(1, 2))) if padded else 0
        numbers = range(low, high + 1, step) if low <= high else range(low, high - 1, -step)
        return [f"{i:0{width}}" for i in numbers[: MOST_FILES + 1]]
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inside):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(inside[start:place])
            start = place + 1
    if not parts:
        return None
    return [choice for part in [*parts, inside[start:]] for choice in _expanded(part)]


class _Opened:
    """A file descriptor that closes when the last who uses it lets go."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class LocalFiles:
    """Files on a disk. A process keeps the 64 open that it read last."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, _: object) -> None:
        self.__init__()  # type: ignore[misc]

    def find(self, pattern: str) -> list[str]:
        """See `Storage`."""
        found: set[str] = set()
        for name in braces(pattern) if not os.path.exists(pattern) else [pattern]:  # noqa: PTH110 - a million of them
            literal = os.path.exists(name) or not _MAGIC.search(name)  # noqa: PTH110
            found |= {name} if literal else set(glob.iglob(name, recursive=True))  # noqa: PTH207
        return sorted(name for name in found if not os.path.isdir(name))  # noqa: PTH112

    def find_in(self, folder: str, pattern: str) -> list[str]:
        """See `Storage`."""
        found = glob.iglob(pattern, root_dir=folder)  # noqa: PTH207
        return sorted(path for name in found if not os.path.isdir(path := os.path.join(folder, name)))  # noqa: PTH112, PTH118

    def is_folder(self, path: str) -> bool:
        """See `Storage`."""
        return os.path.isdir(path)  # noqa: PTH112 - a name that is too long is none

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        return os.path.exists(path)  # noqa: PTH110 - as above

    def where(self, path: str) -> str:
        """See `Storage`."""
        return os.path.realpath(path or ".")

    def size(self, path: str) -> int:
        """See `Storage`."""
        with _reading(path):
            about = os.stat(path)  # noqa: PTH116 - of ten thousand shards
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{printable(path)} is {irregular(path)}, no regular file")
            return about.st_size

    def read(self, path: str, start: int, length: int) -> bytes:
        """See `Storage`."""
        with _reading(path):
            opened = self._opened(path)
            parts, left = [], length
            while left > 0:
                part = _read_at(opened.number, left, start + length - left, self._lock)
                if not part:
                    break
                parts.append(part)
                left -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        self.size(path)
        with _reading(path):
            return Path(path).open("rb")

    def _opened(self, path: str) -> _Opened:
        with self._lock:
            if path in self._open:
                self._open.move_to_end(path)
            else:
                self._open[path] = _Opened(path)
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            return self._open[path]


def _read_at(number: int, length: int, start: int, lock: threading.Lock) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(number, length, start)
    with lock:  # Windows
        os.lseek(number, start, os.SEEK_SET)
        return os.read(number, length)


class RemoteFiles:
    """Files behind an address, by a file system of fsspec."""

    def __init__(self, system: Any) -> None:
        self._system = system
        self._sizes: dict[str, int] = {}

    def find(self, pattern: str) -> list[str]:
        """See `Storage`."""
        found: set[str] = set()
        names = list(braces(pattern))
        if len(names) > 1:
            for folder in {above(name) for name in names if not _MAGIC.search(name)}:
                with suppress(Exception):  # not every address can be listed; then each file is asked for its size
                    self._note(self._system.ls(folder, detail=True))
        with _reading(pattern):
            for name in names:
                found |= self._glob(name) if _MAGIC.search(name) else {name}
        return sorted(found)

    def find_in(self, folder: str, pattern: str) -> list[str]:
        """See `Storage`."""
        with _reading(folder):
            return sorted(self._glob(f"{folder}/{pattern}"))

    def _glob(self, pattern: str) -> set[str]:
        found = self._system.glob(pattern, detail=True)
        self._note(found.values())
        return {name for name, about in found.items() if about.get("type") != "directory"}

    def _note(self, files: Iterable[Mapping[str, Any]]) -> None:
        self._sizes |= {about["name"]: int(about["size"]) for about in files if about.get("size") is not None}

    def is_folder(self, path: str) -> bool:
        """See `Storage`."""
        with _reading(path):
            return bool(self._system.isdir(path))

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        with _reading(path):
            return path in self._sizes or bool(self._system.exists(path))

    def where(self, path: str) -> str:
        """See `Storage`."""
        return str(self._system.unstrip_protocol(path))

    def size(self, path: str) -> int:
        """See `Storage`."""
        if path not in self._sizes:
            with _reading(path):
                self._sizes[path] = int(self._system.size(path))
        return self._sizes[path]

    def read(self, path: str, start: int, length: int) -> bytes:
        """See `Storage`."""
        with _reading(path):
            return bytes(self._system.cat_file(path, start=start, end=start + length))

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        with _reading(path):
            opened: BinaryIO = self._system.open(path, "rb")
            return opened


def _remote(pattern: str) -> tuple[Storage, str]:
    import fsspec  # it comes with torch; what it reads beyond files and http is its own matter

    try:
        system, path = fsspec.core.url_to_fs(pattern)
    except (ImportError, ValueError) as error:
        raise InputError(f"{shown(pattern)} cannot be read by fsspec: {error}") from None
    return RemoteFiles(system), str(path)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Inside, what a file system raises becomes an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any kind, from the libraries behind an address
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise InputError(f"cannot read {printable(path)}: {reason}") from error


def above(path: str) -> str:
    """The folder of a file."""
    return path.rpartition("/")[0] if "/" in path else os.path.dirname(path)  # noqa: PTH120 - an address is no path


def name_in(path: str) -> str:
    """The file's own name."""
    return path.rpartition("/")[2] if "/" in path else os.path.basename(path)  # noqa: PTH119 - as above
