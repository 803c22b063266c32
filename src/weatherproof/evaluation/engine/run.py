"""One measurement: models, trials and images in, answers out; resumable, in a given time, shared out."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.cluster import job
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers, BlockFiles, BlockMemory, joined
from weatherproof.evaluation.engine.processes import run_in_processes
from weatherproof.evaluation.engine.ranks import run_over_ranks
from weatherproof.evaluation.engine.trials import Models, Trial
from weatherproof.evaluation.engine.work import Work
from weatherproof.evaluation.record import protocol_hash
from weatherproof.files import disk_errors
from weatherproof.progress import phase

BLOCK = 512  # images: two batches of the default size, and all classes of CIFAR-10 many times over


@dataclass(frozen=True)
class Settings:
    """How a measurement is done. None of it but the seed changes what comes out.

    Args:
        seed: of every draw; what an image meets depends on (seed, image index, trial) alone.
        device: where the models are moved to.
        workers: processes that decode images, for each of `processes`.
        minutes: start no trial after that time. All trials of the first block of images come first, then all of the
            second, so that a cut leaves numbers that rest on fewer images. None: to the end.
        processes: of this machine; each takes its own blocks, on its own CUDA device where there are several.
        share: (k, n) does the blocks k, k + n, k + 2n, ... alone. Shares with one folder, or whose files are put into
            one, make the whole: ask for it with (0, 1), and what all of them have done is taken up.
        folder: where the answers are kept, and from where they are taken up again; None: nowhere.
        block: images that are held at a time; the files of another number are refused. None: as many as the measurement
            is best done with.

    Raises:
        InputError: one of them is out of range.
    """

    seed: int = 0
    device: str | torch.device = "cpu"
    batch_size: int = 256
    workers: int = 0
    minutes: float | None = None
    processes: int = 1
    share: tuple[int, int] = (0, 1)
    folder: Path | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes is a time above 0, or None for as long as it takes; got {self.minutes}")
        if not 0 <= self.share[0] < self.share[1]:
            raise InputError(f"a share is (k, n) with 0 <= k < n, got {self.share}")
        counts = (self.processes, 1 if self.block is None else self.block, self.batch_size)
        if min(counts) < 1:
            raise InputError(f"expected processes, block and batch_size >= 1; got {', '.join(map(str, counts))}")


@dataclass(frozen=True, eq=False)
class Measured:
    """What the trials came to.

    Attributes:
        answers: by the trials' labels; what is not there was not reached.
        complete: nothing is left to do, in any share.
    """

    trials: tuple[Trial, ...]
    answers: Mapping[str, Answers]
    complete: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """The labels of the trials that were not reached at all."""
        return tuple(trial.label for trial in self.trials if trial.label not in self.answers)

    @property
    def fewest(self) -> int:
        """How many images the trial with the fewest rests on, of those that were reached."""
        return min(map(len, self.answers.values()), default=0)


def run(
    models: Models,
    trials: Sequence[Trial],
    images: ImageSet,
    settings: Settings,
    *,
    name: str,
    title: str,
    facts: Mapping[str, Any] | None = None,
    in_order: bool = False,
    block: int = BLOCK,
) -> Measured:
    """Do every trial on every image, block after block.

    Memory is bounded by the block and by what is kept of all answers in the end.

    Args:
        models: by the names that the trials know; modules are moved to the device.
        trials: no two with one label; each is kept and taken up by its label.
        name: of the folder that the files are in, inside that of the settings.
        title: of the work, for whoever waits.
        facts: what the answers depend on beside the weights, the images, the labels, the seed and the blocks.
        in_order: a block holds images that follow on one another, so that the batches are those of the whole set in
            its order, where the block is a multiple of them. Else each block is spread evenly over the set.
        block: images that are held at a time, where the settings leave it open.

    Raises:
        InputError: answers in the folder to something else, a process that failed, and what a trial refuses.
    """
    most = max(len(images) if trial.positions is None else len(trial.positions) for trial in trials)
    block = block if settings.block is None else settings.block
    blocks = -(-most // block)
    with _answer_store(
        settings, name, lambda: _plan(models, images, settings.seed, blocks, in_order, facts or {})
    ) as store:
        numbers = range(settings.share[0], blocks, settings.share[1])
        work = Work(
            models, trials, images, len(images), numbers, blocks, store, settings.seed, torch.device(settings.device),
            settings.batch_size, settings.workers, block=block if in_order else None,
            deadline=None if settings.minutes is None else time.time() + 60 * settings.minutes,
        )  # fmt: skip
        done = sum(map(len, _answered(trials, store, numbers).values()))
        total = sum(len(work.places(trial, number)) for number in numbers for trial in trials)
        with phase(title, total, done=done) as meter:
            if (own := job()) is not None:
                run_over_ranks(work, own, meter.advance)
            elif settings.processes == 1 or len(numbers) < 2:
                work.run(meter.advance)
            else:
                run_in_processes(work, settings.processes, meter.advance)
        labels = {trial.label for trial in trials}
        complete = all(labels <= store.read(number).keys() for number in range(blocks))
        return Measured(tuple(trials), _answered(trials, store, range(blocks)), complete)


def require_measurable(images: ImageSet, what: str) -> None:
    """Raise `InputError` where the accuracy of a classifier on these images is not defined."""
    if len(images) == 0:
        raise InputError(f"{images.name!r} has no images: expected at least one")
    if not bool((images.labels >= 0).all()):
        raise InputError(f"{what} is measured by accuracy, and not all images of {images.name!r} have labels")
    if images.image_size is None:
        raise InputError(f"the images in {images.name!r} differ in size: give a size to read all at")


@contextmanager
def _answer_store(settings: Settings, name: str, plan: Callable[[], str]) -> Iterator[BlockFiles | BlockMemory]:
    """Where the answers are kept: in files, where they are to outlive this process or another one writes them."""
    if settings.folder is None and settings.processes == 1:
        yield BlockMemory()
        return
    with nullcontext(settings.folder) if settings.folder is not None else tempfile.TemporaryDirectory() as place:
        home = Path(place) / name
        with disk_errors(home):
            home.mkdir(parents=True, exist_ok=True)
        yield BlockFiles(home, plan())


def _answered(trials: Sequence[Trial], store: BlockFiles | BlockMemory, numbers: Sequence[int]) -> dict[str, Answers]:
    """By the trials' labels, what is known of some blocks."""
    blocks = [store.read(number) for number in numbers]
    found = {t.label: joined(block[t.label] for block in blocks if t.label in block) for t in trials}
    return {label: answers for label, answers in found.items() if answers is not None}


def _plan(models: Models, images: ImageSet, seed: int, blocks: int, in_order: bool, facts: Mapping[str, Any]) -> str:
    """Equal where the answers would be: the same weights, images and blocks, and facts, which may say the weights."""
    index, labels = (hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in (images.index, images.labels))
    weights = {} if "weights" in facts else {"weights": {name: weights_digest(own) for name, own in models.items()}}
    return protocol_hash(
        data=images.name, size=images.image_size, channels=images.channels, classes=images.classes, index=index,
        labels=labels, seed=seed, blocks=blocks, in_order=in_order or None, **weights, **facts,
    )  # fmt: skip


def weights_digest(model: object) -> str:
    """Equal where all weights and buffers are; the same for everything that is no `nn.Module`."""
    found = hashlib.sha256()
    if isinstance(model, nn.Module):
        for value in model.state_dict().values():
            if isinstance(value, Tensor):
                found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
