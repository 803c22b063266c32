"""The crop that networks for CIFAR are trained with."""

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_LARGEST = 1000  # pixels


@component
class PaddedCrop:
    """Pads each image with black and cuts its own size out at a uniform place (He et al. 2016, section 4.2).

    Args:
        padding: pixels on every side, from 1 to 1,000; 4 for 32x32.

    Raises:
        InputError: padding out of its range.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.padding <= _LARGEST:
            raise InputError(f"PaddedCrop pads by 1 to {_LARGEST:,} pixels, got {self.padding}")

    def draw(self, keys: Keys) -> Int64[Tensor, "2 batch"]:
        """Where the crop begins in the padded image: rows, columns."""
        return torch.stack([random.integers(random.fold(keys, use), 2 * self.padding + 1) for use in (0, 1)])

    def __call__(self, images: Images, keys: Keys) -> Images:
        height, width = images.shape[-2:]
        top, left = self.draw(keys).to(images.device)
        padded = F.pad(images, (self.padding,) * 4)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = left[:, None] + torch.arange(width, device=images.device)
        places = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1)
        cut = padded.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1))
        return cut.view_as(images)
