"""Noise: the component of the inverse problems, and four of the common corruptions (Hendrycks & Dietterich 2019).

The corruptions go from 8-bit images to 8-bit images, as the benchmark's do.
"""

from functools import lru_cache

import torch
from jaxtyping import Int32
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.operators.eight_bit import Bytes, Levels, drop_fractions
from weatherproof.operators.poisson import poisson
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_MOST_PHOTONS = 10_000  # more are next to no noise on 8 bits (sigma 2.5 levels at white), and the table grows with them


@component
class GaussianNoise:
    """Adds independent N(0, sigma^2) noise to every value (Contrastive Inversion, section 4).

    Args:
        sigma: standard deviation in pixel units, from 0 to 1, or (low, high) from which each image draws its own
            uniformly; denoising's 25 is 25/255.
        clip: clamp the result to [0, 1]. The paper and its code do not clamp: its studies use ``clip=False``.

    Raises:
        InputError: sigma out of its range.
    """

    sigma: levels.Level
    clip: bool = True

    def __post_init__(self) -> None:
        levels.check_noise(self.sigma, "GaussianNoise({})")

    def __call__(self, images: Images, keys: Keys) -> Images:
        sigma = levels.draw(self.sigma, random.fold(keys, 0)).to(images)
        noise = random.normal_fields(random.fold(keys, 1), tuple(images.shape[1:]), images.device)
        noisy = noise.mul_(sigma.view(-1, 1, 1, 1)).add_(images)
        return noisy.clamp_(0, 1) if self.clip else noisy


def gaussian_noise(images: Bytes, keys: Keys, sigma: float) -> Bytes:
    """x + sigma n, n standard normal, independent for each value."""
    word = random.words(random.fold(keys, 0), images.shape[1:], images.device)
    # x is a whole level, so that the floor of x + sigma n is x + the floor of sigma n, which a table holds
    added = _whole_levels(sigma, str(images.device)).index_select(0, word.flatten()).view(images.shape)
    return added.add_(images.int()).clamp_(0, 255).to(torch.uint8)


def shot_noise(images: Bytes, keys: Keys, photons: float) -> Bytes:
    """Poisson(photons x) / photons, independent for each value.

    Raises:
        InputError: photons is not in (0, 10,000].
    """
    if not 0 < photons <= _MOST_PHOTONS:
        raise InputError(f"expected photons above 0 and at most {_MOST_PHOTONS:,}, got {photons}")
    return poisson(images, random.fold(keys, 0), float(photons))


def impulse_noise(images: Bytes, keys: Keys, fraction: float) -> Bytes:
    """Each value by itself becomes 0 or 255, with probability fraction / 2 each (to 1/65,536)."""
    word = random.shorts(random.fold(keys, 0), images.shape[1:], images.device)
    half = round(fraction * 65536 / 2)
    # The lowest words make black, the highest white. A CPU takes ten times as long for a comparison as for a shift that
    # leaves the sign: -1, all bits set, where the difference is below 0. Clamped first, it does not run over.
    black = word.clamp(max=0).add_(32768 - half).bitwise_right_shift_(15).to(torch.uint8)
    white = word.clamp_(min=0).neg_().add_(32767 - half).bitwise_right_shift_(15).to(torch.uint8)
    return black.bitwise_not_().bitwise_and_(images).bitwise_or_(white)


def speckle_noise(images: Bytes, keys: Keys, sigma: float) -> Bytes:
    """x + x sigma n, n standard normal, independent for each value."""
    noise, clean = _normals(images, keys), images.float()
    return drop_fractions(torch.addcmul(clean, clean, noise, value=sigma, out=noise))


@lru_cache(maxsize=16)
def _whole_levels(sigma: float, device: str) -> Int32[Tensor, "65536"]:
    """What each random word adds: `random.normals`, times sigma, rounded down to levels."""
    return random.quantiles(torch.device("cpu")).mul(255 * sigma).floor_().int().to(device)


def _normals(images: Bytes, keys: Keys) -> Levels:
    return random.normals(random.fold(keys, 0), images.shape[1:], images.device)
