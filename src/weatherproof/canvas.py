"""Images of unlike sizes in one tensor, for views that begin with a crop."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Sizes = Int64[Tensor, "batch 2"]  # (height, width), on the CPU


class Canvas(Tensor):
    """Images of unlike sizes, each in the upper left corner of a canvas as large as the largest; NaN beyond.

    A crop looks at `sizes` and cuts out of the image alone; what takes the canvas for an image gets NaN, which training
    and measurement refuse. Rows of a canvas are a canvas, everything else that is made of one is a plain tensor.

    Attributes:
        sizes: of the images.
    """

    sizes: Sizes
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(images: Float[Tensor, "batch channels height width"], sizes: Sizes) -> Tensor:
        """The canvas; plain images where all are as large as it is. What is beyond them is overwritten."""
        height, width = images.shape[-2:]
        if bool((sizes == torch.tensor([height, width])).all()):
            return images
        rows, columns = (
            torch.arange(side, device=images.device) >= lengths.to(images.device)[:, None]
            for side, lengths in zip((height, width), sizes.unbind(1), strict=True)
        )
        images.masked_fill_((rows[:, :, None] | columns[:, None, :])[:, None], torch.nan)
        return _canvas(images, sizes)

    def __getitem__(self, rows: Any) -> Tensor:
        found = super().__getitem__(rows)
        return picked(self, rows) if isinstance(rows, slice) else found


def _canvas(images: Tensor, sizes: Sizes) -> Canvas:
    canvas = images.as_subclass(Canvas)
    canvas.sizes = sizes
    return canvas


def picked(images: Tensor, rows: slice | Int64[Tensor, "rows"]) -> Tensor:
    """Some of the images: a canvas of a canvas.

    Args:
        rows: on the CPU.
    """
    chosen = rows if isinstance(rows, slice) else rows.to(images.device)
    found = torch.Tensor.__getitem__(images, chosen)
    return _canvas(found, images.sizes[rows]) if isinstance(images, Canvas) else found


def sides(images: Tensor) -> tuple[int, int] | tuple[Int64[Tensor, "batch"], Int64[Tensor, "batch"]]:
    """Height and width: two numbers, or those of each image of a canvas."""
    if isinstance(images, Canvas):
        height, width = images.sizes.unbind(1)
        return height, width
    return images.shape[-2], images.shape[-1]


def padded(
    images: Sequence[UInt8[Tensor, "channels _ _"]],
) -> tuple[UInt8[Tensor, "batch channels height width"], Sizes]:
    """Images in the upper left corners of zeros, and their sizes; at least one image."""
    sizes = torch.tensor([image.shape[-2:] for image in images])
    canvas = images[0].new_zeros(len(images), images[0].shape[0], *sizes.amax(dim=0).tolist())
    for place, image in zip(canvas, images, strict=True):
        place[:, : image.shape[-2], : image.shape[-1]] = image
    return canvas, sizes
