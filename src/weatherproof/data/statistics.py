"""Statistics of a set of images."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from weatherproof.data.images import ImageSet
from weatherproof.data.loading import batches
from weatherproof.errors import InputError
from weatherproof.files import replacing
from weatherproof.progress import phase

_BATCH = 256  # 256 squares of at most 255 add up to less than 2^24: their float32 sums are exact


def pixel_std(images: ImageSet, *, device: str | torch.device = "cpu", workers: int = 0) -> Float64[Tensor, "H W"]:
    """The sample standard deviation of each pixel over the images, for pixels in [0, 1], averaged over the channels.

    One pass in batches; the sums are of whole numbers and exact, so a pixel that never changes has exactly 0.

    Raises:
        InputError: fewer than two images, or images of different sizes.
    """
    if images.image_size is None:
        raise InputError(f"the images of {images.name!r} differ in size: give a size to resize them to")
    total = torch.zeros(images.channels, *images.image_size, dtype=torch.int64, device=device)
    squares, count = torch.zeros_like(total), 0
    with phase(f"statistics of the pixels of {images.name}", len(images)) as meter:
        for batch in batches(images, _BATCH, device=device, workers=workers):
            level = batch.images.mul_(255).round_()
            total += level.sum(dim=0).long()
            squares += level.square_().sum(dim=0).long()
            count += len(level)
            meter.advance(len(level))
    if count < 2:
        raise InputError(f"a standard deviation needs two images or more, {images.name!r} has {count}")
    scatter = (count * squares - total.square()).double()
    return (scatter / (count * (count - 1))).sqrt().div(255).mean(dim=0).cpu()


def save_pixel_std(images: ImageSet, path: str | Path, *, workers: int = 0) -> None:
    """Write `pixel_std` to a .npy file for `NonUniformNoise(std=path)`: the whole file or, where that fails, none.

    Raises:
        InputError: as `pixel_std`; the file cannot be written.
    """
    path = Path(path)
    std = pixel_std(images, workers=workers).numpy()
    with replacing(path, std.nbytes) as file:
        np.save(file, std, allow_pickle=False)
