"""Embeddings while they are made: in parts on the disk, from which the same command goes on."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof.data import Batch, ImageSet, batches
from weatherproof.data.files import Decoded
from weatherproof.encoders.layout import quick_convolutions
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers, BlockFiles, pooled
from weatherproof.files import disk_errors, write_atomically
from weatherproof.modes import evaluating
from weatherproof.progress import phase
from weatherproof.texts import Malformed, read_json
from weatherproof.types import Images

SAVE_SECONDS = 30.0  # at most this much work is lost to a kill
MOST_BYTES = 1 << 26  # of a part, and of what is waiting to become one
PROGRESS = "progress.json"
_LABEL = "images"


@dataclass
class Parts:
    """What a look at some images has given, in their order.

    Args:
        folder: where the parts lie.
        plan: what they depend on.
        total: how many images there are.

    Attributes:
        count: of the parts.
        reached: images that were looked at, from the first one on, those that could not be read among them.
        bad: of these the files that could not be read, and why.

    Raises:
        InputError: notes of progress that cannot be read.
    """

    folder: Path
    plan: str
    total: int
    count: int = 0
    reached: int = 0
    bad: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = BlockFiles(self.folder, self.plan)
        try:
            noted = read_json(self.folder / PROGRESS)
            self.count, self.reached, bad = int(noted["parts"]), int(noted["images"]), dict(noted["bad"])
        except FileNotFoundError:
            return
        except (Malformed, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.folder / PROGRESS} cannot be read ({error}): delete {self.folder}") from None
        if noted.get("plan") != self.plan or not 0 <= self.reached <= self.total:
            raise InputError(
                f"{self.folder} holds what another command has begun: choose another --out, or delete that folder"
            )
        self.bad = {str(name): str(reason) for name, reason in bad.items()}

    @property
    def complete(self) -> bool:
        """Whether all images were looked at."""
        return self.reached == self.total

    def make(
        self, eye: Callable[[Images], dict[str, Tensor]], images: ImageSet, *, model: object, batch_size: int,
        device: torch.device, workers: int, deadline: float | None = None,
    ) -> None:  # fmt: skip
        """Look at the images that are left, until the deadline. What was done is kept, whatever ends it.

        Args:
            eye: a batch to named rows, on the CPU.
            model: put into evaluation mode meanwhile.
            deadline: of `time.monotonic()`; one batch is always done.

        Raises:
            InputError: what the eye or the images refuse, or the disk.
        """
        start = self.reached
        waiting, saved = _Waiting(), time.monotonic()
        if self.bad and isinstance(images, Decoded):
            images.bad_files.record(self.bad)
        rest = torch.arange(start, self.total)
        read = iter(batches(images, batch_size, order=rest, device=device, workers=workers))
        waits = phase(f"embedding {images.name}", self.total, done=start)
        with quick_convolutions(model), evaluating(model), waits as meter, _ended(read):
            try:
                for batch in read:
                    waiting.add(Answers(batch.place, eye(batch.images)))
                    last = int(batch.place[-1])
                    waiting.reached = min(self.total, start + ((last - start) // batch_size + 1) * batch_size)
                    meter.advance(waiting.reached - meter.done)
                    if deadline is not None and time.monotonic() >= deadline:
                        return
                    if waiting.bytes >= MOST_BYTES or time.monotonic() - saved >= SAVE_SECONDS:
                        self._save(waiting, images)
                        waiting, saved = _Waiting(), time.monotonic()
                waiting.reached = self.total  # the last files may all be bad
            finally:
                self._save(waiting, images)

    def _save(self, waiting: "_Waiting", images: ImageSet) -> None:
        if waiting.reached <= self.reached:
            return
        count, bad = self.count, dict(sorted(images.bad.items()))
        if waiting.answers:
            own = pooled(waiting.answers)  # Ctrl-C may have come after a batch and before it was counted
            self.files.write(count, {_LABEL: own.at(own.place < waiting.reached)})
            count += 1
        noted: dict[str, Any] = {"plan": self.plan, "parts": count, "images": waiting.reached, "bad": bad}
        write_atomically(self.folder / PROGRESS, json.dumps(noted) + "\n")
        self.count, self.reached, self.bad = count, waiting.reached, bad  # a save that was stopped is done again

    def __iter__(self) -> Iterator[Answers]:
        """The parts. Raises `InputError` where one has gone."""
        for number in range(self.count):
            found = self.files.read(number)
            if _LABEL not in found:
                raise InputError(f"{self.files.path(number)} has gone: delete {self.folder}, and begin again")
            yield found[_LABEL]

    def groups(self, rows: int) -> Iterator[Answers]:
        """The same in groups of so many rows, however the work was interrupted; the last one may be smaller."""
        waiting: Answers | None = None
        for part in self:
            waiting = part if waiting is None else pooled([waiting, part])
            while len(waiting) >= rows:
                yield waiting.at(torch.arange(rows))
                waiting = waiting.at(torch.arange(rows, len(waiting)))
        if waiting is not None and len(waiting):
            yield waiting

    def places(self) -> Int64[Tensor, "n"]:
        """Which images have rows, in order."""
        return torch.cat([torch.zeros(0, dtype=torch.int64), *(part.place for part in self)])

    def remove(self) -> None:
        """Delete all of it; the notes of progress first, so that a kill leaves no part that is taken for the whole."""
        from shutil import rmtree

        with disk_errors(self.folder), suppress(FileNotFoundError):
            (self.folder / PROGRESS).unlink()
        rmtree(self.folder, ignore_errors=True)


@contextmanager
def _ended(read: Iterator[Batch]) -> Iterator[None]:
    """Whoever reads ahead stops when the block ends, not when somebody collects the garbage."""
    try:
        yield
    finally:
        if isinstance(read, Generator):
            read.close()


@dataclass
class _Waiting:
    """Rows that are not on the disk yet."""

    answers: list[Answers] = field(default_factory=list)
    reached: int = -1
    bytes: int = 0

    def add(self, own: Answers) -> None:
        self.answers.append(own)
        self.bytes += sum(rows.numel() * rows.element_size() for rows in own.columns.values())
