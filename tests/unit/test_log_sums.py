"""The log-sums of all pairs against the whole matrix."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from weatherproof.objectives import NTXent
from weatherproof.objectives import log_sums as module
from weatherproof.objectives.log_sums import log_sums


def _matrix(rows: Tensor, include_self: bool) -> Tensor:
    similarity = rows @ rows.T
    if not include_self:
        similarity = similarity - torch.diag(torch.full((len(rows),), torch.inf, dtype=rows.dtype))
    return similarity.logsumexp(dim=1)


@pytest.fixture(params=[3, 4, 7, 256])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks that divide ten rows and that do not, and one that holds all."""
    monkeypatch.setitem(module._BLOCK, "cpu", request.param)
    return request.param


@pytest.mark.parametrize("include_self", [False, True])
def test_values_and_gradients(block: int, include_self: bool) -> None:
    generator = torch.Generator().manual_seed(block)
    rows = torch.randn(10, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(10, generator=generator, dtype=torch.float64)  # also negative ones
    expected, found = _matrix(rows, include_self), log_sums(rows, include_self)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(sums @ weights, rows)[0] for sums in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradgradcheck(lambda r: log_sums(r, include_self), rows)


@pytest.mark.parametrize("include_self", [False, True])
def test_gradients_inside_mixed_precision_are_float32(include_self: bool) -> None:
    """An exact penalty on gradients takes them where the loss is computed."""
    rows = (3 * torch.randn(10, 4, generator=torch.Generator().manual_seed(2))).requires_grad_()
    sums = log_sums(rows, include_self).sum()
    (expected,) = torch.autograd.grad(sums, rows, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(sums, rows, create_graph=True)
    assert torch.equal(found, expected)


def test_similarities_of_any_size_stay_finite(block: int) -> None:
    rows = (30 * torch.randn(10, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = log_sums(rows)
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    exact = rows.detach().double().requires_grad_()
    expected = _matrix(exact, include_self=False)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(expected.sum(), exact)[0], rtol=1e-3, atol=1e-2)


def test_include_self_adds_a_constant_to_every_sum() -> None:
    """With e^(1/tau) in each denominator, as "Robustness of Contrastive Learning Models" writes it."""
    generator = torch.Generator().manual_seed(1)
    first, second = torch.nn.functional.normalize(torch.randn(2, 5, 4, generator=generator).double(), dim=2)
    views, tau = torch.cat([first, second]), 0.5
    exponentials = (views @ views.T / tau).exp()
    partner = torch.arange(10).roll(5)
    expected = (exponentials.sum(dim=1).log() - exponentials[torch.arange(10), partner].log()).mean()
    torch.testing.assert_close(NTXent(tau, include_self=True)(first, second), expected)
    assert NTXent(tau)(first, second) < expected
    assert repr(NTXent(tau, include_self=True)) == "NTXent(temperature=0.5, include_self=True)"


def test_memory_does_not_hold_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor that the two passes make is a block or the rows themselves."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    monkeypatch.setitem(module._BLOCK, "cpu", 16)
    rows = torch.randn(128, 8, generator=torch.Generator().manual_seed(2), requires_grad=True)
    with Watch():
        log_sums(rows).sum().backward()
    assert largest == 128 * 8
