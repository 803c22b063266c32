"""How the kernels of convolutions lie in memory: in channels_last a pass on a CPU is up to twice as fast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from weatherproof.encoders.encoder import Encoder
from weatherproof.modes import eval_mode
from weatherproof.sizes import sides

_SIDE = 64  # pixels: from here on maps are larger than what is near a core; and of an encoder for images of any size
_FEW = 16  # channels, up to which a strided convolution of single pixels crashes in channels_last


@contextmanager
def quick_convolutions(*models: object) -> Iterator[None]:
    """Inside, the kernels of those encoders among the models, and in them, that look at large images on a CPU and bear
    it lie in channels_last; outside all lie as they did. Their values are the same."""
    modules = [part for model in models if isinstance(model, nn.Module) for part in model.modules()]
    laid = [own for own in dict.fromkeys(modules) if isinstance(own, Encoder) and _gains(own)]
    before = {kernel: kernel.data for encoder in laid for kernel in _kernels(encoder)}
    try:
        for encoder in laid:
            convolutions_channels_last(encoder)
        yield
    finally:
        for kernel, data in before.items():
            kernel.data = data


def convolutions_channels_last(module: nn.Module) -> None:
    """Lay out the kernels of its convolutions in channels_last, and nothing else that has four dimensions; all of them
    contiguously where one of its encoders does not bear that."""
    if not crashes_with_channels_last(module):
        _lay_out(module, torch.channels_last)
        if all(_sees(own) for own in module.modules() if isinstance(own, Encoder)):
            return
    _lay_out(module, torch.contiguous_format)


def _lay_out(module: nn.Module, layout: torch.memory_format) -> None:
    for kernel in _kernels(module):
        kernel.data = kernel.data.to(memory_format=layout)


def crashes_with_channels_last(module: nn.Module) -> bool:
    """Whether it has a convolution of single pixels, with a stride and few channels: torch 2.15 on CPUs writes beyond
    its memory in the gradient of one in channels_last."""
    return any(
        isinstance(one, nn.Conv2d) and set(one.kernel_size) == {1} and max(one.stride) > 1 and one.in_channels <= _FEW
        for one in module.modules()
    )


def _kernels(module: nn.Module) -> list[nn.Parameter]:
    """Those of four dimensions, also below a parametrisation."""
    convolutions = [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
    return [own for own in dict.fromkeys(p for one in convolutions for p in one.parameters()) if own.ndim == 4]


def _gains(encoder: Encoder) -> bool:
    return encoder.mean.device.type == "cpu" and min(sides(encoder.preprocessing.size or 1)) >= _SIDE


def _sees(encoder: Encoder) -> bool:
    """Whether an image goes through it: not where a network takes a map apart by `view`, which wants it contiguous."""
    expected = encoder.preprocessing
    height, width = sides(expected.size or _SIDE)
    image = torch.full((1, expected.channels, height, width), 0.5)
    kept = [(own, own.clone()) for own in encoder.buffers()]  # some networks move theirs in every pass
    try:
        with eval_mode(encoder), torch.no_grad():  # what a network keeps of a pass may be trained with later
            encoder.see(image.to(encoder.mean.device), judged=encoder.head is not None)
    except Exception:  # whatever it says: a real pass says it too, and to whom it concerns
        return False
    finally:
        for own, before in kept:
            own.copy_(before)
    return True
