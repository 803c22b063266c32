"""Work shared out over the processes of a job, block by block: the first one hands them out and keeps the answers, and
does blocks itself. So nobody else needs the folder, and a process that ends loses what it has not sent of one block.
"""

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch

from weatherproof.cluster import Job, Lost
from weatherproof.cluster.job import packed
from weatherproof.cluster.joining import Other
from weatherproof.cluster.serving import Guest
from weatherproof.cluster.wire import receive, send
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers, BlockMemory, from_bytes, to_bytes
from weatherproof.evaluation.engine.work import Work

_PATIENCE = 20.0  # seconds in which processes that are told to stop end their condition and send what they have


def run_over_ranks(work: Work, job: Job, report: Callable[[int], None]) -> None:
    """`work.run(report)`, shared out over the processes of a job. Another process that ends costs what it has not sent
    of its block, which is done again, and a warning.

    Raises:
        InputError: the work cannot be sent, or what a trial refuses.
        Lost: another process has failed.
    """
    left = deque(work.unfinished_blocks)
    if len(left) < 2 or not job.others:
        work.run(report)
        return
    lender = _Lender(work, job, left, report)
    try:
        while (number := lender.take()) is not None:
            replace(work, numbers=[number]).run(report, wanted=lambda: lender.error is None)
    finally:
        lender.close()
    if lender.error is not None:
        raise lender.error


class _Lender:
    """Hands blocks out, in a thread, and takes the answers.

    Attributes:
        error: what another process has come to.
    """

    def __init__(self, work: Work, job: Job, left: deque[int], report: Callable[[int], None]) -> None:
        self.work, self.job, self.left, self.report = work, job, left, report
        self.error: InputError | Lost | None = None
        self.busy: dict[Connection, int] = {}  # the block that each one does
        self.others = {other.connection: other for other in job.others}
        self.changed = threading.Condition()
        self.stopping = False
        content = packed(partial(_help, _sent(work)))
        self.thread = threading.Thread(target=self._lend, args=(content,), name="blocks", daemon=True)
        self.thread.start()

    def take(self) -> int | None:
        """A block for this process; None where none is left, and none may come back from one that ends."""
        with self.changed:
            while True:
                if self.error is not None or self._late():
                    return None
                if self.left:
                    return self.left.popleft()
                if not self.busy:
                    return None
                self.changed.wait(1.0)

    def close(self) -> None:
        """Tell the others to stop, and wait for what they have."""
        with self.changed:
            self.stopping = True
        self.thread.join(_PATIENCE + 5)
        for other in list(self.others.values()):  # it does not answer, and can do nothing more for this one
            self.job.lose(other)

    def _late(self) -> bool:
        return self.work.deadline is not None and time.time() >= self.work.deadline

    def _lend(self, content: bytes) -> None:
        try:
            self._lend_all(content)
        except Exception as error:
            self._failed(Lost(f"handing out the measurement failed: {type(error).__name__}: {error}"))

    def _failed(self, error: InputError | Lost) -> None:
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()

    def _lend_all(self, content: bytes) -> None:
        for other in list(self.others.values()):
            self._send(other, ("alone", content))
            self._next(other)
        informed, ends = False, float("inf")
        while self.others:
            if self.stopping and not informed:
                informed, ends = True, time.monotonic() + _PATIENCE
                for other in list(self.others.values()):
                    self._send(other, None)
            if time.monotonic() > ends:
                break
            for connection in cast(list[Connection], wait(list(self.others), 0.1)):
                self._hear(self.others[connection])

    def _hear(self, other: Other) -> None:
        try:
            message, content = receive(other.connection)
        except EOFError:
            self._lost(other)
            return
        if message["kind"] == "report":
            self.report(message["count"])
        elif message["kind"] == "answers":
            try:
                self.work.store.write(message["number"], from_bytes(content))
            except InputError as error:  # a full disk
                self._failed(error)
        elif message["kind"] == "block":
            with self.changed:
                number = self.busy.pop(other.connection, None)
                if not message["whole"] and number is not None:
                    self.left.append(number)
                self.changed.notify_all()
            if message["whole"]:
                self._next(other)
        elif message["kind"] == "over":
            del self.others[other.connection]
        elif message["kind"] == "refused":
            self._failed(InputError(message["why"]) if message["input"] else Lost(message["why"]))
            self._lost(other, informed=True)

    def _next(self, other: Other) -> None:
        """Give the other one a block, where there is one for it."""
        with self.changed:
            if self.stopping or self.error is not None or not self.left or self._late():
                return
            number = self.busy[other.connection] = self.left.popleft()
        self._send(other, (number, self.work.store.read(number)))

    def _send(self, other: Other, message: tuple[Any, ...] | None) -> None:
        if other.connection not in self.others:
            return
        with suppress(OSError):  # it is heard of its end
            other.connection.send(message)

    def _lost(self, other: Other, informed: bool = False) -> None:
        del self.others[other.connection]
        with self.changed:
            number = self.busy.pop(other.connection, None)
            if number is not None:
                self.left.append(number)
            self.changed.notify_all()
        if not informed:
            again = "its block is measured again" if number is not None else "the others go on"
            warnings.warn(f"{other} has ended in the middle of the measurement: {again}", UserWarning, stacklevel=2)
        self.job.lose(other)


def _sent(work: Work) -> Work:
    """The work as another process gets it: its models on the CPU, no answers, and the time that is left."""
    left = None if work.deadline is None else work.deadline - time.time()
    return replace(work.on_cpu(), store=BlockMemory(), deadline=left)


@dataclass(frozen=True)
class _Sending:
    """What is kept of one block, at the first process."""

    guest: Guest
    known: dict[str, Answers]

    def read(self, number: int) -> dict[str, Answers]:
        return dict(self.known)

    def write(self, number: int, answers: Mapping[str, Answers]) -> None:
        send(self.guest.connection, "answers", to_bytes(answers), number=number)


def _help(work: Work, job: Job, guest: Guest) -> None:
    """Another process's part: blocks, one after the other, until the first one says that it is enough."""
    device = work.device
    if device.type == "cuda":
        device = torch.device("cuda", job.place.local_rank % torch.cuda.device_count())
    deadline = None if work.deadline is None else time.time() + work.deadline
    work = replace(work, device=device, deadline=deadline)
    while True:
        message = guest.receive()
        if message is None:
            send(guest.connection, "over")
            return
        number, known = message
        stopped = False

        def wanted() -> bool:
            nonlocal stopped
            stopped = stopped or guest.leaving or guest.connection.poll()  # it speaks now only to say: stop
            return not stopped

        own = replace(work, numbers=[number], store=_Sending(guest, known))
        own.run(lambda count: send(guest.connection, "report", count=count), wanted)
        send(guest.connection, "block", number=number, whole=not stopped)
        if guest.leaving:
            return
