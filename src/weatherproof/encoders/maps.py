"""Where a network still knows positions: its last map, or its last tokens, from the pass that embeds the images."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil, floor, isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherproof.encoders.taps import SIDE, body_of, name_of
from weatherproof.errors import InputError
from weatherproof.modes import eval_mode
from weatherproof.sizes import Size, sides
from weatherproof.types import Embeddings, Images, Maps

_WITHIN_ATTENTION = re.compile(r"(^|\.)(attn|attention|self_attention)")  # its heads and scores have shapes like maps


@dataclass(frozen=True)
class MapPlace:
    """Where a network's last map is.

    Attributes:
        module: by its name in the encoder's body; "": the body itself.
        form: how it comes: [batch, channels, rows, columns], the same with channels last, or as tokens
            [batch, tokens, channels].
        prefix: tokens before those of the positions.
        shape: (channels, rows, columns), at the size that was looked at.
    """

    module: str
    form: Literal["map", "channels last", "tokens"]
    prefix: int
    shape: tuple[int, int, int]

    def read(self, output: Tensor) -> Maps:
        """What the module gives, as a map."""
        if self.form == "map":
            return output
        if self.form == "channels last":
            return output.movedim(-1, 1)
        tokens = output[:, self.prefix :].mT
        return tokens.unflatten(2, _grid(tokens.shape[2], self.shape[1:]))


@torch.no_grad()
def map_place(encoder: nn.Module, size: Size | None = None) -> MapPlace:
    """Where the encoder's last map of more than one position is, found out with one black image.

    A convolutional network gives the map before it is pooled, a transformer the tokens of its patches.

    Args:
        encoder: `weatherproof.encoders.Encoder`, or any module.
        size: side of the images, or (rows, columns), where the encoder does not resize them.

    Raises:
        InputError: it keeps no positions apart.
    """
    body, preprocessing = body_of(encoder), getattr(encoder, "preprocessing", None)
    rows, columns = sides(getattr(preprocessing, "size", None) or size or SIDE)
    found: list[MapPlace] = []
    runs: Counter[str] = Counter()

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            runs[name] += 1
            if isinstance(output, Tensor) and len(output) == 1:
                found.extend(_form(body, name, output, (rows, columns)))

        return hook

    weight = next(encoder.parameters())
    black = torch.zeros(
        1, getattr(preprocessing, "channels", 3), rows, columns, device=weight.device, dtype=weight.dtype
    )
    with ExitStack() as stack:
        stack.enter_context(eval_mode(encoder))
        for name, module in body.named_modules():
            if _WITHIN_ATTENTION.search(name):
                continue
            stack.callback(module.register_forward_hook(look(name)).remove)
        body(black)
    once = [place for place in found if runs[place.module] == 1]
    if not once:
        raise InputError(
            f"{name_of(encoder)} keeps no positions apart at {rows}x{columns} pixels: it gives neither a map nor "
            "tokens of a grid of patches; leave the dense term out (dense 0), or take larger images"
        )
    return once[-1]


def embedded_with_map(encoder: nn.Module, images: Images, place: MapPlace) -> tuple[Embeddings, Maps]:
    """The embeddings and the map of the same pass. Raises `InputError` for a gate, which is two networks: of that
    ask `Encoder.see`."""
    with recorded_maps(encoder, place) as recorded:
        embeddings = encoder(images)
    maps = torch.cat(recorded)  # of all parts, where the encoder takes some images at a time
    if len(maps) != len(images):
        raise InputError(f"{name_of(encoder)} is two networks behind a gate: take one of them, .original or .hardened")
    return embeddings, maps


@contextmanager
def recorded_maps(encoder: nn.Module, place: MapPlace) -> Iterator[list[Maps]]:
    """Inside, every pass adds its map to the list. Nothing is left on the encoder afterwards."""
    recorded: list[Maps] = []
    module = body_of(encoder).get_submodule(place.module)
    handle = module.register_forward_hook(lambda _, __, output: recorded.append(place.read(output)))
    try:
        yield recorded
    finally:
        handle.remove()


def _grid(tokens: int, shape: tuple[int, int]) -> tuple[int, int]:
    """The rows and columns of so many tokens: those of the place, or a square."""
    side = isqrt(tokens)
    return shape if tokens == shape[0] * shape[1] else (side, tokens // max(1, side))


def _cells(tokens: int, pixels: tuple[int, int]) -> tuple[int, int] | None:
    """The rows and columns of patches that an image is cut into, where they make so many tokens; None: none do."""
    rows, columns = pixels
    if rows == columns:
        side = isqrt(max(0, tokens))
        return (side, side) if side**2 == tokens else None
    grids = ((up(rows / patch), up(columns / patch)) for patch in range(1, min(pixels) + 1) for up in (floor, ceil))
    return next((grid for grid in grids if grid[0] * grid[1] == tokens), None)


def _form(body: nn.Module, name: str, output: Tensor, pixels: tuple[int, int]) -> list[MapPlace]:
    """The place of this output, where it is a map of more than one position."""
    if output.ndim == 4:
        last = getattr(body, "output_fmt", None) == "NHWC"
        channels, rows, columns = (output.movedim(-1, 1) if last else output).shape[1:]
        form: Literal["map", "channels last"] = "channels last" if last else "map"
        return [MapPlace(name, form, 0, (channels, rows, columns))] if rows * columns > 1 else []
    if output.ndim != 3:
        return []
    tokens, channels = output.shape[1:]
    own = getattr(body, "num_prefix_tokens", None)
    for prefix in (0, 1) if own is None else (int(own),):
        cells = _cells(tokens - prefix, pixels)
        if cells is not None and min(cells) > 1:
            return [MapPlace(name, "tokens", prefix, (channels, *cells))]
    return []
