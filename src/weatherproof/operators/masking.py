"""Missing pixels."""

import torch

from weatherproof import random
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys


@component
class RandomMask:
    """Sets exactly floor(H W p) pixels of each image to 0, chosen uniformly without replacement.

    One mask for all channels (Contrastive Inversion, section 4; H = W = 224, p = 0.75 removes 37,632 of 50,176).

    Args:
        fraction: p in [0, 1], or (low, high) from which each image draws its own p uniformly. 0.99 is the most that
            has been published; 1 leaves a black image.

    Raises:
        InputError: fraction out of its range.
    """

    fraction: levels.Level

    def __post_init__(self) -> None:
        levels.check(self.fraction, "fraction", 0, 1)

    def __call__(self, images: Images, keys: Keys) -> Images:
        batch, _, height, width = images.shape
        n = height * width
        level = levels.draw(self.fraction, random.fold(keys, 0))
        removed = (level * n + 1e-6).floor().long().to(images.device)  # 0.29 * 100 is 28.999999999999996, meant as 29
        places = random.permutations(random.fold(keys, 1), n, images.device)
        keep = torch.ones(batch, n, dtype=images.dtype, device=images.device)
        gone = (
            torch.arange(n, device=images.device) < removed[:, None]
        )  # the first `removed` places of each permutation
        keep.scatter_(1, places, 1 - gone.to(images.dtype))
        return images * keep.view(batch, 1, height, width)
