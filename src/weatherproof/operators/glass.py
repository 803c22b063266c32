"""Glass blur: pixels that changed places with near ones."""

import torch
from jaxtyping import Int32
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError, unknown
from weatherproof.operators.banded import gaussian
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
    # Rounding makes a level come out a hair below itself; a fraction of a level keeps it from losing a whole one.
    rough = gaussian(images, sigma).mul_(255).add_(3e-4).floor_().div_(255)
    scans = [_displacements(random.fold(keys, scan), reach, images) for scan in range(rounds)]
    source = (_copied if mode == "copy" else _swapped)(scans)
    flat = source.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return gaussian(rough.flatten(2).gather(2, flat).view(images.shape), sigma)


def _displacements(keys: Keys, reach: int, images: Images) -> Int32[Tensor, "batch height width"]:
    """dy W + dx for each pixel of one scan; 0 for those that it does not visit."""
    count, _, height, width = images.shape
    span = 2 * reach
    words = random.words(keys, (height - span, width - span), images.device).mul_(span)
    dy = words >> 16  # the first digit of the word / 65,536 in base 2 d; the second is dx
    dx = words.bitwise_and_(65535).mul_(span) >> 16
    out = torch.zeros(count, height, width, dtype=torch.int32, device=images.device)
    visited = slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1)
    out[:, *visited] = dy.sub_(reach).mul_(width).add_(dx.sub_(reach))
    return out


def _copied(scans: list[Int32[Tensor, "batch height width"]]) -> Int32[Tensor, "batch height width"]:
    """From which pixel of its image each pixel comes after sequential copies.

    A scan runs towards lower indices, so a source of higher index has been overwritten before it is read, and what is
    read there is what was copied there. Following such sources from pixel to pixel until one lies lower (or is not
    visited, and so its own source) ends at the copy that read the original image. All pixels do so at once, their
    strides doubling: chains of n copies take log2(n) steps, in practice 4 or 5.
    """
    shape = scans[0].shape
    here = torch.arange(scans[0].numel(), dtype=torch.int32, device=scans[0].device)
    result = here
    for scan in scans:
        offset = scan.flatten()
        nearest = here + offset.clamp(min=0)
        while not torch.equal(further := nearest.index_select(0, nearest), nearest):
            nearest = further
        result = result.index_select(0, (here + offset).index_select(0, nearest))
    return result.view(shape) - here.view(shape)[:, :1, :1]


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
