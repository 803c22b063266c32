"""JPEG at a quality of the image's own."""

import torch
from jaxtyping import Float64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.operators.codec import jpeg
from weatherproof.operators.eight_bit import as_bytes, as_pixels
from weatherproof.spec import component
from weatherproof.types import Images, Keys


@component
class JPEG:
    """Rounds each image to 8 bits, encodes it as JPEG (4:2:0, libjpeg's standard tables) and decodes it again.

    The codec is the CPU's, wherever the images are; the result has no gradient.

    Args:
        quality: libjpeg's, from 1 (next to nothing is left) to 100 (next to nothing is lost), or (low, high) from which
            each image draws its own uniformly. The codec knows whole numbers: the nearest one is taken.

    Raises:
        InputError: quality out of its range; images of neither one channel nor three.
    """

    quality: levels.Level

    def __post_init__(self) -> None:
        levels.check(self.quality, "quality", 1, 100)

    @property
    def deterministic(self) -> bool:
        """Without a range nothing is drawn, so one realization is all of them."""
        return not isinstance(self.quality, tuple)

    def draw(self, keys: Keys) -> Float64[Tensor, "batch"]:
        """The quality of each image, a whole number, on the CPU."""
        return levels.draw(self.quality, random.fold(keys, 0)).round()

    @torch.no_grad()
    def __call__(self, images: Images, keys: Keys) -> Images:
        if images.shape[1] not in (1, 3):
            raise InputError(f"JPEG holds images of 1 or 3 channels, got {images.shape[1]}")
        quality = self.draw(keys).int().tolist()
        return as_pixels(jpeg(as_bytes(images).cpu(), quality)).to(images)
