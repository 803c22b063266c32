"""Noise on some of the pixels: Patch Gaussian, and the noisy test sets of feature contrastive learning (FCL)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError, shown
from weatherproof.npy import read_header
from weatherproof.operators import levels
from weatherproof.regular import irregular
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_LARGEST_PATCH = 10_000  # pixels
_STD_FLOOR = 1 / 255  # one 8-bit level: caps how much likelier a constant pixel is chosen than an ordinary one


@component
class PatchGaussian:
    """Gaussian noise in a square patch, the rest of the image unchanged (Lopes et al. 2019, arXiv:1906.02611).

    Inside the patch clamp(x + n, 0, 1), n ~ N(0, s^2) independent for each value. The patch of W x W pixels spans
    floor(W / 2) before its centre and ceil(W / 2) from there on; the centre is uniform over the whole image, and what
    falls outside is cut off, so that the visible patch can be smaller.

    Args:
        size: W in pixels, or (low, high) from which each image draws its own W uniformly: CIFAR-10 25, ImageNet
            (1, 250). From 1 to 10,000; one of twice the side covers the whole image wherever it lies.
        sigma: the largest standard deviation in pixel units, from 0 to 1; each image draws s uniformly on [0, sigma],
            as the authors' code does.
        fixed_sigma: s = sigma for every image.

    Raises:
        InputError: a setting out of its range.
    """

    size: int | tuple[int, int]
    sigma: float
    fixed_sigma: bool = False

    def __post_init__(self) -> None:
        low, high = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if not 1 <= low <= high <= _LARGEST_PATCH:
            raise InputError(
                f"size must be a whole number of pixels from 1 to {_LARGEST_PATCH:,}, or an ordered pair of them, got "
                f"{self.size!r}"
            )
        levels.check_noise(self.sigma, f"PatchGaussian({self.size!r}, {{}})")

    def __call__(self, images: Images, keys: Keys) -> Images:
        low, high = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        size = low + random.integers(random.fold(keys, 0), high - low + 1)
        rows = _span(random.fold(keys, 1), size, images.shape[2]).to(images.device)
        columns = _span(random.fold(keys, 2), size, images.shape[3]).to(images.device)
        level = self.sigma if self.fixed_sigma else (0.0, float(self.sigma))
        sigma = levels.draw(level, random.fold(keys, 3)).to(images)
        noise = random.normals(random.fold(keys, 4), images.shape[1:], images.device)
        noisy = noise.mul_(sigma.view(-1, 1, 1, 1)).add_(images).clamp_(0, 1)
        return torch.where(rows[:, None, :, None] & columns[:, None, None, :], noisy, images)


def _span(keys: Keys, size: Keys, side: int) -> Bool[Tensor, "batch side"]:
    """Where on a side of the image the patch lies."""
    start = random.integers(keys, side) - size // 2
    at = torch.arange(side)
    return (at >= start[:, None]) & (at < (start + size)[:, None])


@component
class UniformNoise:
    """Replaces round(fraction H W) pixels, chosen uniformly without replacement, by random grey levels (FCL, 4.1: UN).

    A grey level is uniform on [0, 1], one for all channels of a pixel.

    Args:
        fraction: share of the pixels in [0, 1]; 15% in the paper. 1 leaves nothing of the image.

    Raises:
        InputError: fraction out of its range.
    """

    fraction: float = 0.15

    def __post_init__(self) -> None:
        levels.check(self.fraction, "fraction", 0, 1)

    def __call__(self, images: Images, keys: Keys) -> Images:
        height, width = images.shape[-2:]
        return _replace(images, keys, self.fraction, torch.ones(height, width, dtype=torch.float64))


@component
class NonUniformNoise:
    """As `UniformNoise`, the places mostly where training images vary little (FCL, 4.1: NUN).

    Pixels are drawn one after the other without replacement, each time with a probability proportional to
    1 / (std + 1/255) among those left. The paper says "inversely proportional to the standard deviation"; 1/255 stands
    in for what it leaves open where that is 0, and caps the ratio between a constant pixel and an ordinary one.

    Args:
        fraction: share of the pixels in [0, 1]; 15% in the paper.
        std: a .npy file with the standard deviation of every pixel over the training images, H x W floats for pixels
            in [0, 1], as `weatherproof.data.save_pixel_std` writes it. Read once, when the operator is made.

    Raises:
        InputError: fraction out of its range; the file cannot be used, or its size is not the images'.
    """

    fraction: float = 0.15
    std: str = ""

    def __post_init__(self) -> None:
        levels.check(self.fraction, "fraction", 0, 1)
        object.__setattr__(self, "_std", _read(self.std))

    def __call__(self, images: Images, keys: Keys) -> Images:
        std: Tensor = self.__dict__["_std"]
        if std.shape != images.shape[-2:]:
            raise InputError(
                f"{self.std} is for images of height x width {_text(std.shape)}, these are of "
                f"{_text(images.shape[-2:])}: make it from training images of their size"
            )
        return _replace(images, keys, self.fraction, std + _STD_FLOOR)


def _text(size: Any) -> str:
    return "x".join(map(str, size))


def _read(path: str) -> Float64[Tensor, "height width"]:
    if not path:
        raise InputError(
            "NonUniformNoise needs std=FILE.npy, the standard deviation of each pixel over the training images: "
            "weatherproof.data.save_pixel_std(images, FILE) makes it"
        )
    try:
        std = _load(Path(path))
    except FileNotFoundError:
        raise InputError(f"no file {shown(path)}: weatherproof.data.save_pixel_std(images, FILE) makes one") from None
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise InputError(f"cannot read {path} as a .npy file of numbers: {error}") from None
    if std.ndim != 2 or std.dtype.kind != "f":
        raise InputError(f"expected floats, height x width, in {path}; got {std.dtype} {_text(std.shape)}")
    if not (np.isfinite(std).all() and (std >= 0).all()):
        raise InputError(f"a standard deviation in {path} is negative or not a number: make the file again")
    return torch.from_numpy(std.astype(np.float64))


def _load(path: Path) -> np.ndarray:
    """The array of a regular file that really holds what its header promises, which is looked at before any memory is
    taken. Raises `ValueError` for others, and the `OSError` of a file that is not there."""
    if "\0" in str(path):
        raise ValueError("its name has a null character")
    if kind := irregular(path):
        raise ValueError(f"it is {kind}, no regular file")
    size, header = path.stat().st_size, read_header(path)
    if not header.dtype.hasobject and size != header.size:
        raise ValueError(f"its header promises {header.dtype} {_text(header.shape)}, and the file has {size:,} bytes")
    return np.load(path, allow_pickle=False)


def _replace(images: Images, keys: Keys, fraction: float, slowness: Float64[Tensor, "height width"]) -> Images:
    """round(fraction H W) pixels become random grey levels, the likelier the smaller their slowness.

    Every pixel rings after an exponential time of mean `slowness`, -log(u) slowness; the first to ring are replaced.
    That is the Gumbel top-k draw with weights 1 / slowness, one after the other without replacement.
    """
    height, width = images.shape[-2:]
    count = round(fraction * height * width)
    upper, lower = random.words(random.fold(keys, 0), (2, height * width), images.device).double().unbind(1)
    time = upper.mul_(65536).add_(lower).add_(0.5).mul_(2.0**-32).log_().neg_()  # 32 bits: next to no ties
    places = time.mul_(slowness.flatten().to(images.device)).topk(count, dim=1, largest=False, sorted=False).indices
    chosen = torch.zeros_like(time, dtype=torch.bool).scatter_(1, places, True).view(-1, 1, height, width)
    grey = random.uniforms(random.fold(keys, 1), (1, height, width), images.device)
    return torch.where(chosen, grey, images)
