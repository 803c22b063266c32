"""Which image is it? One positive against many negatives (van den Oord et al. 2018; MoCo, InstDis, PIRL)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def info_nce(positive: Float[Tensor, "batch"], negatives: Float[Tensor, "batch count"]) -> Float[Tensor, ""]:
    """-log( e^p / (e^p + sum_k e^(n_k)) ) of logits, averaged: cross-entropy with the positive as target.

    Args:
        positive: p, the similarity to the positive over the temperature.
        negatives: n_k, those to the negatives.
    """
    return F.softplus(negatives.logsumexp(dim=1) - positive).mean()
