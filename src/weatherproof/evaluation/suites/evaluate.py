"""A classifier under a whole suite of corruptions, in one pass over the images; resumable, in a given time, shared out.

    for each block of images: read it once, put it on the device once
        for each condition: damage it, answer it, keep nine bytes an image

Memory is bounded by the block and by what is kept of all answers in the end: 7 MB for 75 conditions x 10,000 images.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers, joined
from weatherproof.evaluation.engine.block_files import weights_digest
from weatherproof.evaluation.engine.conditions import Case
from weatherproof.evaluation.engine.processes import run_in_processes
from weatherproof.evaluation.engine.work import BLOCK, Work
from weatherproof.evaluation.record import Record, protocol_hash
from weatherproof.evaluation.suites.records import Summary
from weatherproof.evaluation.suites.sets import suite_of
from weatherproof.files import disk_errors
from weatherproof.progress import phase
from weatherproof.types import Logits


@dataclass(frozen=True)
class SuiteResult:
    """What a suite came to.

    Attributes:
        records: the numbers.
        images: how many images the set has.
        missing: labels of the conditions that were not reached: "fog/3".
        fewest: how many images the condition with the fewest rests on, of those that were reached.
        complete: nothing is left to do.
        answers: by the conditions' labels.
    """

    records: tuple[Record, ...]
    images: int
    missing: tuple[str, ...]
    fewest: int
    complete: bool
    answers: Mapping[str, Answers]


def evaluate_suite(
    classifier: Callable[..., Logits],
    images: ImageSet,
    cases: Sequence[Case],
    *,
    folder: Path | None = None,
    suite: str | None = None,
    model: str = "model",
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    minutes: float | None = None,
    processes: int = 1,
    block: int = BLOCK,
    data: str | None = None,
    readout: str | None = None,
    label_fraction: float | None = None,
    trained_on: str | None = None,
) -> SuiteResult:
    """Measure a classifier under every condition of a suite, on the same images.

    The damage is that of `evaluate`'s first realization: it depends on (seed, image index, condition) alone, whatever
    the batches, the interruptions and the processes.

    Args:
        classifier: images -> logits; a module is moved to `device` and used in evaluation mode.
        images: all of them have labels.
        cases: from `cases_on_the_fly` or `cases_of_parts`.
        folder: where the answers are saved, at the latest every 30 s, and from where they are taken up again; None:
            nowhere, an interruption loses them.
        suite: what the records of the whole are called; None: the known suite that the cases are, or "all".
        model: what the records call the classifier.
        workers: processes that decode images, for each of `processes`.
        minutes: start no condition after that time. All conditions of the first block of images come first, then all
            of the second, so that a cut leaves numbers that rest on fewer images. None: to the end.
        processes: of this machine; each takes its own blocks, on its own CUDA device where there are several.
        block: images that are held at a time.
        data, readout, label_fraction, trained_on: for the records.

    Raises:
        InputError: no images, images without labels, a setting out of range, a classifier with fewer outputs than
            there are classes, answers in `folder` to something else, or a process that failed.
    """
    _check(images, minutes, processes, block, batch_size)
    where = torch.device(device)
    most = max(case.count(images) for case in cases)
    blocks = -(-most // block)
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory() as place:
        home = Path(place) / "suite"
        with disk_errors(home):
            home.mkdir(parents=True, exist_ok=True)
        work = Work(
            classifier, images, len(images), tuple(cases), range(blocks), blocks, home,
            plan=_plan(classifier, images, cases, seed, blocks), seed=seed, device=where, batch_size=batch_size,
            workers=workers, deadline=None if minutes is None else time.time() + 60 * minutes,
        )  # fmt: skip
        answers = _answered(work)
        done = sum(map(len, answers.values()))
        total = sum(case.count(images) for case in cases)
        with phase(f"{suite or suite_of(cases)} on {model}", total, done=done) as meter:
            if processes == 1 or blocks == 1:
                work.run(meter.advance)
            else:
                run_in_processes(work, processes, meter.advance)
        answers = _answered(work)
        complete = all({case.label for case in cases} <= work.file(number).answers.keys() for number in range(blocks))
    about = {"readout": readout, "label_fraction": label_fraction}
    summary = Summary(images, cases, answers, suite or suite_of(cases), model, seed, data, trained_on, about)
    missing = tuple(case.label for case in cases if case.label not in answers)
    fewest = min((len(found) for found in answers.values()), default=0)
    with phase("standard errors"):
        records = tuple(summary.records())
    return SuiteResult(records, most, missing, fewest, complete, answers)


def _check(images: ImageSet, minutes: float | None, processes: int, block: int, batch_size: int) -> None:
    if len(images) == 0:
        raise InputError(f"{images.name!r} has no images: expected at least one")
    if not bool((images.labels >= 0).all()):
        raise InputError(f"a suite is measured by accuracy, and not all images of {images.name!r} have labels")
    if images.image_size is None:
        raise InputError(f"the images in {images.name!r} differ in size: give a size to read all at")
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes is a time above 0, or None for as long as it takes; got {minutes}")
    if min(processes, block, batch_size) < 1:
        raise InputError(f"expected processes, block and batch_size >= 1; got {processes}, {block}, {batch_size}")


def _answered(work: Work) -> dict[str, Answers]:
    """By the cases' labels, what the block files hold so far."""
    files = [work.file(number) for number in work.numbers]
    found = {c.label: joined(f.answers[c.label] for f in files if c.label in f.answers) for c in work.cases}
    return {label: answers for label, answers in found.items() if answers is not None}


def _plan(classifier: Callable[..., Logits], images: ImageSet, cases: Sequence[Case], seed: int, blocks: int) -> str:
    """Equal where the answers would be: the same weights, images, conditions and blocks."""
    index, labels = (hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in (images.index, images.labels))
    conditions = [[c.label, c.text or repr(c.operator), c.parameters, c.count(images)] for c in cases]
    return protocol_hash(
        weights=weights_digest(classifier), data=images.name, size=images.image_size, channels=images.channels,
        classes=images.classes, index=index, labels=labels, conditions=conditions, seed=seed, blocks=blocks,
    )  # fmt: skip
