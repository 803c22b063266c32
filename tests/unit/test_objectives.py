"""What belongs to single objectives: shapes, symmetry, cost, and Proposition 1 of Contrastive Inversion."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from weatherproof import objectives
from weatherproof.objectives.embeddings import full_precision


@pytest.mark.parametrize("shapes", [((4, 3), (1, 3)), ((4, 3), (4, 2)), ((4,), (4,)), ((0, 3), (0, 3))])
def test_shapes_that_only_broadcasting_would_join(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    student, teacher = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match="of one shape"), full_precision(student, teacher):
        pass


def test_nt_xent_is_symmetric() -> None:
    a, b = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objectives.nt_xent(a, b), objectives.nt_xent(b, a))


def test_nt_xent_of_two_views_moves_both() -> None:
    a, b = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(objectives.nt_xent, (a.requires_grad_(), b.requires_grad_()))


def _plain(student: Tensor, teacher: Tensor) -> Tensor:
    z = torch.cat([F.normalize(student), F.normalize(teacher)])
    logits = (z @ z.T / 0.1).fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(student)))


def test_nt_xent_is_cross_entropy_over_the_matrix_in_many_rows() -> None:
    student, teacher = torch.randn(2, 1024, 128, generator=torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for loss_of in (objectives.nt_xent, _plain):
        own = student.clone().requires_grad_()
        losses.append(loss_of(own, teacher))
        gradients.append(torch.autograd.grad(losses[-1], own)[0])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def _simplex(n: int) -> Tensor:
    """n unit vectors with equal angles and sum zero."""
    centred = torch.eye(n, dtype=torch.float64) - 1 / n
    return F.normalize(centred, dim=1)


def _minimise(teacher: Tensor) -> Tensor:
    """Free student embeddings after gradient descent on student-versus-teacher, from a random start."""
    student = torch.randn(teacher.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    student.requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        objectives.student_teacher(student, teacher, 0.5).backward()
        optimizer.step()
    return F.normalize(student.detach(), dim=1)


@pytest.mark.parametrize(
    "teacher",
    [_simplex(5), torch.cat([torch.eye(3), -torch.eye(3)]).double()],
    ids=["simplex", "orthoplex"],
)
def test_perfect_recovery(teacher: Tensor) -> None:
    """Proposition 1: a teacher that minimises the uniformity term (so its sum is zero) is recovered exactly."""
    assert teacher.sum(dim=0).norm() < 1e-12
    assert (_minimise(teacher) * teacher).sum(dim=1).min() > 1 - 1e-6


@pytest.mark.parametrize(
    "teacher",
    [
        torch.eye(4, dtype=torch.float64),
        # sum zero, yet no minimiser of uniformity: what the proof uses of its premise does not suffice
        torch.tensor([[1, 0], [-1, 0], [0.8, 0.6], [-0.8, -0.6]], dtype=torch.float64),
    ],
    ids=["sum not zero", "sum zero, badly spread"],
)
def test_no_recovery_without_the_premise(teacher: Tensor) -> None:
    student = _minimise(teacher)
    assert objectives.student_teacher(student, teacher, 0.5) < objectives.student_teacher(teacher, teacher, 0.5)
    assert (student * teacher).sum(dim=1).max() < 0.99
