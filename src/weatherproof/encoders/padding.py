"""Sizes that a patch does not divide: what timm does of itself (`dynamic_img_pad`), for libraries that do not."""

import warnings

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.adapter import divides, multiples
from weatherproof.sizes import Size, in_pixels, nearest


class Padding:
    """A hook before a network: rows below and columns to the right, of zeros after the normalisation and so of the mean
    colour, until its patch divides the pixels."""

    def __init__(self, patch: tuple[int, int]) -> None:
        self.patch = patch

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pixels = given[0]
        rows, columns = (-side % one for side, one in zip(pixels.shape[-2:], self.patch, strict=True))
        return (F.pad(pixels, (0, columns, 0, rows)), *given[1:]) if rows or columns else given


def pad(network: nn.Module, padding: Padding) -> None:
    """Let the network pad what it sees."""
    network.register_forward_pre_hook(padding)


def padding_of(network: nn.Module) -> Padding | None:
    """How a network pads what it sees; None: it does not."""
    return next((hook for hook in network._forward_pre_hooks.values() if isinstance(hook, Padding)), None)


def padded(text: str, size: Size, patch: tuple[int, int]) -> tuple[Size, Padding | None]:
    """The size for which a network is built that sees this one, and how it then pads it; None: it need not. Warns."""
    if divides(size, patch):
        return size, None
    larger = nearest(size, patch)[1]
    warn_of_padding(text, size, larger, patch)
    return larger, Padding(patch)


def warn_of_padding(text: str, size: Size, larger: Size, patch: tuple[int, int], how: str = "") -> None:
    """Say that there is padding, and which sizes need none.

    Args:
        how: who pads, in words.
    """
    warnings.warn(
        f"{text}: its patch of {in_pixels(patch)} does not divide {in_pixels(size)} pixels, which are padded to "
        f"{in_pixels(larger)}{how}; {multiples(size, patch)} need no padding",
        UserWarning,
        stacklevel=6,
    )
