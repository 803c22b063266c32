"""L2-SP: fine-tuned weights are drawn to where they started, not to zero (Li, Grandvalet & Davoine 2018)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.objectives.embeddings import check_weights
from weatherproof.spec import component


def squared_distance(weights: Iterable[Tensor], start: Iterable[Tensor] | None = None) -> Float[Tensor, ""]:
    """Sum over all weights of (w - w0)^2; without a start, of w^2."""
    here = list(weights)
    if start is None:
        parts = [weight.square().sum() for weight in here]
    else:
        there = list(start)
        if [weight.shape for weight in here] != [weight.shape for weight in there]:
            raise InputError(
                f"weights and their start must have the same shapes, got {len(here)} and {len(there)} weights"
            )
        parts = [(weight - first).square().sum() for weight, first in zip(here, there, strict=True)]
    return torch.stack(parts).sum() if parts else torch.zeros(())


@component
class L2SP:
    """alpha / 2 |w_S - w0_S|^2 + beta / 2 |w_new|^2, in place of weight decay (eq. 4 of the paper).

    w_S are the encoder's weights, w0_S the same where fine-tuning starts, w_new those of the new classifier; biases and
    the scales of normalisation are weights too.

    Args:
        alpha: the authors recommend 0.1; URRL, which sweeps 1e-5 to 1e-1, finds that harmful.
        beta: 0.01, or 0.001.

    Raises:
        InputError: a weight that is no number of 0 or more.
    """

    alpha: float = 0.1
    beta: float = 0.01

    def __post_init__(self) -> None:
        check_weights(self, "alpha", "beta")

    def __call__(self, weights: Iterable[Tensor], start: Iterable[Tensor], new: Iterable[Tensor]) -> Float[Tensor, ""]:
        """
        Args:
            weights, start: of the encoder, now and at the start, in the same order.
            new: of the classifier.
        """
        return self.alpha / 2 * squared_distance(weights, start) + self.beta / 2 * squared_distance(new)
