"""What all processes of a job but the first do: wait for work, do it, and end with the first."""

import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from weatherproof import progress
from weatherproof.cluster.job import Job, broadcast, leave, leave_group, process_group, taking_part
from weatherproof.cluster.joining import REFUSED
from weatherproof.cluster.wire import ended_as_eof, send
from weatherproof.errors import Failure, InputError, one_line
from weatherproof.interrupts import STOPPING

_GRACE = 5.0  # seconds in which work that the first process has left comes to an end by itself


@dataclass
class Guest:
    """This process's end of the connection to the first one.

    Attributes:
        leaving: a signal has asked this process, perhaps alone, to end.
    """

    connection: Connection
    leaving: bool = field(default=False)

    def note(self, _number: int, _frame: FrameType | None) -> None:
        self.leaving = True

    def receive(self) -> Any:
        """What the first process sends next. Raises `EOFError` where it has ended."""
        return ended_as_eof(self.connection.recv)


def serve(own: Job, connection: Connection) -> int:
    """Do what the first process asks for until it ends, and return the exit status, which is its own."""
    guest = Guest(connection)
    progress.hush()
    warnings.simplefilter("ignore")
    with taking_part(own), _signals_noted(guest):
        try:
            while True:
                kind, *content = guest.receive()
                if kind == "end":
                    leave_group()
                    return int(content[0])
                if kind == REFUSED:
                    print(f"weatherproof: {one_line(content[0])}", file=sys.stderr)
                    return 2
                status = (_together if kind == "together" else _alone)(own, guest, content[0])
                if status is not None:
                    return status
        except EOFError:
            print(f"weatherproof: {own.place}: the first process of the job has ended", file=sys.stderr)
            return 1


def _together(own: Job, guest: Guest, size: int) -> int | None:
    """Take part in common work. Returns a status where the first process has failed."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(guest.connection, over), daemon=True)
    watch.start()

    def work() -> None:
        process_group(own.place, own.store)
        buffer = bytearray(size)
        broadcast(buffer)
        task: Callable[[], object] = pickle.loads(buffer)  # noqa: S301 - from the first process
        del buffer
        task()

    try:
        work()
    except KeyboardInterrupt:
        pass  # all of them have agreed to stop
    except Exception as error:
        if guest.connection.poll():  # the first process has ended, and that was why
            return _farewell(guest)
        _refuse(own, guest, error)
        sys.stderr.flush()
        os._exit(2)  # the others wait for this one's rows until its connections are closed
    finally:
        over.set()
        watch.join()
    send(guest.connection, "done")
    return None


def _watch(connection: Connection, over: threading.Event) -> None:
    """Until the work is over the first process says nothing, unless it has left the work; then this one must, too."""
    while not over.is_set():
        if connection.poll(0.2):
            if not over.wait(_GRACE):
                leave("the first process of the job has ended in the middle of common work", 1)
            return


def _alone(own: Job, guest: Guest, content: bytes) -> int | None:
    """Work that this process does by itself, talking to the first one. Returns a status where it has failed."""
    try:
        task: Callable[[Job, Guest], object] = pickle.loads(content)  # noqa: S301 - from the first process
        task(own, guest)
    except EOFError:
        raise
    except ConnectionError as error:  # the first process has ended
        raise EOFError from error
    except Exception as error:
        _refuse(own, guest, error)
        return _farewell(guest)
    return 143 if guest.leaving else None


def _refuse(own: Job, guest: Guest, error: Exception) -> None:
    """Tell the first process why this one cannot go on."""
    expected = isinstance(error, InputError | Failure)
    why = str(error) if expected else f"{own.place} failed: {type(error).__name__}: {error}"
    if not expected and not isinstance(error, OSError):
        traceback.print_exception(error)
    with suppress(OSError):
        send(guest.connection, "refused", why=why, input=isinstance(error, InputError))


def _farewell(guest: Guest) -> int:
    """Wait for the end of the first process, so that no launcher takes this one's end for the cause of all."""
    with suppress(EOFError):
        while True:
            kind, *content = guest.receive()
            if kind == "end":
                return int(content[0])
    return 1


@contextmanager
def _signals_noted(guest: Guest) -> Iterator[None]:
    """Inside, a signal that asks to stop ends nothing by itself: the first process gets it, too, and decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, guest.note) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
