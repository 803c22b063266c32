"""A batch through a network some images at a time, with the gradients of one pass over all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from weatherproof import random
from weatherproof.encoders.recomputed import each_cast_anew, norms_as_now
from weatherproof.types import Images

Look = Callable[[Images], tuple[Tensor, ...]]


def in_parts(network: nn.Module, look: Look, images: Images, rows: int) -> tuple[Tensor, ...]:
    """look(images), where no more than `rows` images at a time keep what a backward pass needs.

    First everything is embedded and nothing is kept; the gradient with respect to all embeddings, of whatever objective
    over the whole batch, then goes back part by part, each run once more (cached gradients, Gao et al. 2021,
    arXiv 2101.06983). Dropout and stochastic depth draw the same numbers in all passes. Where layers look at one image
    at a time the gradient is that of one pass over all images; batch normalisation in train mode sees a part.

    Images that require gradients get theirs part by part too, and these can be differentiated once more. With z the
    embeddings, v = dL / dz and J = dz / dx, the derivative of J^T v by the weights and by v is taken in parts, as an
    image's own v holds all that others have to do with it; how v moves with z is left to L, whose graph is whole. What
    hooks keep of a pass (`maps.map_kept`) has gradients by the weights alone.

    Args:
        network: whose weights and normalisation `look` uses.
        look: images to outputs, a row for each image.
    """
    parts = images.split(rows)
    if not torch.is_grad_enabled():
        return _joined(map(look, parts))
    passes: list[_Again] = []

    def alike(part: Images) -> tuple[Tensor, ...]:
        with each_cast_anew(part.device.type):
            return look(part)

    def once(part: Images) -> tuple[Tensor, ...]:
        passes.append(_Again(network, look, part))
        again = partial(norms_as_now, network)
        outputs: tuple[Tensor, ...] = checkpoint(alike, part.detach(), use_reentrant=False, context_fn=again)
        return outputs

    outputs = _joined(map(once, parts))
    if not images.requires_grad:
        return outputs
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    zeros = _ByPixels.apply(images, passes, weights, *outputs)
    return tuple(output + zero for output, zero in zip(outputs, zeros, strict=True))


def _joined(parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(map(torch.cat, zip(*parts, strict=True)))


class _Again:
    """A pass over so many rows that begins now, to be made once more as it is: its draws, normalisation, precision and
    attention."""

    def __init__(self, network: nn.Module, look: Look, part: Images) -> None:
        kind = part.device.type
        precision = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        self.look, self.rows = look, len(part)
        self.replay, self.norms = random.framework_replay(part.device), norms_as_now(network)[1]
        self.cast = partial(torch.autocast, kind, *precision, cache_enabled=False)
        self.sums = not torch.backends.cuda.flash_sdp_enabled()  # attention has second derivatives in plain sums alone

    def __call__(self, pixels: Images) -> tuple[Tensor, ...]:
        attention = sdpa_kernel(SDPBackend.MATH) if self.sums else nullcontext()
        with torch.enable_grad(), self.replay(), self.cast(), attention:
            return self.look(pixels)


class _ByPixels(torch.autograd.Function):
    """Zeros like the outputs, whose gradient by the images is that of the outputs."""

    @staticmethod
    def forward(
        ctx: Any, images: Images, passes: Sequence[_Again], weights: Sequence[Tensor], *outputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(images)
        ctx.passes, ctx.weights = passes, weights
        return tuple(map(torch.zeros_like, outputs))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        (images,) = ctx.saved_tensors
        which = [i for i, slope in enumerate(slopes) if slope is not None]
        gradient = _PixelGradient.apply(images, ctx.passes, which, *(slopes[i] for i in which), *ctx.weights)
        return gradient, None, None, *[None] * len(slopes)


class _PixelGradient(torch.autograd.Function):
    """J^T v of outputs of the passes, in parts; and in parts its derivative by the images, by v and by the weights."""

    @staticmethod
    def forward(ctx: Any, images: Images, passes: Sequence[_Again], which: Sequence[int], *tensors: Tensor) -> Images:
        slopes, ctx.weights = tensors[: len(which)], tensors[len(which) :]
        ctx.passes, ctx.which = passes, which
        ctx.save_for_backward(images, *slopes)
        return torch.cat([_slope(again, which, rows)[1] for again, *rows in _rows(passes, images, *slopes)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        by_rows, by_weights = [], [torch.zeros_like(weight) for weight in ctx.weights]
        for again, along, *rows in _rows(ctx.passes, direction, *ctx.saved_tensors):
            leaves, slope = _slope(again, ctx.which, rows, twice=True)
            found = torch.autograd.grad(slope, [*leaves, *ctx.weights], along, materialize_grads=True)
            by_rows.append(found[: len(leaves)])
            for total, own in zip(by_weights, found[len(leaves) :], strict=True):
                total.add_(own)
        by_images, *by_slopes = _joined(by_rows)
        return by_images, None, None, *by_slopes, *by_weights


def _rows(passes: Sequence[_Again], *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
    """Each pass with its rows of the tensors, under its normalisation until the next."""
    parts = zip(*(tensor.split([again.rows for again in passes]) for tensor in tensors), strict=True)
    for again, rows in zip(passes, parts, strict=True):
        with again.norms:
            yield again, *rows


def _slope(
    again: _Again, which: Sequence[int], rows: Sequence[Tensor], twice: bool = False
) -> tuple[list[Tensor], Images]:  # fmt: skip
    """(x, v) of a part as leaves, and J^T v; `twice`: with its graph."""
    pixels, *slopes = leaves = [tensor.detach().requires_grad_() for tensor in rows]
    outputs = again(pixels)
    (slope,) = torch.autograd.grad([outputs[i] for i in which], pixels, slopes, create_graph=twice)
    return leaves, slope
