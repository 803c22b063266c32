"""Pull and push: alignment / temperature plus a uniformity term (Contrastive Inversion, section 3 and Appendix C).

With unit embeddings S_i = S(A(x_i)), R_i = R(x_i) and k(a, b) = <a, b> / temperature, every loss is
``mean_i(U_i) - mean_i k(S_i, R_i)``; they differ in what U_i pushes away. Terms between teachers only are constants.
Each takes [batch, features] un-normalised embeddings and raises `InputError` where they cannot be a batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.objectives.embeddings import check_temperature, unit_rows
from weatherproof.objectives.log_sums import log_sums
from weatherproof.spec import component
from weatherproof.types import Embeddings


def student_teacher(student: Embeddings, teacher: Embeddings, temperature: float = 0.1) -> Float[Tensor, ""]:
    """U_i = log sum_j exp k(S_i, R_j) (eq. 2-4): cross-entropy of the N x N logits with the diagonal as target."""
    check_temperature(temperature)
    with unit_rows(student, teacher) as (s, r):
        return F.cross_entropy(s @ r.T / temperature, torch.arange(len(s), device=s.device))


def student_student(student: Embeddings, teacher: Embeddings, temperature: float = 0.1) -> Float[Tensor, ""]:
    """U_i = log sum_{j != i} exp k(S_i, S_j). Needs a batch of two or more."""
    check_temperature(temperature)
    if len(student) < 2:
        raise InputError(
            f"StudentStudent needs other images to push away from: a batch of at least 2, got {len(student)}"
        )
    with unit_rows(student, teacher) as (s, r):
        return _others(s, temperature).logsumexp(dim=1).mean() - (s * r).sum(dim=1).mean() / temperature


def student_both(student: Embeddings, teacher: Embeddings, temperature: float = 0.1) -> Float[Tensor, ""]:
    """U_i = log( sum_{j != i} exp k(S_i, S_j) + sum_j exp k(S_i, R_j) )."""
    check_temperature(temperature)
    with unit_rows(student, teacher) as (s, r):
        st = s @ r.T / temperature
        return torch.cat([_others(s, temperature), st], dim=1).logsumexp(dim=1).mean() - st.diagonal().mean()


def nt_xent(
    student: Embeddings, teacher: Embeddings, temperature: float = 0.1, include_self: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy of each of the 2N anchors against the 2N - 1 others, its partner as target, averaged.

    U_i = 1/2 log( sum_{j != i} exp k(S_i, S_j) + sum_j exp k(S_i, R_j) )
        + 1/2 log( sum_j exp k(R_i, S_j) + sum_{j != i} exp k(R_i, R_j) ),
    the halves as in the authors' code (Appendix C without them is out of balance). Symmetric in its arguments.

    Args:
        include_self: also j = i, the constant exp(1 / temperature) in each sum ("Robustness of Contrastive Learning
            Models", eq. 1). SimCLR leaves it out.
    """
    check_temperature(temperature)
    with unit_rows(student, teacher) as (s, r):
        push = log_sums(torch.cat([s, r]) / temperature**0.5, include_self)
        return push.mean() - (s * r).sum(dim=1).mean() / temperature


def _others(x: Tensor, temperature: float) -> Tensor:
    """k(x_i, x_j), with -inf where j = i so that it leaves the sum."""
    return (x @ x.T / temperature).fill_diagonal_(float("-inf"))


@component
class StudentTeacher:
    """`student_teacher`: the student against every clean embedding of the batch. The paper's main objective."""

    temperature: float = 0.1  # section 4 and the authors' code, as for the three below

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return student_teacher(student, teacher, self.temperature)


@component
class StudentStudent:
    """`student_student`: the student against its own other embeddings."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return student_student(student, teacher, self.temperature)


@component
class StudentBoth:
    """`student_both`: the student against both."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return student_both(student, teacher, self.temperature)


@component
class NTXent:
    """`nt_xent`: all pairs among students and teachers; also the objective of SimCLR, between two views."""

    temperature: float = 0.1
    include_self: bool = False

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return nt_xent(student, teacher, self.temperature, self.include_self)
