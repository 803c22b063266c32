"""Additive noise."""

from weatherproof import random
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys


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
