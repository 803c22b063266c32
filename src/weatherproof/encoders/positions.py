"""What vision transformers know of positions, from the size that they were trained at to another one."""

from typing import Any

import torch
from torch import nn

from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.sizes import Size, in_pixels, nearest, sides


def knows_positions(network: nn.Module) -> bool:
    """Whether it is a network of timm or a tower of open_clip that `move` takes to another size."""
    trunk = getattr(network, "trunk", network)
    return callable(getattr(trunk, "set_input_size", None)) or _is_open_clips(trunk)


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
        larger = sides(nearest(size, tuple(patch))[1])
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
