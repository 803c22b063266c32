"""A job of several processes, as its first one has it: the others, and work that is done with all of them."""

import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from weatherproof.cluster.joining import Other, facts, first_of, others_of, patience, store_of
from weatherproof.cluster.place import Place
from weatherproof.cluster.wire import receive
from weatherproof.errors import Failure, InputError, one_line

if TYPE_CHECKING:
    from torch.distributed import Store

_GRACE = 10.0  # seconds in which an error of this process may turn out to be another one's end
_STUCK = 60.0  # seconds after another one's end in which this process has to notice; NCCL would wait for minutes
_CHUNK = 64 << 20  # bytes of a broadcast


class Lost(Failure):
    """A process of the job has ended, or failed, in the middle of common work. One line: which, and what to do."""


def process_group(place: Place, store: "Store", seconds: float = 1800.0) -> None:
    """Make torch's default process group of all processes of the job, gloo and where there are GPUs NCCL too, unless it
    is there; this process's GPU is then the current one. Each of them has to call it."""
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(
        backend, store=distributed.PrefixStore("group", store), rank=place.rank, world_size=place.world,
        timeout=timedelta(seconds=seconds),
    )  # fmt: skip


def joined(place: Place, seconds: float | None = None) -> None:
    """Meet all processes of the job and make torch's process group of them, for whoever wants that alone.

    Raises:
        InputError: they do not all come within that time, by default `patience()`.
    """
    limit = patience() if seconds is None else seconds
    store = store_of(place, limit)
    if place.first:
        others_of(place, store, {}, limit)
    else:
        first_of(place, store, {}, limit)
    process_group(place, store)


class Job:
    """The job of this process, which is its first one, or another one that takes part in common work.

    Attributes:
        place: of this process.
        others: for the first one, those that are there.
        lost: for the first one, those that have ended.
    """

    def __init__(self, place: Place, store: "Store", others: Sequence[Other] = ()) -> None:
        self.place, self.store = place, store
        self.others, self.lost = list(others), list[Other]()
        self.broken = False

    @property
    def world(self) -> int:
        return self.place.world

    def lose(self, other: Other) -> None:
        """The other one has ended."""
        self.others.remove(other)
        self.lost.append(other)
        other.connection.close()

    @contextmanager
    def together(self, task: Callable[[], object]) -> Iterator[None]:
        """Inside, each other process does `task()`, in which this one takes part by torch's process group.

        Raises:
            InputError: the task cannot be sent, or another process has refused it.
            Lost: one of them has ended or failed, now or before.
        """
        if self.lost or self.broken:
            who = f"{self.lost[0]} of {self.world} has ended" if self.lost else "earlier work of the job has failed"
            raise Lost(f"{who}, and training needs all processes: start the same command again")
        content = packed(task)
        for other in self.others:
            _send(other, ("together", len(content)))
        ears = _Ears(self.others)
        self.broken = True
        try:
            with self._named(ears):
                process_group(self.place, self.store)
                broadcast(content)
                del content  # as large as the model, and a checkpoint
                yield
            with self._named(ears):
                ears.wait_for_all()
        finally:
            ears.close()
        self.broken = False

    @contextmanager
    def _named(self, ears: "_Ears") -> Iterator[None]:
        """An error that another process's end has brought about is named as that, and so is a launcher's SIGTERM."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, InputError | Failure):
                raise
            reason = ears.trouble(0.5 if isinstance(error, KeyboardInterrupt) else _GRACE)
            if reason is None:
                raise
            raise reason from error

    def end(self, status: int) -> None:
        """Let the others go; they exit with this status."""
        for other in self.others:
            with suppress(OSError):
                other.connection.send(("end", status))
            other.connection.close()
        if not self.broken:
            leave_group()


class _Ears:
    """Listens to the others, in a thread, while this process is busy with common work."""

    def __init__(self, others: Sequence[Other]) -> None:
        self.waited = {other.connection: other for other in others}
        self.error: InputError | Lost | None = None
        self.changed = threading.Condition()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._listen, name="other processes", daemon=True)
        self.thread.start()

    def trouble(self, seconds: float) -> InputError | Lost | None:
        """What has befallen another process, or does so within that time."""
        with self.changed:
            self.changed.wait_for(lambda: self.error is not None, seconds)
            return self.error

    def wait_for_all(self) -> None:
        """Until all have done their part. Raises what one of them has come to."""
        with self.changed:
            self.changed.wait_for(lambda: self.error is not None or not self.waited)
            if self.error is not None:
                raise self.error

    def close(self) -> None:
        self.closed.set()
        self.thread.join()

    def _listen(self) -> None:
        while self.waited and not self.closed.is_set():
            for connection in cast(list[Connection], wait(list(self.waited), 0.2)):
                error = _ended(connection, self.waited[connection])
                with self.changed:
                    del self.waited[connection]
                    self.error = self.error or error
                    self.changed.notify_all()
            if self.error is not None:
                break
        if self.error is not None and not self.closed.wait(_STUCK):
            leave(str(self.error), 2)


def _ended(connection: Connection, other: Other) -> InputError | Lost | None:
    try:
        message, _ = receive(connection)
    except EOFError:
        return Lost(
            f"{other} has ended in the middle of the training; the same command goes on from the last checkpoint"
        )
    if message["kind"] == "done":
        return None
    return InputError(message["why"]) if message["input"] else Lost(message["why"])


def leave(message: str, status: int) -> None:
    """End this process at once, with a line: it waits for one that is no more, where no exception reaches it."""
    with suppress(OSError, ValueError):
        print(f"weatherproof: {one_line(message)}", file=sys.stderr, flush=True)
    os._exit(status)


def leave_group() -> None:
    """End torch's process group, where there is one."""
    from torch import distributed

    if distributed.is_initialized():
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def packed(task: object) -> bytes:
    """A task as bytes, for the other processes. Raises `InputError` where it cannot be sent."""
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"this model or these images cannot be sent to the other processes of the job: {error}; use one process"
        ) from None


def broadcast(buffer: bytes | bytearray) -> None:
    """The first process's bytes, in the buffers of all the others, which are as long."""
    import torch
    from torch import distributed

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")  # the first one's is only read
        every = torch.frombuffer(buffer, dtype=torch.uint8)
    for part in every.split(_CHUNK):
        distributed.broadcast(part, 0)


def _send(other: Other, message: tuple[Any, ...]) -> None:
    try:
        other.connection.send(message)
    except OSError:
        raise Lost(f"{other} has ended: start the same command again, it goes on where it was") from None


_current: ContextVar[Job | None] = ContextVar("job", default=None)


def job() -> Job | None:
    """The job that this process takes part in; None where it works alone."""
    return _current.get()


@contextmanager
def taking_part(own: Job) -> Iterator[None]:
    """Inside, `job()` is this one."""
    token = _current.set(own)
    try:
        yield
    finally:
        _current.reset(token)


def join(place: Place, argv: Sequence[str]) -> tuple[Job, Connection | None]:
    """Meet the other processes of the job. Returns it and, for all but the first, the connection to the first.

    Args:
        argv: the command, which has to be the same everywhere.

    Raises:
        InputError: one of them is not there in time, or is unlike the first.
    """
    seconds, about = patience(), facts(argv)
    store = store_of(place, seconds)
    if place.first:
        return Job(place, store, others_of(place, store, about, seconds)), None
    return Job(place, store), first_of(place, store, about, seconds)
