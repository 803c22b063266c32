"""Value and saturation of the HSV hexcone (Smith 1978), changed without going through the hue.

With V = max(R, G, B), S = (V - min(R, G, B)) / V and the hue fixed, every channel c of a pixel is a line in V and in S:
c -> c V'/V for a new value, c -> V - (V - c) S'/S for a new saturation. A grey pixel (S = 0) has the hue 0, red; a grey
image (one channel) stands for its three equal channels, and its result is their luminance.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.luma import LUMA
from weatherproof.types import Images

NOTHING = 1e-12  # stands for 0 where a ratio is taken: not 0, and too small to move any other channel


def scale_value(images: Images, amount: float) -> Images:
    """V' = clamp(V + amount, 0, 1). A black pixel turns grey V'."""
    scaled = images.clamp(min=NOTHING)
    value = scaled.amax(1, keepdim=True)
    return scaled.mul_((value + amount).clamp_(0, 1).div_(value))


def scale_saturation(images: Images, multiply: float, add: float) -> Images:
    """S' = clamp(S multiply + add, 0, 1). A grey pixel V turns (V, V (1 - S'), V (1 - S'))."""
    if images.shape[1] == 1:
        saturation = min(max(add, 0.0), 1.0)
        return images * (1 - (1 - LUMA[0]) * saturation)
    value = images.amax(1, keepdim=True)
    below = value - images  # V - c
    below[:, 1:].clamp_(min=NOTHING)  # makes grey pixels red by a hair, so that no division by 0 needs a case
    per_saturation = value / below.amax(1, keepdim=True)  # 1 / S
    ratio = (per_saturation * add).add_(multiply).clamp_(min=0)  # S' / S before S' is cut at 1
    torch.minimum(ratio, per_saturation, out=ratio)
    return below.mul_(ratio).neg_().add_(value)


def luminance(images: Images) -> Float[Tensor, "batch 1 height width"]:
    """.299 R + .587 G + .114 B; a grey image itself."""
    if images.shape[1] == 1:
        return images
    grey = images[:, :1] * LUMA[0]
    return grey.add_(images[:, 1:2], alpha=LUMA[1]).add_(images[:, 2:], alpha=LUMA[2])


def shade(colour: tuple[float, float, float], channels: int) -> tuple[float, ...]:
    """A colour in as many channels as the image has."""
    return colour if channels == 3 else (sum(w * c for w, c in zip(LUMA, colour, strict=True)),)
