"""Single images, the perturbation that an attack adds and the attacked image, as one file of a run folder."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.reports.drawing.pictures import SMALL, bytes_of, data_address, for_page, require_pictures
from weatherproof.reports.parts import PartFile, require_classes, save_tensors
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import size_words

SHOWN = 160  # pixels of the longer side in the file
_PICTURES = ("clean", "change", "attacked")
_NUMBERS = ("labels", "before", "after", "sure_before", "sure_after", "size")
_ROOM = 0.5  # of the pixels' range, to each side of the middle grey


@dataclass(frozen=True)
class AttackExamples:
    """Images under one attack, as they were measured; pixels in [0, 1].

    Attributes:
        before, after: the model's first guesses, and how sure it is of them.
        size: of the perturbation, in the attack's norm.
    """

    attack: str
    model: str
    norm: str
    classes: Sequence[str]
    clean: Float[Tensor, "n channels height width"]
    attacked: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, "n"]
    before: Int64[Tensor, "n"]
    after: Int64[Tensor, "n"]
    sure_before: Float[Tensor, "n"]
    sure_after: Float[Tensor, "n"]
    size: Float[Tensor, "n"]


@dataclass(frozen=True)
class Answer:
    name: str
    sure: str
    right: bool


@dataclass(frozen=True)
class AttackImage:
    """One image: data addresses, and what the model says of it."""

    truth: str
    clean: str
    change: str
    attacked: str
    before: Answer
    after: Answer
    size: str


@dataclass(frozen=True)
class AttackFile:
    """The images under one attack, as the file has them: tensors under "0 clean", "1 clean", ... by attack.

    Attributes:
        norm: of the sizes.
        factor: by which the change is magnified, around a middle grey.
        side: of the images as they were measured.
    """

    attack: str
    model: str
    norm: str
    factor: float
    classes: tuple[str, ...]
    side: int
    clean: UInt8[Tensor, "n channels height width"]
    change: UInt8[Tensor, "n channels height width"]
    attacked: UInt8[Tensor, "n channels height width"]
    labels: Int64[Tensor, "n"]
    before: Int64[Tensor, "n"]
    after: Int64[Tensor, "n"]
    sure_before: Float[Tensor, "n"]
    sure_after: Float[Tensor, "n"]
    size: Float[Tensor, "n"]

    def __post_init__(self) -> None:
        require_pictures(self.clean)
        require_classes(self.classes, self.labels, self.before, self.after)

    @property
    def pixelated(self) -> bool:
        return self.side <= SMALL

    @property
    def rows(self) -> Iterator[AttackImage]:
        for i, truth in enumerate(self.labels.tolist()):
            yield AttackImage(
                truth=self.classes[truth],
                clean=data_address(self.clean[i]),
                change=data_address(self.change[i]),
                attacked=data_address(self.attacked[i]),
                before=self._answer(self.before[i], self.sure_before[i], truth),
                after=self._answer(self.after[i], self.sure_after[i], truth),
                size=size_words(self.norm, float(self.size[i])),
            )

    def _answer(self, guess: Tensor, sure: Tensor, truth: int) -> Answer:
        return Answer(self.classes[int(guess)], words.percent(float(sure)), int(guess) == truth)


def _by_attack(tensors: Mapping[str, Tensor], about: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**said, **{n: tensors[f"{k} {n}"] for n in (*_PICTURES, *_NUMBERS)}} for k, said in enumerate(about)]


ATTACKED = PartFile("attack_images.safetensors", "a file of attacked images", AttackFile, _by_attack)


def save_attack_images(folder: Path | str, examples: Sequence[AttackExamples]) -> Path:
    """Write `attack_images.safetensors` and return where it is. Larger images are made smaller.

    Raises:
        InputError: there are no attacks, or one without images.
    """
    if not examples or not all(len(own.clean) for own in examples):
        raise InputError("pictures of attacks need at least one attack with one image")
    tensors: dict[str, Tensor] = {}
    about = []
    for k, own in enumerate(examples):
        change = own.attacked - own.clean
        factor = magnification(float(change.abs().max()))
        pictures = (own.clean, 0.5 + factor * change, own.attacked)
        tensors |= {
            f"{k} {name}": for_page(bytes_of(images), SHOWN) for name, images in zip(_PICTURES, pictures, strict=True)
        }
        tensors |= {f"{k} {name}": getattr(own, name).detach().cpu().clone() for name in _NUMBERS}
        about.append({
            "attack": own.attack, "model": own.model, "norm": own.norm, "factor": factor, "classes": list(own.classes),
            "side": max(own.clean.shape[2:]),
        })  # fmt: skip
    return save_tensors(Path(folder) / ATTACKED.name, tensors, about)


def magnification(largest: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... by which changes of at most this still fit around a middle grey."""
    most = _ROOM / max(largest, 1e-9)
    power = 10.0 ** math.floor(math.log10(max(most, 1.0)))
    return max(step * power for step in (1, 2, 5) if step * power <= max(most, 1.0))
