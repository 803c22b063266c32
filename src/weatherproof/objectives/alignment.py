"""Pull alone: the student's embedding of the damaged image towards the teacher's of the clean one."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof.objectives.embeddings import full_precision, unit_rows
from weatherproof.spec import component
from weatherproof.types import Embeddings


def alignment(student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
    """-1/N sum_i <S_i, R_i> of unit embeddings (Contrastive Inversion, eq. 1: least squares without its constants)."""
    with unit_rows(student, teacher) as (s, r):
        return -(s * r).sum(dim=1).mean()


def squared_error(student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
    """Mean of (S_if - R_if)^2 over all entries, lengths kept (what the authors' code computes under the name `mse`)."""
    with full_precision(student, teacher) as (s, r):
        return F.mse_loss(s, r)


@component
class MSE:
    """Least squares between embeddings: `alignment` of unit vectors, or `squared_error` of raw ones (``raw=True``)."""

    raw: bool = False

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return squared_error(student, teacher) if self.raw else alignment(student, teacher)
