"""What the methods share: looking at images in full precision, and frozen networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from weatherproof import random
from weatherproof.protocols import Operator
from weatherproof.types import Images, Keys

AUGMENT, OPERATOR = 1, 2  # how a training key is folded for each use; part of what makes a run repeatable


@contextmanager
def pixel_precision(images: Images) -> Iterator[None]:
    """Pixels are float32, also in a mixed-precision run (a blur is a convolution, which autocast would round)."""
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        yield


def look(op: Operator | None, images: Images, keys: Keys, use: int) -> Images:
    """`op` applied with the keys of one use; no operator, no change."""
    if op is None:
        return images
    with pixel_precision(images):
        return op(images, random.fold(keys, use))


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
