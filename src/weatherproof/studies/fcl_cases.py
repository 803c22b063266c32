"""Under which damage the studies of feature contrastive learning measure, and where its numbers are found."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from weatherproof import benchmark
from weatherproof.data import ImageSet, save_pixel_std
from weatherproof.evaluation import Case, Record, cases_on_the_fly
from weatherproof.operators import NonUniformNoise
from weatherproof.operators.suites import suite
from weatherproof.studies.fcl_cells import Damage
from weatherproof.studies.store import digest

NOISY = ("clean", *benchmark.NOISY)
METRICS = ("top1", "mca")  # the records that a cell can ask for
RARE = tuple(range(10, 15))  # classes of synthetic MNIST
_STD = "'(of the training images)'"  # in a record, instead of a place on some machine


def suite_of(damage: Damage) -> str:
    """The suite that has this damage: "noisy", "common-15", or "common-19", which has the groups."""
    return "noisy" if damage in NOISY else "common-15" if damage == "common-15" else "common-19"


def cases_of(name: str, images: ImageSet, pixel_std: Callable[[], Path]) -> list[Case]:
    """The clean images and the conditions of a suite.

    Args:
        pixel_std: gives the file that "noisy" needs.
    """
    if name != "noisy":
        return cases_on_the_fly(images, suite(name))
    path = pixel_std()
    cases = cases_on_the_fly(images, suite(name, std=str(path)))
    text = repr(NonUniformNoise(std=str(path))).replace(repr(str(path)), _STD)
    numbers = hashlib.sha256(path.read_bytes()).hexdigest()
    return [replace(c, text=text, parameters=numbers) if c.corruption == NOISY[2] else c for c in cases]


def record_of(records: Sequence[Record], damage: Damage) -> Record:
    """The record of this damage among those of its suite."""
    wanted = ((NOISY[0] != damage and damage) or None, "top1" if damage in NOISY else "mca")
    return next(r for r in records if (r.corruption, r.metric) == wanted and r.severity is None)


def of_classes(images: ImageSet, classes: tuple[int, ...]) -> ImageSet:
    """The images of these classes."""
    return images.subset(torch.isin(images.labels, torch.tensor(classes)).nonzero().flatten())


def pixel_std(images: ImageSet, folder: Path, what: str) -> Path:
    """The file with the standard deviation of each pixel over these images, in a folder; made where it is not there.

    Args:
        what: says which images these are.
    """
    path = folder / f"pixel-std-{digest(what)}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_pixel_std(images, path)
    return path
