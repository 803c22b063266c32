"""Single images, the perturbation that an attack adds and the attacked image, as one file of a run folder.

`attack_images.safetensors` holds, for the attacks k = 0, 1, ..., "k clean", "k change" and "k attacked" (uint8, n x
channels x height x width; the change around a middle grey, magnified), and n numbers each of "k labels", "k before",
"k after" (int64: the truth, and the model's answers), "k sure_before", "k sure_after" and "k size" (float32). Beside
them stands, as JSON, a list with for each attack its text, the model, the norm of the sizes, the magnification, the
classes and the side of the images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.reports.drawing.pictures import SMALL, data_address, is_picture, smaller
from weatherproof.reports.parts import read_part, save_part
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import size_words

FILE = "attack_images.safetensors"
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
class AttackImages:
    """The images under one attack; every change is magnified by the same factor."""

    attack: str
    model: str
    images: tuple[AttackImage, ...]
    magnified: str
    pixelated: bool


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
        tensors |= {f"{k} {name}": _bytes(images) for name, images in zip(_PICTURES, pictures, strict=True)}
        tensors |= {f"{k} {name}": getattr(own, name).detach().cpu().clone() for name in _NUMBERS}
        about.append({
            "attack": own.attack, "model": own.model, "norm": own.norm, "factor": factor, "classes": list(own.classes),
            "side": max(own.clean.shape[2:]),
        })  # fmt: skip
    return save_part(Path(folder) / FILE, tensors, about)


def magnification(largest: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... by which changes of at most this still fit around a middle grey."""
    most = _ROOM / max(largest, 1e-9)
    power = 10.0 ** math.floor(math.log10(max(most, 1.0)))
    return max(step * power for step in (1, 2, 5) if step * power <= max(most, 1.0))


def _bytes(images: Float[Tensor, "n channels height width"]) -> UInt8[Tensor, "n channels _ _"]:
    pixels = images.detach().cpu().clamp(0, 1).mul(255).round().byte()
    return torch.stack([smaller(image, SHOWN) for image in pixels])


def read_attack_images(folder: Path) -> tuple[AttackImages, ...]:
    """The images of a run folder, by attack; none where it has none.

    Raises:
        InputError: the file is not what `save_attack_images` writes.
    """
    return read_part(folder / FILE, "a file of attacked images", _attack_images) or ()


def _attack_images(tensors: Mapping[str, Tensor], about: Any) -> tuple[AttackImages, ...]:
    return tuple(_of_attack(tensors, k, entry) for k, entry in enumerate(about))


def _of_attack(tensors: Mapping[str, Tensor], k: int, about: Mapping[str, Any]) -> AttackImages:
    own = {name: tensors[f"{k} {name}"] for name in (*_PICTURES, *_NUMBERS)}
    count = len(own["clean"])
    alike = all(own[name].shape == own["clean"].shape for name in _PICTURES)
    if not alike or not all(own[name].shape == (count,) for name in _NUMBERS):
        raise ValueError("unlike sizes")
    if not all(is_picture(image) for name in _PICTURES for image in own[name]):
        raise ValueError("no pictures")
    return AttackImages(
        attack=str(about["attack"]),
        model=str(about["model"]),
        images=tuple(_image({name: own[name][i] for name in own}, about) for i in range(count)),
        magnified=f"{float(about['factor']):g}",
        pixelated=int(about["side"]) <= SMALL,
    )


def _image(own: Mapping[str, Tensor], about: Mapping[str, Any]) -> AttackImage:
    classes = about["classes"]
    truth, before, after = (int(own[name]) for name in ("labels", "before", "after"))
    if min(truth, before, after) < 0:
        raise ValueError("no class")
    return AttackImage(
        truth=str(classes[truth]),
        clean=data_address(own["clean"]),
        change=data_address(own["change"]),
        attacked=data_address(own["attacked"]),
        before=Answer(str(classes[before]), words.percent(float(own["sure_before"])), before == truth),
        after=Answer(str(classes[after]), words.percent(float(own["sure_after"])), after == truth),
        size=size_words(str(about["norm"]), float(own["size"])),
    )
