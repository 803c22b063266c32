"""Agreement of a classifier with itself over several looks at an image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.types import Logits

_SMALLEST = 1e-7  # of a mean probability, before its logarithm (the authors' code)


def jensen_shannon(logits: Sequence[Logits]) -> Float[Tensor, ""]:
    """1/K sum_k KL(p_k || M), M = mean_k p_k, averaged over the batch (AugMix, Hendrycks et al. 2020, section 3).

    Args:
        logits: K of [batch, classes], one per look at the same images.
    """
    with torch.autocast(logits[0].device.type, enabled=False):
        log_p = torch.stack([each.float() for each in logits]).log_softmax(dim=-1)
        p = log_p.exp()
        log_mean = p.mean(dim=0).clamp(_SMALLEST, 1).log()
        return (p * (log_p - log_mean)).sum(dim=-1).mean()
