"""From pixels in [0, 1] to the input an encoder was trained on: channels, size, mean and std."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, tensor

from weatherproof.errors import InputError
from weatherproof.luma import LUMA
from weatherproof.sizes import Size, sides, size_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's reference training
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # MoCo CIFAR notebook
CIFAR_STD = (0.2023, 0.1994, 0.2010)
_INTERPOLATIONS = ("bilinear", "bicubic")  # those that torch can antialias


@dataclass(frozen=True)
class Preprocessing:
    """What an encoder does to pixels before its first layer.

    Args:
        mean, std: one number per channel, in pixel units of [0, 1].
        size: side of the square input, or (rows, columns); other sizes are resized to it. None: any, never resized.
        channels: 1 (grey) or 3 (RGB), of which the other one is converted; or any other number, which images must have.
        interpolation: "bilinear" or "bicubic", antialiased either way.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: Size | None
    channels: int = 3
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise InputError(f"expected one mean and std for each of {self.channels} channels: {self.mean}, {self.std}")
        if not all(map(math.isfinite, self.mean)):
            raise InputError(f"expected a finite mean for each channel, got {self.mean}")
        if not all(0 < value < math.inf for value in self.std):
            raise InputError(f"expected a finite std above 0 for each channel, got {self.std}")
        if self.size is not None and min(sides(self.size)) < 1:
            raise InputError(f"expected an input size of at least 1 pixel, got {self.size}")
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(f"expected interpolation {' or '.join(_INTERPOLATIONS)}, got {self.interpolation!r}")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `dataclasses.asdict`, after a journey through JSON."""
        size = settings["size"]
        return cls(
            mean=tuple(float(m) for m in settings["mean"]),
            std=tuple(float(s) for s in settings["std"]),
            size=size_of(tuple(size) if isinstance(size, list) else size),
            channels=int(settings["channels"]),
            interpolation=str(settings["interpolation"]),
        )


def supported_interpolation(name: str) -> str:
    """The nearest interpolation that torch can antialias: a library may ask for others, such as lanczos."""
    return name if name in _INTERPOLATIONS else "bicubic" if name == "lanczos" else "bilinear"


def require_pixels(images: object) -> None:
    """Raise `InputError` for anything but a float tensor [batch, channels, height, width]."""
    expected = "an encoder expects float pixels in [0, 1] of shape [batch, channels, height, width]"
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        raise InputError(f"{expected}, as a tensor (torch.from_numpy makes one of an array), got {kind}")
    if images.ndim != 4 or not images.is_floating_point():
        got = f"{str(images.dtype).removeprefix('torch.')} of shape {list(images.shape)}"
        raise InputError(f"{expected}, got {got}")


def to_input(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The channels and the size that the encoder expects; an image of another shape is squeezed to it, not cropped.

    Raises:
        InputError: not a float batch [batch, channels, height, width] of channels that it can see.
    """
    require_pixels(images)
    images = _to_channels(images, preprocessing.channels)
    size = preprocessing.size
    if size is None or images.shape[2:] == sides(size):
        return images
    return F.interpolate(images, sides(size), mode=preprocessing.interpolation, antialias=True)


def _to_channels(images: Tensor, channels: int) -> Tensor:
    match images.shape[1], channels:
        case given, wanted if given == wanted:
            return images
        case 1, 3:
            return images.expand(-1, 3, -1, -1)
        case 3, 1:
            luma = tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
            return (images * luma).sum(dim=1, keepdim=True)
    way = "give grey or RGB" if channels in (1, 3) else f"give images of {channels} channels"
    raise InputError(f"an encoder for {channels} channels cannot see images with {images.shape[1]}; {way}")
