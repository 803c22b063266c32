"""Single images, their utility, the elements of most and least of it and noise on these, as one file of a run folder.

`utility_images.safetensors` holds, all n x height x width, "utility" (float32: |d loss / d pixel|, summed over
channels), "top" and "bottom" (float32: the share of a pixel's channels that are among the k elements of most and of
least utility); n x channels x height x width "images", "high" and "low" (uint8; noise on the top and on the bottom
elements); and n numbers each of "labels", "answers" (int64), "confidence" (float32) and "keep" (uint8). Beside them
stand, as JSON, the classes, k, sigma, what the images are called, and their channels, height and width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.evaluation.utility.examples import UtilityExamples
from weatherproof.reports.drawing.pictures import SMALL, data_address, is_picture, smaller
from weatherproof.reports.drawing.shades import scientific, shaded, smaller_map
from weatherproof.reports.parts import read_part, save_part
from weatherproof.reports.words import records as words

FILE = "utility_images.safetensors"
SHOWN = 160  # pixels of the longer side in the file
TOP, BOTTOM = (255, 154, 46), (78, 168, 255)  # orange and blue, which no kind of colour vision takes for each other
_FAINTEST = 0.5  # of a mark's colour, where the image is black
_PICTURES = ("images", "high", "low")
_MAPS = ("utility", "top", "bottom")


@dataclass(frozen=True)
class UtilityImage:
    """One image: data addresses, and what the classifier says of it. `largest`: of its utility, as text."""

    truth: str
    answer: str
    confidence: str
    right: bool
    image: str
    utility: str
    largest: str
    top: str
    bottom: str
    high: str
    low: str
    keep: bool


@dataclass(frozen=True)
class UtilityImages:
    """What the page shows. Every map has a scale of its own."""

    images: tuple[UtilityImage, ...]
    k: int
    elements: int
    sigma: float
    data: str
    colour: bool
    pixelated: bool


def save_utility_images(folder: Path | str, examples: UtilityExamples) -> Path:
    """Write `utility_images.safetensors` and return where it is. Larger images are made smaller.

    Raises:
        InputError: there are no images.
    """
    if len(examples.images) == 0:
        raise InputError("a page of utility needs at least one image, got none")
    pictures = {"images": examples.images, "high": examples.high, "low": examples.low}
    maps = {
        "utility": examples.utility.sum(dim=1),
        "top": _marked(examples.top, examples.images),
        "bottom": _marked(examples.bottom, examples.images),
    }
    tensors = {
        **{name: _bytes(images) for name, images in pictures.items()},
        **{name: smaller_map(rows, SHOWN) for name, rows in maps.items()},
        "labels": examples.labels, "answers": examples.answers, "confidence": examples.confidence.float(),
        "keep": examples.keep.byte(),
    }  # fmt: skip
    about = {
        "classes": list(examples.classes), "k": examples.k, "sigma": examples.sigma, "data": examples.data,
        "shape": list(examples.images.shape[1:]),
    }  # fmt: skip
    return save_part(Path(folder) / FILE, tensors, about)


def _bytes(images: Float[Tensor, "n channels height width"]) -> UInt8[Tensor, "n channels _ _"]:
    pixels = images.clamp(0, 1).mul(255).round().byte()
    return torch.stack([smaller(image, SHOWN) for image in pixels])


def _marked(places: Int64[Tensor, "n k"], images: Float[Tensor, "n channels height width"]) -> Tensor:
    """For each pixel the share of its channels that are among the places."""
    chosen = torch.zeros(len(images), images[0].numel()).scatter_(1, places.cpu(), 1.0)
    return chosen.view(images.shape).mean(dim=1)


def read_utility_images(folder: Path) -> UtilityImages | None:
    """The images of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_utility_images` writes.
    """
    return read_part(folder / FILE, "a file of images and their utility", _utility_images)


def _utility_images(tensors: Mapping[str, Tensor], about: Any) -> UtilityImages:
    channels, height, width = (int(side) for side in about["shape"])
    if not _belong(tensors):
        raise ValueError("no images")
    return UtilityImages(
        images=tuple(_image(tensors, about["classes"], i) for i in range(len(tensors["images"]))),
        k=int(about["k"]),
        elements=channels * height * width,
        sigma=float(about["sigma"]),
        data=str(about["data"]),
        colour=channels > 1,
        pixelated=max(height, width) <= SMALL,
    )


def _belong(tensors: Mapping[str, Tensor]) -> bool:
    images = tensors["images"]
    return (
        all(is_picture(image) for name in _PICTURES for image in tensors[name])
        and all(tensors[name].shape == images.shape for name in _PICTURES)
        and all(tensors[name].shape == images[:, 0].shape for name in _MAPS)
        and all(bool((tensors[name].isfinite() & (tensors[name] >= 0)).all()) for name in _MAPS)
        and all(tensors[name].shape == images.shape[:1] for name in ("labels", "answers", "confidence", "keep"))
        and len(images) > 0
        and int(torch.cat([tensors["labels"], tensors["answers"]]).min()) >= 0
    )


def _image(tensors: Mapping[str, Tensor], classes: list[Any], i: int) -> UtilityImage:
    own = {name: tensor[i] for name, tensor in tensors.items()}
    truth, answer = int(own["labels"]), int(own["answers"])
    largest = float(own["utility"].max())
    return UtilityImage(
        truth=str(classes[truth]),
        answer=str(classes[answer]),
        confidence=words.percent(float(own["confidence"])),
        right=truth == answer,
        image=data_address(own["images"]),
        utility=data_address(shaded(own["utility"], largest)),
        largest=scientific(largest),
        top=data_address(marked(own["images"], own["top"], TOP)),
        bottom=data_address(marked(own["images"], own["bottom"], BOTTOM)),
        high=data_address(own["high"]),
        low=data_address(own["low"]),
        keep=bool(own["keep"]),
    )


def marked(
    image: UInt8[Tensor, "channels height width"], share: Float[Tensor, "height width"], colour: tuple[int, int, int]
) -> UInt8[Tensor, "3 height width"]:
    """The image in grey, and where the share is 1 in a colour, which is brighter where the image is. In between, more
    colour than the share, so that one channel of three is seen."""
    grey = (image.float() / 255).mean(dim=0)
    mark = torch.tensor(colour).view(3, 1, 1) / 255 * (_FAINTEST + (1 - _FAINTEST) * grey)
    mixed = torch.lerp(grey.expand(3, -1, -1), mark, share.sqrt())
    return mixed.mul(255).round().clamp(0, 255).byte()
