"""Noise: the component of the inverse problems, and four of the common corruptions (Hendrycks & Dietterich 2019).

The corruptions take images on the 8-bit levels k/255 and leave it to `Corruption` to clamp what they return.
"""

from functools import lru_cache

import torch
from jaxtyping import Float32
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.operators.poisson import poisson
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_MOST_PHOTONS = 10_000  # more are next to no noise on 8 bits (sigma 2.5 levels at white), and the table grows with them


@component
class GaussianNoise:
    """Adds independent N(0, sigma^2) noise to every value (Contrastive Inversion, section 4).

    Args:
        sigma: standard deviation in pixel units, or (low, high) from which each image draws its own uniformly.
        clip: clamp the result to [0, 1]. The paper and its code do not clamp: its studies use ``clip=False``.
    """

    sigma: levels.Level
    clip: bool = True

    def __post_init__(self) -> None:
        levels.check(self.sigma, "sigma", 0)

    def __call__(self, images: Images, keys: Keys) -> Images:
        sigma = levels.draw(self.sigma, random.fold(keys, 0)).to(images)
        noise = random.normal_fields(random.fold(keys, 1), tuple(images.shape[1:]), images.device)
        noisy = noise.mul_(sigma.view(-1, 1, 1, 1)).add_(images)
        return noisy.clamp_(0, 1) if self.clip else noisy


def gaussian_noise(images: Images, keys: Keys, sigma: float) -> Images:
    """x + sigma n, n standard normal, independent for each value."""
    noise = _normals(images, keys)
    return torch.add(images, noise, alpha=sigma, out=noise)


def shot_noise(images: Images, keys: Keys, photons: float) -> Images:
    """Poisson(photons x) / photons, independent for each value; counts from `photons` on, which clamp to 1, are one.

    Raises:
        InputError: photons is not in (0, 10,000].
    """
    if not 0 < photons <= _MOST_PHOTONS:
        raise InputError(f"expected photons above 0 and at most {_MOST_PHOTONS:,}, got {photons}")
    return poisson(images, random.fold(keys, 0), float(photons))


def impulse_noise(images: Images, keys: Keys, fraction: float) -> Images:
    """Each value by itself becomes 0 or 1, with probability fraction / 2 each (to 1/65,536), before the last clamp."""
    word = random.words(random.fold(keys, 0), images.shape[1:], images.device)
    added = _impulses(fraction, str(images.device)).index_select(0, word.flatten())
    return added.view(images.shape).add_(images)


def speckle_noise(images: Images, keys: Keys, sigma: float) -> Images:
    """x + x sigma n, n standard normal, independent for each value."""
    noise = _normals(images, keys)
    return torch.addcmul(images, images, noise, value=sigma, out=noise)


def _normals(images: Images, keys: Keys) -> Images:
    return random.normals(random.fold(keys, 0), images.shape[1:], images.device)


@lru_cache(maxsize=16)
def _impulses(fraction: float, device: str) -> Float32[Tensor, "65536"]:
    """What each random word adds, before the clamp: one look-up is a third of the time of two comparisons."""
    half = round(fraction * 65536 / 2)
    added = torch.zeros(65536)
    added[:half], added[half : 2 * half] = -1, 1
    return added.to(device)
