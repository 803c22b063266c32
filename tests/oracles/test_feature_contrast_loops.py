"""The feature contrastive loss against its equations, written as loops over images and negatives."""

import math

import pytest
import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.objectives import FeatureContrast, FeatureContrastMargin, feature_contrast, feature_contrast_margin


def _dist(a: Tensor, b: Tensor) -> float:
    return 1 - float(a @ b / (a.norm() * b.norm()))


def _negatives(i: int, z: Tensor, high: Tensor | None, keep: Tensor | None) -> list[float]:
    """The distances to N_i."""
    own = [] if high is None or (keep is not None and not keep[i]) else [_dist(z[i], high[i])]
    return own + [_dist(z[i], z[j]) for j in range(len(z)) if j != i]


def _softmax(z: Tensor, low: Tensor, high: Tensor | None, keep: Tensor | None, temperature: float) -> list[float]:
    rows = []
    for i in range(len(z)):
        positive = math.exp((1 - _dist(z[i], low[i])) / temperature)
        negatives = sum(math.exp((1 - d) / temperature) for d in _negatives(i, z, high, keep))
        rows.append(-math.log(positive / (positive + negatives)))
    return rows


def _margin(z: Tensor, low: Tensor, high: Tensor | None, keep: Tensor | None, margin: float) -> list[float]:
    return [
        _dist(z[i], low[i]) ** 2 + sum(max(0.0, margin - d) ** 2 for d in _negatives(i, z, high, keep))
        for i in range(len(z))
    ]


def _embeddings(rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    z, low, high = torch.randn(3, rows, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return z, z + 0.3 * low, z + high


KEEP = torch.tensor([True, False, True, True, False, True, True])


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("keep", [None, KEEP])
@pytest.mark.parametrize("with_high", [True, False])
def test_softmax_form(temperature: float, keep: Tensor | None, with_high: bool) -> None:
    z, low, high = _embeddings()
    far = high if with_high else None
    expected = torch.tensor(_softmax(z, low, far, keep, temperature), dtype=torch.float64)
    torch.testing.assert_close(feature_contrast(z, low, far, keep, temperature), expected)


@pytest.mark.parametrize("margin", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("keep", [None, KEEP])
@pytest.mark.parametrize("with_high", [True, False])
def test_margin_form(margin: float, keep: Tensor | None, with_high: bool) -> None:
    z, low, high = _embeddings()
    far = high if with_high else None
    expected = torch.tensor(_margin(z, low, far, keep, margin), dtype=torch.float64)
    torch.testing.assert_close(feature_contrast_margin(z, low, far, keep, margin=margin), expected)


@pytest.mark.parametrize("objective", [FeatureContrast(0.5), FeatureContrastMargin(0.7)])
def test_gradients(objective: FeatureContrast | FeatureContrastMargin) -> None:
    rows = [e.requires_grad_() for e in _embeddings()]
    assert torch.autograd.gradcheck(lambda *e: objective(*e, KEEP), rows)


@pytest.mark.parametrize("kind", [FeatureContrast, lambda r: FeatureContrastMargin(1.0, r)])
def test_the_sum_is_the_mean_times_the_batch(kind: type) -> None:
    summed = kind(reduction="sum") if kind is FeatureContrast else kind("sum")
    mean = kind(reduction="mean") if kind is FeatureContrast else kind("mean")
    rows = _embeddings()
    torch.testing.assert_close(summed(*rows), 7 * mean(*rows))
    assert repr(FeatureContrast(0.5)) == "FeatureContrast(temperature=0.5)"


@pytest.mark.parametrize("objective", [FeatureContrast(), FeatureContrastMargin(1.0)])
def test_a_batch_of_one_is_refused(objective: FeatureContrast | FeatureContrastMargin) -> None:
    with pytest.raises(InputError, match="a batch of at least 2, got 1"):
        objective(*(e[:1] for e in _embeddings()))


def test_low_precision_is_widened() -> None:
    z, low, high = (e.to(torch.bfloat16) for e in _embeddings())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = feature_contrast(z, low, high)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, feature_contrast(z.float(), low.float(), high.float()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureContrast(0.0), "temperature"),
        (lambda: FeatureContrastMargin(0.0), "above 0 and at most 2"),
        (lambda: FeatureContrastMargin(2.5), "cosine distance"),
    ],
)
def test_settings_out_of_range(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
