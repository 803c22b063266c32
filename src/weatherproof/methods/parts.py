"""What the methods share: looking at images in full precision, frozen networks, limits of their settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.protocols import Operator, Views
from weatherproof.types import Images, Keys

# how a training key is folded for each use; part of what makes a run repeatable
AUGMENT, OPERATOR, JIGSAW, NEGATIVES, ORDER, SHUFFLE, NOISE, ATTACK = range(1, 9)


@contextmanager
def pixel_precision(images: Images) -> Iterator[None]:
    """Pixels are float32, also in a mixed-precision run (a blur is a convolution, which autocast would round)."""
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        yield


def look(
    op: Operator | None, images: Images, keys: Keys, use: int
) -> Float[Tensor, "batch channels rows columns"]:  # fmt: skip
    """`op` applied with the keys of one use; no operator, no change. A crop may change the size."""
    if op is None:
        return images
    with pixel_precision(images):
        return op(images, random.fold(keys, use))


def one_look(
    views: Views | Operator, images: Images, keys: Keys
) -> Float[Tensor, "batch channels rows columns"]:  # fmt: skip
    """A single view, by a family's `one` where it has that; of several views the first. A crop may change the size."""
    with pixel_precision(images):
        seen = getattr(views, "one", views)(images, keys)
    return seen[0] if isinstance(seen, tuple) else seen


def trainable(encoder: nn.Module, head: nn.Module | None = None) -> None:
    """Let training move the encoder, all but its own classifier where no loss reaches that.

    A weight without a gradient would be an error among several processes, and is a surprise everywhere.
    """
    encoder.requires_grad_(True)
    own = getattr(encoder, "head", None)
    if own is not None and own is not head:
        own.requires_grad_(False)
    if head is not None:
        head.requires_grad_(True)


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation uses the statistics of its batch, and its running statistics do not move."""
    norms: list[Any] = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, (training, tracks) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracks


def check_rows(rows: int) -> None:
    """Raise `InputError` for a batch of one."""
    if rows < 2:
        raise InputError(
            f"contrastive learning tells images of a batch apart: a batch of at least 2, got {rows}; "
            "raise batch_size, and leave drop_last on where an epoch's last batch is one image"
        )


def check_share(name: str, value: float) -> None:
    """Raise `InputError` unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be from 0 to 1, got {value}")


def check_pair(trained: nn.Module, frozen: nn.Module, names: tuple[str, str]) -> None:
    """Raise `InputError` where what one trains is the other's too, or where their embeddings differ in size."""
    one, other = names
    moved = {id(p) for p in trained.parameters() if p.requires_grad}
    if moved & {id(p) for p in frozen.parameters()}:
        raise InputError(f"{one} and {other} share weights: give one of them its own with clone()")
    if trained.feature_dim != frozen.feature_dim:
        raise InputError(
            f"{one} and {other} must give embeddings of one size, got {trained.feature_dim} and {frozen.feature_dim}"
        )
