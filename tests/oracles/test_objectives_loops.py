"""Each objective against a second implementation: the paper's sums, written as loops over Python floats."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from weatherproof import objectives

Rows = list[list[float]]


def _unit(x: Tensor) -> Rows:
    rows = x.double().tolist()
    return [[v / math.sqrt(math.fsum(u * u for u in row)) for v in row] for row in rows]


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _pull(s: Rows, r: Rows) -> float:
    return -math.fsum(_dot(a, b) for a, b in zip(s, r, strict=True)) / len(s)


def _log_sum(terms: list[float]) -> float:
    return math.log(math.fsum(math.exp(t) for t in terms))


def mse(s: Rows, r: Rows, t: float) -> float:
    return _pull(s, r)


def student_teacher(s: Rows, r: Rows, t: float) -> float:
    n = range(len(s))
    return _pull(s, r) / t + sum(_log_sum([_dot(s[i], r[j]) / t for j in n]) for i in n) / len(s)


def student_student(s: Rows, r: Rows, t: float) -> float:
    n = range(len(s))
    return _pull(s, r) / t + sum(_log_sum([_dot(s[i], s[j]) / t for j in n if j != i]) for i in n) / len(s)


def student_both(s: Rows, r: Rows, t: float) -> float:
    n = range(len(s))
    push = [_log_sum([_dot(s[i], s[j]) / t for j in n if j != i] + [_dot(s[i], r[j]) / t for j in n]) for i in n]
    return _pull(s, r) / t + sum(push) / len(s)


def nt_xent(s: Rows, r: Rows, t: float) -> float:
    """SimCLR's definition (Chen et al. 2020, eq. 1): 2N anchors, each against all others, its partner as target."""
    z, n = s + r, len(s)
    losses = []
    for anchor in range(2 * n):
        partner = (anchor + n) % (2 * n)
        others = [_dot(z[anchor], z[j]) / t for j in range(2 * n) if j != anchor]
        losses.append(_log_sum(others) - _dot(z[anchor], z[partner]) / t)
    return sum(losses) / (2 * n)


LOOPS = {
    "MSE": mse,
    "StudentTeacher": student_teacher,
    "StudentStudent": student_student,
    "StudentBoth": student_both,
    "NTXent": nt_xent,
}


def test_every_objective_has_a_loop() -> None:
    assert LOOPS.keys() == objectives.TABLE.keys()


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize(("name", "loop"), LOOPS.items())
def test_equals_the_loop(name: str, loop: Callable[[Rows, Rows, float], float], temperature: float) -> None:
    generator = torch.Generator().manual_seed(3)
    student = 5 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    objective = objectives.MSE() if name == "MSE" else objectives.TABLE[name](temperature)
    expected = loop(_unit(student), _unit(teacher), temperature)
    assert objective(student, teacher).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_raw_mse_is_the_mean_over_entries() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [3.0, 2.0]])
    assert objectives.MSE(raw=True)(student, teacher).item() == pytest.approx((1 + 0 + 9 + 4) / 4)


def test_student_teacher_is_cross_entropy_of_the_logits() -> None:
    generator = torch.Generator().manual_seed(4)
    student, teacher = torch.randn(2, 9, 5, generator=generator)
    logits = torch.cosine_similarity(student[:, None], teacher[None], dim=2) / 0.1
    expected = -logits.log_softmax(dim=1).diagonal().mean()
    torch.testing.assert_close(objectives.StudentTeacher()(student, teacher), expected)


def test_gradient_of_the_uniformity_term() -> None:
    """dU_i/dS = 1/tau sum_j w_i(j) dK(i, j), w_i = softmax_j K(i, j)/tau; so the loss's is 1/(N tau) (w - 1) R."""
    generator = torch.Generator().manual_seed(5)
    tau, n = 0.1, 6
    student, teacher = torch.nn.functional.normalize(torch.randn(2, n, 4, generator=generator).double(), dim=2)
    student.requires_grad_()
    objectives.student_teacher(student, teacher, tau).backward()
    weights = (student.detach() @ teacher.T / tau).softmax(dim=1)
    on_the_sphere = (weights @ teacher - teacher) / (n * tau)
    radial = (on_the_sphere * student.detach()).sum(dim=1, keepdim=True) * student.detach()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, on_the_sphere - radial)
