"""What is measured: a trial answers for the images of a look, which the engine hands to it batch by batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof import random
from weatherproof.operators.eight_bit import as_pixels
from weatherproof.operators.suites import Corruption
from weatherproof.protocols import Operator
from weatherproof.types import Images, Keys, Labels, Logits

EVAL_STREAM = 0x6576616C  # "eval": evaluation's draws are not those of training, whose keys know the epoch alone

Models = Mapping[str, Callable[..., Any]]  # what each gives, its trials know
Columns = Mapping[str, Tensor]  # one row an image, on any device


@dataclass(frozen=True, eq=False)
class Look:
    """A batch of images on the device, as bytes.

    Attributes:
        index: of the images in their source, on the CPU.
        place: which image of the trial each one is, on the CPU.
        keys: of the images, not folded yet.
    """

    pixels: UInt8[Tensor, "batch channels height width"]
    labels: Labels
    index: Int64[Tensor, "batch"]
    place: Int64[Tensor, "batch"]
    keys: Keys

    def __len__(self) -> int:
        return len(self.place)

    @property
    def images(self) -> Images:
        """Pixels in [0, 1]."""
        return as_pixels(self.pixels)

    def realization_keys(self, run: int = 0) -> Keys:
        """The keys of one of evaluation's realizations."""
        return random.fold(self.keys, EVAL_STREAM, run)

    def damaged(self, operator: Operator | None, run: int = 0) -> Images:
        """The images under one draw of an operator; None: as they are."""
        if operator is None:
            return self.images
        if isinstance(operator, Corruption):  # bytes to bytes, a quarter of the memory that floats take
            return as_pixels(operator(self.pixels, self.realization_keys(run)))
        return operator(self.images, self.realization_keys(run))


@runtime_checkable
class Trial(Protocol):
    """Models under one condition. A trial is sent to other processes and holds settings alone, no models."""

    @property
    def label(self) -> str:
        """What a file calls it: no two trials of a measurement are called the same."""

    @property
    def words(self) -> str:
        """What is said while it runs."""

    @property
    def positions(self) -> Int64[Tensor, "m"] | None:
        """Its images in their set; None: all."""

    def __call__(self, models: Models, look: Look) -> Columns:
        """What is kept of the images, by name. Models are used in evaluation mode, and left as they were."""


def rows_of(trial: Trial, places: Int64[Tensor, "b"]) -> Int64[Tensor, "b"]:
    """Where the images at these places of a trial stand in their set."""
    return places if trial.positions is None else trial.positions[places]


def column(model: str, name: str) -> str:
    """What a column is called where a trial answers for several models: see `Answers.of`."""
    return f"{model}/{name}"


def answer(classifier: Callable[..., Logits], images: Images, keys: Keys) -> Logits:
    """The logits; a classifier with `takes_keys` is called with the images' keys too."""
    return classifier(images, keys) if getattr(classifier, "takes_keys", False) else classifier(images)
