"""What training sets beside a labelled image: noisy copies that should stay near it, or should not."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.methods.utility import least_useful, most_useful
from weatherproof.operators import GaussianNoise, levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys

VANISHED = 1e-12  # a largest utility below it tells nothing: section 4.1 drops the high-utility perturbation


@dataclass(frozen=True)
class Partners:
    """Noisy copies of a batch.

    Attributes:
        low: the copy whose embedding should stay near.
        high: the copy whose embedding should move away; None: there is none.
        keep: the images whose `high` counts; None: all.
    """

    low: Images
    high: Images | None = None
    keep: Bool[Tensor, "batch"] | None = None


@runtime_checkable
class Partner(Protocol):
    """Makes the copies. `needs_utility` says whether it looks at the utility, which costs a backward pass."""

    needs_utility: ClassVar[bool]

    def __call__(self, images: Images, keys: Keys, utility: Images | None) -> Partners: ...


@component
class UtilityNoise:
    """N(0, sigma^2) on the k elements of least utility (low) and on the k of most (high), each image's own
    (definition 3). Nothing is clamped.

    An element is one channel's value of one pixel: the paper's k of up to 2,048 is more than CIFAR's 1,024 pixels.

    Args:
        k: elements on either side.
        sigma: standard deviation in pixel units, above 0 and at most 1.

    Raises:
        InputError: a setting out of its range.
    """

    needs_utility: ClassVar[bool] = True

    k: int = 256
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k counts elements of an image: 1 or more, got {self.k}")
        if not 0 < self.sigma:
            raise InputError(f"sigma must be a positive number in pixel units, got {self.sigma}")
        levels.check_noise(self.sigma, f"UtilityNoise({self.k}, {{}})")

    def __call__(self, images: Images, keys: Keys, utility: Images | None) -> Partners:
        assert utility is not None
        check_k(self.k, tuple(images.shape[1:]))
        low = self._noisy(images, least_useful(utility, self.k), random.fold(keys, 0))
        high = self._noisy(images, most_useful(utility, self.k), random.fold(keys, 1))
        return Partners(low, high, utility.flatten(1).amax(dim=1) >= VANISHED)

    def _noisy(self, images: Images, places: Int64[Tensor, "batch k"], keys: Keys) -> Images:
        noise = random.normals(keys, (self.k,), images.device).mul_(self.sigma)
        return images.flatten(1).scatter_add(1, places, noise).view_as(images)


@component
class WholeNoise:
    """N(0, sigma^2) on every element: the positive of the paper's rivals XE+Gaussian and CL+Gaussian (section 4.2)."""

    needs_utility: ClassVar[bool] = False

    sigma: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "_noise", GaussianNoise(self.sigma, clip=False))

    def __call__(self, images: Images, keys: Keys, utility: Images | None) -> Partners:
        return Partners(self.__dict__["_noise"](images, keys))


@lru_cache(maxsize=32)  # so that training warns once
def check_k(k: int, shape: tuple[int, ...]) -> None:
    """Raise `InputError` where an image has fewer than k elements, and warn where the top and the bottom k overlap."""
    elements = torch.Size(shape).numel()
    size = f"{elements} ({' x '.join(map(str, shape))})"
    if k > elements:
        raise InputError(f"k is {k}, but an image has {size} elements: choose at most {elements // 2}")
    if 2 * k > elements:
        warnings.warn(
            f"k is {k} of {size} elements: the {k} most and the {k} least useful overlap, and an element in both is "
            f"pulled and pushed at once; choose at most {elements // 2}",
            UserWarning, stacklevel=2,
        )  # fmt: skip
