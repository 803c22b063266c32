"""What vision transformers know of positions, from the size that they were trained at to another one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.sizes import Size, in_pixels, nearest, sides, size_of


def knows_positions(network: nn.Module) -> bool:
    """Whether it is a network of timm or a tower of open_clip that `move` takes to another size."""
    trunk = getattr(network, "trunk", network)
    return callable(getattr(trunk, "set_input_size", None)) or _is_open_clips(trunk)


def scrambles(shapes: Callable[[Size], Mapping[str, torch.Size]], own: Size, size: Size) -> bool:
    """Whether tensors of a network for images of one size would come to wrong places in one for another size, and no
    library would say a word: a row of positions, or weights that mix these, is as long for 2 x 4 patches as for 4 x 2.

    Args:
        shapes: of the tensors of a network that is built for a size.
        own, size: that of the tensors, and that of the images to come.
    """
    if isinstance(own, int) and isinstance(size, int):  # as many patches mean the same ones
        return False
    (rows, columns), (others, across) = sides(own), sides(size)
    known = shapes(own)
    if known == shapes(size_of((others, columns))) == shapes(size_of((rows, across))):
        return False  # no tensor knows of positions, or the patches are as many in each direction
    return not isinstance(own, int) or known == shapes(size)  # what resamples takes all that it gets for a square


def move(encoder: Encoder, size: Size) -> None:
    """Resample, as its library does it, what the encoder's networks know of positions, for pixels of another size.

    Unlike a file, a network knows rows and columns of the grid from which it is resampled: they need not be a square's.

    Raises:
        InputError: a size that such a network cannot have.
    """
    bodies = {id(one.body): one.body for one in encoder.modules() if isinstance(one, Encoder)}  # a gate has two
    for body in bodies.values():
        trunk: Any = getattr(body, "trunk", body)
        patch = getattr(trunk if _is_open_clips(trunk) else getattr(trunk, "patch_embed", None), "patch_size", (1, 1))
        patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
        larger = sides(nearest(size, patch)[1])
        try:
            with torch.no_grad():
                if _is_open_clips(trunk):
                    _resample(trunk, (larger[0] // patch[0], larger[1] // patch[1]))
                else:
                    trunk.set_input_size(larger)
        except (RuntimeError, TypeError, AssertionError, ValueError, AttributeError) as error:
            raise InputError(f"{encoder.name} cannot see {in_pixels(size)} pixels: {one_line(error)}") from None


def _is_open_clips(trunk: nn.Module) -> bool:
    return hasattr(trunk, "positional_embedding") and hasattr(trunk, "grid_size")


def _resample(tower: Any, grid: tuple[int, int]) -> None:
    """One of open_clip's own towers, with the class token before the positions."""
    from timm.layers import resample_abs_pos_embed

    known = tower.positional_embedding
    moved = resample_abs_pos_embed(known[None], new_size=list(grid), old_size=list(tower.grid_size))[0]
    tower.positional_embedding, tower.grid_size = nn.Parameter(moved, requires_grad=known.requires_grad), grid
