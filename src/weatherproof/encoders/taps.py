"""What an encoder knows halfway: embeddings taken from its inner layers."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from functools import partial
from itertools import count, takewhile
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.in_parts import in_parts
from weatherproof.errors import InputError
from weatherproof.modes import eval_mode
from weatherproof.sizes import sides
from weatherproof.types import Embeddings, Images

EMBEDDING = "embedding"  # the tap that is the encoder's own output
SIDE = 32  # of the image that is looked at where no size is known

# How networks name their stages, and whether the embedding is one layer beyond the last of them.
_SERIES = (("layer{}", False), ("stages.{}", False), ("block{}", True), ("pool{}", True))
_LEAST = 2  # one module called "pool1" is no series of stages


def stages(encoder: nn.Module) -> tuple[str, ...]:
    """The names of an encoder's stages from its first to its last, for `tapped`; the last one is "embedding".

    A stage is what lies between two changes of resolution: "layer1", "layer2", "layer3", "embedding" of a ResNet-50,
    whose embedding is the average of its fourth stage. All native encoders have stages, and so have the ResNets of
    torchvision and timm, and whatever else names its stages as they do.

    Raises:
        InputError: the network does not name stages; `tapped` takes the names of any of its modules.
    """
    body = body_of(encoder)
    names = dict(body.named_modules())
    for pattern, beyond in _SERIES:
        numbers = count(0 if pattern.format(0) in names else 1)
        found = tuple(takewhile(names.__contains__, map(pattern.format, numbers)))
        if len(found) >= _LEAST:
            return (*(found if beyond else found[:-1]), EMBEDDING)
    raise InputError(
        f"{name_of(encoder)} has no stages that we know (layer1, layer2, ...): name the layers yourself, "
        f"any of {_some(names)}, and {EMBEDDING!r}"
    )


def tapped(encoder: nn.Module, images: Images, layers: Sequence[str]) -> list[Embeddings]:
    """What each of the layers makes of the images, in one forward pass.

    A map is averaged over its positions, as the encoder does at its end. Where "embedding" is not among the layers the
    pass ends with the last of them. Nothing of this is left on the encoder afterwards.

    Args:
        encoder: `weatherproof.encoders.Encoder`, or any module.
        images: [batch, channels, height, width] in [0, 1].
        layers: names from `stages`, or of any modules of the encoder's body; "embedding" is its output.

    Returns:
        One [batch, features] for each of the layers, in their order.

    Raises:
        InputError: no layers, a name that is not there, a module that does not run or runs twice, or one whose output
            is neither [batch, features] nor [batch, features, height, width].
    """
    if not layers:
        raise InputError("expected the names of layers to tap, got none")
    rows = getattr(encoder, "micro_batch", None) or len(images)
    if len(images) <= rows:
        return [*_tapped(encoder, images, layers)]
    return [*in_parts(encoder, partial(_tapped, encoder, layers=layers), images, rows)]


def _tapped(encoder: nn.Module, images: Images, layers: Sequence[str]) -> tuple[Embeddings, ...]:
    body, wanted = body_of(encoder), set(layers) - {EMBEDDING}
    seen: dict[str, Tensor] = {}
    stop = EMBEDDING not in layers
    with ExitStack() as hooks:
        for name in wanted:
            handle = _module(body, name).register_forward_hook(_keep(name, seen, len(wanted) if stop else None))
            hooks.callback(handle.remove)
        with suppress(_SeenAllError):
            seen[EMBEDDING] = _flat(encoder(images), EMBEDDING)
    missing = sorted(wanted - seen.keys())
    if missing:
        raise InputError(f"{name_of(encoder)} does not run its module {missing[0]}: it cannot be tapped")
    return tuple(seen[name] for name in layers)


@torch.no_grad()
def widths(encoder: nn.Module, layers: Sequence[str]) -> tuple[int, ...]:
    """How many features each of the layers gives, found out with one black image.

    Raises:
        InputError: as `tapped`.
    """
    preprocessing = getattr(encoder, "preprocessing", None)
    size, channels = getattr(preprocessing, "size", None) or SIDE, getattr(preprocessing, "channels", 3)
    black = torch.zeros(1, channels, *sides(size), device=next(encoder.parameters()).device)
    with eval_mode(encoder):
        return tuple(rows.shape[1] for rows in tapped(encoder, black, layers))


class _SeenAllError(Exception):
    """Ends a forward pass whose rest nobody asked for."""


def _keep(name: str, seen: dict[str, Tensor], last: int | None) -> Callable[..., None]:
    """A hook that averages at once: the network may overwrite the map."""

    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        if name in seen:
            raise InputError(f"the module {name} runs more than once in a pass: it cannot be tapped")
        seen[name] = _flat(output, name)
        if len(seen) == last:
            raise _SeenAllError

    return hook


def _flat(output: Any, name: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"{name} gives {shape}, expected [batch, features] or a map: tap another layer")
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output


def body_of(encoder: nn.Module) -> nn.Module:
    """The network inside an encoder; of another module itself."""
    body = getattr(encoder, "body", encoder)
    assert isinstance(body, nn.Module)
    return body


def _module(body: nn.Module, name: str) -> nn.Module:
    modules = dict(body.named_modules())
    if name == "" or name not in modules:
        near = get_close_matches(name, [EMBEDDING, *filter(None, modules)], n=3, cutoff=0.5)
        raise InputError(f"no layer {name!r}: expected {' or '.join(near) or _some(modules)}, or another module's name")
    return modules[name]


def name_of(encoder: nn.Module) -> str:
    """What a message calls it."""
    return str(getattr(encoder, "name", type(encoder).__name__))


def _some(names: Iterable[str], most: int = 8) -> str:
    known = [name for name in names if name]
    return ", ".join(known[:most]) + (", ..." if len(known) > most else "")
