"""Single images, their utility, the elements of most and least of it and noise on these, as a file of a run folder."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.pixel_utility import UtilityExamples
from weatherproof.reports.drawing.pictures import SMALL, bytes_of, data_address, for_page, require_pictures, smaller
from weatherproof.reports.drawing.shades import require_utility, scientific, shaded
from weatherproof.reports.parts import PartFile, require_classes, save_part
from weatherproof.reports.words import records as words

SHOWN = 160  # pixels of the longer side in the file
TOP, BOTTOM = (255, 154, 46), (78, 168, 255)  # orange and blue, which no kind of colour vision takes for each other
_FAINTEST = 0.5  # of a mark's colour, where the image is black


@dataclass(frozen=True)
class UtilityImage:
    """One image: data addresses, and what the classifier says of it. `largest`: of its utility, each its own scale."""

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
class ImagesFile:
    """What the file holds.

    Attributes:
        high, low: the images with noise on the elements of most and of least utility.
        utility: |d loss / d pixel|, summed over channels.
        top, bottom: the share of a pixel's channels that are among the k elements of most and of least utility.
        shape: of an image as it was measured.
    """

    images: UInt8[Tensor, "n channels height width"]
    high: UInt8[Tensor, "n channels height width"]
    low: UInt8[Tensor, "n channels height width"]
    utility: Float32[Tensor, "n height width"]
    top: Float32[Tensor, "n height width"]
    bottom: Float32[Tensor, "n height width"]
    labels: Int64[Tensor, "n"]
    answers: Int64[Tensor, "n"]
    confidence: Float32[Tensor, "n"]
    keep: UInt8[Tensor, "n"]
    classes: tuple[str, ...]
    k: int
    sigma: float
    data: str
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        require_pictures(self.images)
        require_utility(torch.stack([self.utility, self.top, self.bottom]))
        require_classes(self.classes, self.labels, self.answers)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def colour(self) -> bool:
        return self.shape[0] > 1

    @property
    def pixelated(self) -> bool:
        return max(self.shape[1:]) <= SMALL

    @property
    def rows(self) -> Iterator[UtilityImage]:
        for i, (truth, answer) in enumerate(zip(self.labels.tolist(), self.answers.tolist(), strict=True)):
            image, utility = self.images[i], self.utility[i]
            largest = float(utility.max())
            yield UtilityImage(
                truth=self.classes[truth],
                answer=self.classes[answer],
                confidence=words.percent(float(self.confidence[i])),
                right=truth == answer,
                image=data_address(image),
                utility=data_address(shaded(utility, largest)),
                largest=scientific(largest),
                top=data_address(marked(image, self.top[i], TOP)),
                bottom=data_address(marked(image, self.bottom[i], BOTTOM)),
                high=data_address(self.high[i]),
                low=data_address(self.low[i]),
                keep=bool(self.keep[i]),
            )


IMAGES = PartFile("utility_images.safetensors", "a file of images and their utility", ImagesFile)


def save_utility_images(folder: Path | str, examples: UtilityExamples) -> Path:
    """Write `utility_images.safetensors` and return where it is. Larger images are made smaller.

    Raises:
        InputError: there are no images.
    """
    if len(examples.images) == 0:
        raise InputError("a page of utility needs at least one image, got none")
    channels, height, width = examples.images.shape[1:]
    found = ImagesFile(
        images=for_page(bytes_of(examples.images), SHOWN),
        high=for_page(bytes_of(examples.high), SHOWN),
        low=for_page(bytes_of(examples.low), SHOWN),
        utility=smaller(examples.utility.sum(dim=1).float(), SHOWN),
        top=smaller(_marked(examples.top, examples.images), SHOWN),
        bottom=smaller(_marked(examples.bottom, examples.images), SHOWN),
        labels=examples.labels,
        answers=examples.answers,
        confidence=examples.confidence.float(),
        keep=examples.keep.byte(),
        classes=tuple(examples.classes),
        k=examples.k,
        sigma=examples.sigma,
        data=examples.data,
        shape=(channels, height, width),
    )
    return save_part(folder, IMAGES, found)


def _marked(places: Int64[Tensor, "n k"], images: Float[Tensor, "n channels height width"]) -> Tensor:
    """For each pixel the share of its channels that are among the places."""
    chosen = torch.zeros(len(images), images[0].numel()).scatter_(1, places.cpu(), 1.0)
    return chosen.view(images.shape).mean(dim=1)


def marked(
    image: UInt8[Tensor, "channels height width"], share: Float[Tensor, "height width"], colour: tuple[int, int, int]
) -> UInt8[Tensor, "3 height width"]:
    """The image in grey, and where the share is 1 in a colour, which is brighter where the image is. In between, more
    colour than the share, so that one channel of three is seen."""
    grey = (image.float() / 255).mean(dim=0)
    mark = torch.tensor(colour).view(3, 1, 1) / 255 * (_FAINTEST + (1 - _FAINTEST) * grey)
    mixed = torch.lerp(grey.expand(3, -1, -1), mark, share.sqrt())
    return mixed.mul(255).round().clamp(0, 255).byte()
