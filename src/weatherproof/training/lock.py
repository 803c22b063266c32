"""A folder belongs to one process at a time."""

import os
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from weatherproof.errors import InputError
from weatherproof.files import disk_errors


class InUseError(InputError):
    """Another process has the folder."""


class Lock:
    """An open file that the system has locked for this process, until nobody holds this object any more.

    A record lock (lockf), not flock: that one would live on in loader workers that outlive a killed run for seconds.
    Record locks belong to the process, and closing any handle of the file ends them, so a process has one per folder.
    """

    def __init__(self, handle: int) -> None:
        finalize(self, os.close, handle)


_held: WeakValueDictionary[Path, Lock] = WeakValueDictionary()


def hold(folder: Path) -> Lock | None:
    """The folder's lock; None where the system has no such locks. A killed process leaves none behind.

    Raises:
        InUseError: another process has it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = folder.resolve() / ".lock"
    if file in _held:
        return _held[file]
    with disk_errors(file):
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
    except (BlockingIOError, PermissionError):
        holder = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        who = f"process {holder}" if holder else "another process"
        raise InUseError(f"{folder} is in use by {who}: wait for it, or choose another --out") from None
    except OSError:  # a file system without locks, or a full one: the lock is a courtesy
        os.close(handle)
        return None
    lock = _held[file] = Lock(handle)
    return lock
