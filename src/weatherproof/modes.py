"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def eval_mode(*models: object) -> Iterator[None]:
    """Inside, every `nn.Module` among `models` is in evaluation mode; gradients are the caller's business.

    Outside, each submodule is in the mode it had: a train-mode encoder with frozen batch norm stays just that.
    """
    modes = {part: part.training for model in models if isinstance(model, nn.Module) for part in model.modules()}
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def evaluating(*models: object) -> Iterator[None]:
    """`eval_mode` in which nothing is recorded for gradients, now or later (`torch.inference_mode`)."""
    with eval_mode(*models), torch.inference_mode():
        yield


@contextmanager
def unchanged_statistics(*models: nn.Module) -> Iterator[None]:
    """Inside, normalisation works as it does, but on copies of its running statistics: afterwards these are what they
    were, and so is what an earlier pass has kept of them for its gradients."""
    parts = dict.fromkeys(part for model in models for part in model.modules())
    norms = [part for part in parts if isinstance(part, _NormBase) and part.training]
    own = [(norm, name, value) for norm in norms for name, value in norm.named_buffers(recurse=False)]
    try:
        for norm, name, value in own:
            setattr(norm, name, value.clone())
        yield
    finally:
        for norm, name, value in own:
            setattr(norm, name, value)
