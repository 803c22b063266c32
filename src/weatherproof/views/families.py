"""The views of SimCLR, MoCo and InstDis: `family(images, keys)` is a pair, `family.one(images, keys)` a single look.

The looks of a pair are drawn independently. Where a paper flips last, the flip is drawn with the crop here: it changes
places with colour and with blur. Values stay in [0, 1]; normalisation belongs to the encoder.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.canvas import sides as sides_of
from weatherproof.sizes import Size, shorter
from weatherproof.spec import component
from weatherproof.types import Images, Keys
from weatherproof.views.blur import RandomBlur
from weatherproof.views.colour import ColorJitter, RandomGrayscale
from weatherproof.views.geometry import HorizontalFlip, RandomResizedCrop, random_crop
from weatherproof.views.steps import Step, draw, grouped, work

Views = Float[Tensor, "batch channels rows columns"]
SMALL = 64  # pixels of the shorter side up to which a family has its authors' settings for CIFAR


Steps = tuple[RandomResizedCrop, HorizontalFlip, *tuple[Step, ...]]


class Family(ABC):
    """Two looks at each image, drawn independently."""

    def __post_init__(self) -> None:
        _ = self.steps  # each checks its settings

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """What a look is made of, in order."""

    def __call__(self, images: Images, keys: Keys) -> tuple[Views, Views]:
        return self.one(images, random.fold(keys, 0)), self.one(images, random.fold(keys, 1))

    def one(self, images: Images, keys: Keys) -> Views:
        """A single look at each image."""
        return look(images, keys, *self.steps)


@component
class SimCLR(Family):
    """Crop, flip, colour jitter (p = .8), grey (.2) and, on large images, blur (.5): Chen et al. 2020, appendix A.

    Args:
        size: side of a view in pixels, or its (rows, columns).
        strength: of the colour jitter, (.8, .8, .8, .2) at 1. None: .5 up to 64 px, 1 above, as in the authors' code.
        blur: sigma U(.1, 2), kernel of a tenth of the shorter side. None: above 64 px only.
        interpolation: of the crop, in the authors' code "bicubic".
    """

    size: Size
    strength: float | None = None
    blur: bool | None = None
    interpolation: str = "bicubic"

    @property
    def steps(self) -> Steps:
        strength = (0.5 if shorter(self.size) <= SMALL else 1.0) if self.strength is None else self.strength
        crop = random_crop(self.size, (0.08, 1.0), self.interpolation)
        jitter = ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength, p=0.8)
        if not _blurs(self.size, self.blur):
            return crop, HorizontalFlip(), jitter, RandomGrayscale(0.2)
        blur = RandomBlur((0.1, 2.0), 2 * (shorter(self.size) // 20) + 1, p=0.5)
        return crop, HorizontalFlip(), jitter, RandomGrayscale(0.2), blur


@component
class MoCoV1(Family):
    """Crop, grey (p = .2), colour jitter (always) and flip: He et al. 2020, section 3.3, after InstDis."""

    size: Size

    @property
    def steps(self) -> Steps:
        crop = random_crop(self.size, (0.2, 1.0))
        return crop, HorizontalFlip(), RandomGrayscale(0.2), ColorJitter(0.4, 0.4, 0.4, 0.4)


@component
class MoCoV2(Family):
    """Crop, flip, colour jitter (p = .8), grey (.2) and, on large images, blur (.5): Chen et al. 2020, MoCo v2.

    Args:
        size: side of a view in pixels, or its (rows, columns). Up to 64, crops are of at least .08 of the image, as in
            the authors' notebook for CIFAR; above, of at least .2.
        blur: sigma U(.1, 2). None: above 64 px only, as the authors' codes.
    """

    size: Size
    blur: bool | None = None

    @property
    def steps(self) -> Steps:
        crop = random_crop(self.size, (0.08 if shorter(self.size) <= SMALL else 0.2, 1.0))
        jitter = ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8)
        if not _blurs(self.size, self.blur):
            return crop, HorizontalFlip(), jitter, RandomGrayscale(0.2)
        return crop, HorizontalFlip(), jitter, RandomGrayscale(0.2), RandomBlur((0.1, 2.0), p=0.5)


@component
class InstDis(Family):
    """Crop, flip, colour jitter (always) and grey (p = .2): Wu et al. 2018, as PyContrast has it; also PIRL's images.

    Up to 64 px as in the authors' own code for CIFAR: crops of at least .2 instead of .08 of the image, grey before
    colour, no flip.
    """

    size: Size

    @property
    def steps(self) -> Steps:
        grey, jitter = RandomGrayscale(0.2), ColorJitter(0.4, 0.4, 0.4, 0.4)
        if shorter(self.size) <= SMALL:
            return random_crop(self.size, (0.2, 1.0)), HorizontalFlip(0.0), grey, jitter
        return random_crop(self.size, (0.08, 1.0)), HorizontalFlip(), jitter, grey


@torch.no_grad()
def look(images: Images, keys: Keys, crop: RandomResizedCrop, flip: HorizontalFlip, *steps: Step) -> Views:
    """What `Chain(crop, flip, *steps)` gives, the flip in one go with the crop, in pieces that fit the caches."""
    boxes = crop.draw(random.fold(keys, 0), *sides_of(images))
    flips = flip.draw(random.fold(keys, 1))
    drawn = draw(steps, keys, 2)
    order = grouped(steps, drawn, len(images))
    return work(images, steps, drawn, order, crop.cut(images, boxes[order], flips[order]), crop.size)


def _blurs(size: Size, blur: bool | None) -> bool:
    return shorter(size) > SMALL if blur is None else blur
