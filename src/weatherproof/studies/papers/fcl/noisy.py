"""The two noises of feature contrastive learning as damage of test images."""

import hashlib
from dataclasses import replace
from pathlib import Path

from torch import nn

from weatherproof.data import ImageSet, save_pixel_std
from weatherproof.evaluation import Case, cases_on_the_fly
from weatherproof.operators import NonUniformNoise
from weatherproof.operators.suites import suite
from weatherproof.spec import component
from weatherproof.studies.lab.measures import measured_suite
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Bench, Measured, Store, digest

_STD = "'(of the training images)'"  # in a record, instead of a place on some machine


@component
class Noisy:
    """Everything that `evaluate_suite` says of clean images, of uniform and of nonuniform noise.

    Attributes:
        train: the images whose pixels' standard deviations the nonuniform noise follows.
    """

    train: Images
    seed: int = 0

    @property
    def passes(self) -> int:
        """Of an image through the model."""
        return 3

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        cases = [*noisy_cases(images, self.train, bench.store)]
        return measured_suite(model, images, cases, bench, name="noisy", seed=self.seed)


def noisy_cases(images: ImageSet, train: Images, store: Store) -> list[Case]:
    """Clean, uniform and nonuniform noise for these images."""
    path = pixel_std(train, store)
    cases = cases_on_the_fly(images, suite("noisy", std=str(path)))
    text = repr(NonUniformNoise(std=str(path))).replace(repr(str(path)), _STD)
    numbers = hashlib.sha256(path.read_bytes()).hexdigest()
    return [
        replace(case, text=text, parameters=numbers) if case.corruption == "nonuniform_noise" else case
        for case in cases
    ]


def pixel_std(images: Images, store: Store) -> Path:
    """The store's file with the standard deviation of each pixel over these images; made where it is not there."""
    path = store.folder / f"pixel-std-{digest(repr((images, store.sources(images))))}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_pixel_std(store.images(images), path)
    return path
