"""Zoom blur, and the centre zoom it is made of."""

import math
from collections import Counter

import torch
import torch.nn.functional as F

from weatherproof.errors import InputError
from weatherproof.types import Images, Keys

_VECTOR = 16  # float32 values in the widest vector of a CPU
# Along one side: where the crop begins, its length, its length when enlarged, and how much of that is trimmed.
_Side = tuple[int, int, int, int]


def zoom_blur(images: Images, keys: Keys, *factors: float) -> Images:
    """Zoom blur of the common corruptions (Hendrycks & Dietterich 2019): the mean of the image and of its centre zooms.

    (x + sum_z zoom_z(x)) / (count + 1). The benchmark's factors begin with 1, so the image itself counts twice. Nothing
    is drawn. The benchmark makes its factors with floating-point ranges, which end up a hair above the decimals; at
    32 px this decides how 1.25 is rounded, so each factor is taken as the next number above it.

    Raises:
        InputError: a factor is below 1.
    """
    count, channels, height, width = images.shape
    factors = tuple(math.nextafter(factor, math.inf) for factor in factors)
    zooms = Counter((_geometry(height, factor), _geometry(width, factor)) for factor in factors)
    # All planes of the batch side by side, pixel by pixel: interpolates 3 to 10 times faster than plane by plane. Whole
    # vectors of planes: those left over would be computed otherwise, and an image must not depend on its batch.
    whole = -(-count * channels // _VECTOR) * _VECTOR
    planes = images.new_zeros(1, whole, height, width).contiguous(memory_format=torch.channels_last)
    planes[0, : count * channels] = images.reshape(count * channels, height, width)
    mean = planes.clone(memory_format=torch.preserve_format)
    for (down, across), times in zooms.items():
        mean.add_(_zoomed(planes, down, across), alpha=times)
    return mean.div_(len(factors) + 1)[0, : count * channels].reshape(images.shape).contiguous()


def centre_zoom(images: Images, factor: float) -> Images:
    """Enlarges the middle of each image by `factor` >= 1, as the benchmark does: crop, resize, trim.

    Along a side of n pixels the crop is the c = ceil(n / factor) pixels from (n - c) // 2 on; it is resized to
    s = round(c factor) pixels with linear interpolation, corner pixels aligned; the n pixels from (s - n) // 2 on are
    kept. On small images the result is off-centre by up to half a pixel.

    Raises:
        InputError: the factor is below 1.
    """
    height, width = images.shape[-2:]
    return _zoomed(images, _geometry(height, factor), _geometry(width, factor))


def _zoomed(images: Images, down: _Side, across: _Side) -> Images:
    (top, rows, tall, above), (left, columns, wide, before) = down, across
    height, width = images.shape[-2:]
    if (rows, columns) == (tall, wide) == (height, width):
        return images
    crop = images[..., top : top + rows, left : left + columns]
    if images.is_contiguous(memory_format=torch.channels_last):  # a mere view of it would be interpolated half as fast
        crop = crop.contiguous(memory_format=torch.channels_last)
    zoomed = F.interpolate(crop, size=(tall, wide), mode="bilinear", align_corners=True)
    return zoomed[..., above : above + height, before : before + width]


def _geometry(side: int, factor: float) -> _Side:
    if factor < 1:
        raise InputError(f"a zoom factor must be at least 1, got {factor}: give 1 or more")
    crop = math.ceil(side / factor)
    size = round(crop * factor)
    return (side - crop) // 2, crop, size, (size - side) // 2
