"""How the kernels of convolutions lie in memory while they are trained."""

import torch
from torch import nn

_FEW = 16  # channels, up to which a strided convolution of single pixels crashes in channels_last


def convolutions_channels_last(module: nn.Module) -> None:
    """Lay out the kernels of its convolutions in channels_last, and nothing else that has four dimensions."""
    for one in module.modules():
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d):
            for own in one.parameters():  # the kernel, also below a parametrisation
                if own.ndim == 4:
                    own.data = own.data.to(memory_format=torch.channels_last)


def crashes_with_channels_last(module: nn.Module) -> bool:
    """Whether it has a convolution of single pixels, with a stride and few channels: torch 2.15 on CPUs writes beyond
    its memory in the gradient of one in channels_last."""
    return any(
        isinstance(one, nn.Conv2d) and set(one.kernel_size) == {1} and max(one.stride) > 1 and one.in_channels <= _FEW
        for one in module.modules()
    )
