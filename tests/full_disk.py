"""A disk without room, for one file."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        self.room -= len(data) if isinstance(data, str) else memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int, ending: str = "") -> None:
    """From now on each file whose name ends so takes so many bytes and no more."""
    real = Path.open

    def opened(self: Path, *given: Any, **named: Any) -> Any:
        file = real(self, *given, **named)
        return FullDisk(file, room) if self.name.endswith(ending) else file

    monkeypatch.setattr(Path, "open", opened)
