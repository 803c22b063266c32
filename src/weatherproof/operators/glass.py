"""Glass blur: pixels that changed places with near ones."""

import torch
from jaxtyping import Int32
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError, unknown
from weatherproof.operators.banded import gaussian
from weatherproof.operators.eight_bit import TOLERANCE, as_pixels, drop_fractions
from weatherproof.types import Images, Keys

MODES = ("copy", "swap")


def glass_blur(images: Images, keys: Keys, sigma: float, reach: int, rounds: int, mode: str = "copy") -> Images:
    """Glass blur of the common corruptions (Hendrycks & Dietterich 2019).

    Gaussian blur, floor to 8 bits, `rounds` scans that displace pixels, Gaussian blur.

    A scan visits the rows h = H - d .. d + 1 and in them the columns w = W - d .. d + 1, d = `reach`, both downwards.
    At each it draws dy and dx, uniform on -d .. d - 1, one pair for all channels.

    Args:
        sigma: of both blurs, in pixels.
        reach: d, in pixels.
        rounds: how many scans follow each other.
        mode: "copy" copies pixel (h + dy, w + dx) to (h, w) and leaves the source as it is, which is what the
            benchmark's code does and how its data were made. "swap" exchanges the two, which is what its code means to
            do; it walks over the pixels one by one, on the CPU.

    Raises:
        InputError: an unknown mode, or the image is not larger than 2 d.
    """
    if mode not in MODES:
        raise unknown("mode of glass_blur", mode, MODES)
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * reach:
        raise InputError(
            f"glass_blur with a reach of {reach} pixels needs images of more than {2 * reach} pixels a side, "
            f"got {height}x{width}: give a smaller reach"
        )
    rough = drop_fractions(gaussian(images, sigma).mul_(255).add_(TOLERANCE))
    scans = [_displacements(random.fold(keys, scan), reach, images) for scan in range(rounds)]
    source = (_copied if mode == "copy" else _swapped)(scans)
    planes = torch.arange(0, images.numel(), height * width, dtype=torch.int32, device=images.device)
    places = planes.view(*images.shape[:2], 1, 1) + source[:, None]
    moved = rough.flatten().index_select(0, places.flatten()).view(images.shape)
    return gaussian(as_pixels(moved), sigma)


def _displacements(keys: Keys, reach: int, images: Images) -> Int32[Tensor, "batch height width"]:
    """dy W + dx for each pixel of one scan; 0 for those that it does not visit."""
    count, _, height, width = images.shape
    span = 2 * reach
    dx = random.words(keys, (height - span, width - span), images.device).mul_(span)
    dy = dx >> 16  # the first digit of the word / 65,536 in base 2 d; the second is dx
    dx.bitwise_and_(65535).mul_(span).bitwise_right_shift_(16)
    out = torch.zeros(count, height, width, dtype=torch.int32, device=images.device)
    visited = out[:, reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    torch.sub(dy.mul_(width).add_(dx), reach * (width + 1), out=visited)
    return out


def _copied(scans: list[Int32[Tensor, "batch height width"]]) -> Int32[Tensor, "batch height width"]:
    """From which pixel of its image each pixel comes after sequential copies.

    A scan runs towards lower indices, so a source of higher index has been overwritten before it is read, and what is
    read there is what was copied there. Following such sources from pixel to pixel until one lies lower (or is not
    visited, and so its own source) ends at the copy that read the original image. All pixels do so at once, their
    strides doubling four times, which does for chains of 16 copies, before it is asked whether longer ones are left.
    """
    shape = scans[0].shape
    here = torch.arange(scans[0].numel(), dtype=torch.int32, device=scans[0].device)
    first, result = here.view(shape)[:, :1, :1].clone(), here
    for scan in scans:
        ahead = scan.flatten()  # how far beyond the pixel that is followed its source lies
        source = reads = here + ahead
        nearest = torch.maximum(here, reads)
        while ahead.amax() > 0:
            for _ in range(4):
                nearest = nearest.index_select(0, nearest)
            source = reads.index_select(0, nearest)
            ahead = source - nearest
        result = source if result is here else result.index_select(0, source)
    return result.view(shape).sub_(first)


def _swapped(scans: list[Int32[Tensor, "batch height width"]]) -> Int32[Tensor, "batch height width"]:
    """From which pixel of its image each pixel comes after sequential exchanges."""
    _, height, width = scans[0].shape
    places = [list(range(height * width)) for _ in scans[0]]
    for scan in scans:
        for place, offsets in zip(places, scan.flatten(1).tolist(), strict=True):
            for at in range(height * width - 1, -1, -1):
                if offset := offsets[at]:
                    place[at], place[at + offset] = place[at + offset], place[at]
    return torch.tensor(places, dtype=torch.int32, device=scans[0].device).view(scans[0].shape)
