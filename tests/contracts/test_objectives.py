"""What every objective promises. A new one adds a row to `objectives.TABLE` and inherits these checks."""

import pytest
import torch
from torch import Tensor

from weatherproof import objectives
from weatherproof.errors import InputError
from weatherproof.protocols import Objective

MEMBERS = [make() for make in objectives.TABLE.values()]
CONTRASTIVE = [name for name in objectives.TABLE if name != "MSE"]
every = pytest.mark.parametrize("objective", [*MEMBERS, objectives.MSE(raw=True)], ids=repr)
normalising = pytest.mark.parametrize("objective", MEMBERS, ids=repr)


def _pair(n: int = 6, features: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    student, teacher = torch.randn(2, n, features, generator=generator, dtype=torch.float64).to(dtype)
    return student, teacher


@every
def test_text_reads_back(objective: Objective) -> None:
    assert objectives.parse(repr(objective)) == objective


@every
def test_gradcheck(objective: Objective) -> None:
    student, teacher = _pair(4, 3, torch.float64)
    assert torch.autograd.gradcheck(lambda s: objective(s, teacher), student.requires_grad_())


@every
def test_teacher_that_needs_no_gradient_gets_none(objective: Objective) -> None:
    student, teacher = _pair()
    loss = objective(student.requires_grad_(), teacher)
    assert loss.ndim == 0
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


@normalising
def test_lengths_do_not_matter(objective: Objective) -> None:
    student, teacher = _pair()
    torch.testing.assert_close(objective(7 * student, 0.2 * teacher), objective(student, teacher))


@every
def test_order_of_the_images_does_not_matter(objective: Objective) -> None:
    student, teacher = _pair()
    shuffled = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(objective(student[shuffled], teacher[shuffled]), objective(student, teacher))


@normalising
def test_the_partner_pulls(objective: Objective) -> None:
    student, teacher = _pair()
    assert objective(teacher.clone(), teacher) < objective(student, teacher)
    assert objective(student, teacher) < objective(-teacher, teacher)


@every
def test_same_under_autocast(objective: Objective) -> None:
    """The embeddings arrive rounded to bfloat16; what is computed from them is not."""
    student, teacher = _pair(64, 32, torch.bfloat16)
    exact = objective(student.float(), teacher.float())
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)


@every
def test_zero_embeddings_stay_finite(objective: Objective) -> None:
    student, teacher = torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 4)
    loss = objective(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@every
def test_batch_of_one_works_or_says_why(objective: Objective) -> None:
    student, teacher = _pair(1)
    if isinstance(objective, objectives.StudentStudent):
        with pytest.raises(ValueError, match="at least 2"):
            objective(student, teacher)
        return
    loss = objective(student.requires_grad_(), teacher)
    loss.backward()
    assert student.grad is not None
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("temperature", [0.0, -0.1, float("inf"), float("nan")])
def test_temperature_must_be_positive(name: str, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        objectives.TABLE[name](temperature)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_small_temperature_does_not_overflow(name: str) -> None:
    student, teacher = _pair()
    loss = objectives.TABLE[name](1e-3)(student.requires_grad_(), teacher)
    loss.backward()
    assert student.grad is not None
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_bad_text_is_one_line() -> None:
    with pytest.raises(InputError, match="temperature must be a positive number, got 0.0"):
        objectives.parse("StudentTeacher(temperature=0.0)")
    with pytest.raises(InputError, match="did you mean NTXent"):
        objectives.parse("NTXnt")
