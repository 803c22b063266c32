"""Losses of single answers, [batch] each, that training with labels may minimise and take the utility of: feature
contrastive learning needs no more of its loss than a gradient ("our formulation is not restricted to this loss")."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import unknown
from weatherproof.types import Labels, Logits

Losses = Float[Tensor, "batch"]


def cross_entropy(logits: Logits, labels: Labels) -> Losses:
    """-log p_y, p the softmax of the logits."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def squared_error(logits: Logits, labels: Labels) -> Losses:
    """|p - e_y|^2, e_y the one-hot label (the Brier score): from 0 to 2."""
    shares = logits.float().softmax(dim=1)
    return (shares - F.one_hot(labels, shares.shape[1]).to(shares.dtype)).square().sum(dim=1)


def hinge(logits: Logits, labels: Labels) -> Losses:
    """max(0, 1 + max_{c != y} f_c - f_y) of the logits f (Crammer & Singer 2001): flat where the answer is right by a
    margin of 1, so that such an image has no utility anywhere."""
    values = logits.float()
    right = values.gather(1, labels[:, None])[:, 0]
    others = values.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
    return (1 + others - right).clamp(min=0)


CLASS_LOSSES: dict[str, Callable[[Logits, Labels], Losses]] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "hinge": hinge,
}


def class_loss(name: str) -> Callable[[Logits, Labels], Losses]:
    """A loss of `CLASS_LOSSES`. Raises `InputError` for another name."""
    if name not in CLASS_LOSSES:
        raise unknown("loss", name, CLASS_LOSSES)
    return CLASS_LOSSES[name]
