"""Embeddings of unit length, and losses of embeddings against remembered ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.modes import eval_mode
from weatherproof.protocols import Encoder
from weatherproof.types import Embeddings


def unit(rows: Embeddings) -> Embeddings:
    """Every row divided by its length, in float32 also in a mixed-precision run."""
    return nn.functional.normalize(rows.float(), dim=1)


def random_units(count: int, features: int, seed: int) -> Embeddings:
    """Vectors uniform on the sphere."""
    return unit(torch.randn(count, features, generator=torch.Generator().manual_seed(seed)))


@torch.no_grad()
def output_width(encoder: Encoder, projector: nn.Module) -> int:
    """How many numbers the projector makes of an embedding."""
    like = next(projector.parameters(), torch.zeros(()))
    with eval_mode(projector):
        return projector(like.new_zeros(1, encoder.feature_dim)).shape[1]


def gradient_now(loss: Callable[[Tensor], Tensor], features: Embeddings) -> Tensor:
    """loss(features), its gradient taken at once, in float32 throughout.

    For a loss that reads memory which moves before the backward pass. Nothing of the batch x memory matrices outlives
    the call.
    """
    value = _GradientNow.apply(features, loss)
    assert isinstance(value, Tensor)
    return value


class _GradientNow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
            leaf = features.detach().float().requires_grad_()
            value = loss(leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        ctx.save_for_backward(gradient.to(features.dtype))
        return value.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return factor * gradient, None
