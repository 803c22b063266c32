"""Calibration errors against loops written from their definitions, and against cases done by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from weatherproof.errors import InputError
from weatherproof.evaluation import expected_calibration_error, rms_calibration_error
from weatherproof.evaluation.metrics.calibration import reliability


def answers(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """An overconfident classifier's float32 confidences, all different, and whether it was right."""
    rng = np.random.default_rng(seed)
    confidence = np.unique(rng.uniform(0.2, 1, 4 * n).astype(np.float32))
    confidence = rng.permutation(confidence)[:n]
    correct = rng.uniform(size=n) < confidence**2
    return torch.from_numpy(confidence), torch.from_numpy(correct)


def rms_by_loop(confidence: np.ndarray, correct: np.ndarray, size: int, drop: bool) -> float:
    order = np.argsort(confidence, kind="stable")
    starts = list(range(0, len(order) - size + 1, size)) or [0]
    bins = [order[a:b] for a, b in zip(starts, [*starts[1:], len(order)], strict=True)]
    total = 0.0
    for members in bins[:-1] if drop else bins:
        gap = confidence[members].astype(float).mean() - correct[members].astype(float).mean()
        total += len(members) / len(order) * gap**2
    return math.sqrt(total)


def ece_by_loop(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (confidence >= low) & ((confidence < high) | (b == bins - 1))
        if inside.any():
            gap = confidence[inside].astype(float).mean() - correct[inside].mean()
            total += inside.sum() / len(confidence) * abs(gap)
    return total


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("n", [1, 7, 99, 100, 101, 199, 200, 250, 1000, 1099])
def test_rms_is_the_loops(n: int, size: int, drop: bool) -> None:
    confidence, correct = answers(n, seed=n)
    expected = rms_by_loop(confidence.numpy(), correct.numpy(), size, drop)
    assert rms_calibration_error(confidence, correct, size, drop) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [1, 15, 100])
@pytest.mark.parametrize("n", [1, 50, 2000])
def test_ece_is_the_loops(n: int, bins: int) -> None:
    confidence, correct = answers(n, seed=n)
    expected = ece_by_loop(confidence.numpy().astype(float), correct.numpy(), bins)
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-12)


def test_two_bins_by_hand() -> None:
    confidence = torch.cat([torch.full((100,), 0.5), torch.full((150,), 0.9)]).double()
    correct = torch.cat([torch.arange(100) < 20, torch.arange(150) < 150])  # 20 % and 100 % right
    assert rms_calibration_error(confidence, correct) == pytest.approx(math.sqrt(0.4 * 0.3**2 + 0.6 * 0.1**2))
    dropped = rms_calibration_error(confidence, correct, drop_last_bin=True)
    assert dropped == pytest.approx(math.sqrt(0.4 * 0.3**2))  # the 150 most confident ones are left out, N stays 250
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.4 * 0.3 + 0.6 * 0.1)


def test_the_remainder_joins_the_last_bin() -> None:
    confidence = torch.arange(1, 200).double() / 200
    correct = torch.zeros(199, dtype=torch.bool)
    assert rms_calibration_error(confidence, correct) == pytest.approx(confidence.mean().item())  # one bin of 199
    assert rms_calibration_error(confidence, correct, drop_last_bin=True) == 0


def test_opposite_gaps_do_not_cancel_between_bins_but_do_inside_one() -> None:
    confidence = torch.tensor([0.4] * 100 + [0.6] * 100).double()
    correct = torch.tensor([True] * 100 + [False] * 100)
    assert rms_calibration_error(confidence, correct) == pytest.approx(0.6)
    assert rms_calibration_error(confidence, correct, bin_size=200) == pytest.approx(0, abs=1e-6)
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.6)
    assert expected_calibration_error(confidence, correct, bins=1) == pytest.approx(0, abs=1e-6)


def test_a_confidence_of_one_belongs_to_the_last_bin_and_an_edge_to_the_upper_one() -> None:
    confidence, correct = torch.tensor([1.0, 0.95]), torch.tensor([False, True])
    assert expected_calibration_error(confidence, correct) == pytest.approx(abs(0.5 * 1.0 - 0.5 * 0.05))
    confidence, correct = torch.tensor([0.5, 0.51]).double(), torch.tensor([True, False])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(abs(-0.5 + 0.51) / 2)


def test_a_calibrated_classifier_comes_near_zero_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    confidence = torch.from_numpy(rng.uniform(size=200_000))
    correct = torch.from_numpy(rng.uniform(size=200_000)) < confidence
    assert expected_calibration_error(confidence, correct) < 0.01
    assert rms_calibration_error(confidence, correct, bin_size=10_000) < 0.02
    mixed = torch.from_numpy(rng.permutation(200_000))
    again = rms_calibration_error(confidence[mixed], correct[mixed])
    assert again == pytest.approx(rms_calibration_error(confidence, correct), rel=1e-9)


@pytest.mark.parametrize(
    "measure", [rms_calibration_error, expected_calibration_error, lambda c, r, n=10: reliability(c, r, bins=n)]
)
def test_bad_input(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="got 0 confidences"):
        measure(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="a probability in \\[0, 1\\]"):
            measure(torch.tensor([0.5, wrong]), torch.tensor([True, False]))
    with pytest.raises(InputError, match="at least 1"):
        measure(torch.tensor([0.5]), torch.tensor([True]), 0)


def test_a_reliability_diagram_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    confidence = torch.from_numpy(rng.uniform(0.15, 1, size=500))
    correct = torch.from_numpy(rng.uniform(size=500)) < confidence**2
    found = reliability(confidence, correct)
    accuracy, mean = calibration_curve(correct.numpy(), confidence.numpy(), n_bins=10)
    assert [b.accuracy for b in found] == pytest.approx(accuracy)
    assert [b.confidence for b in found] == pytest.approx(mean)
    assert sum(b.answers for b in found) == 500 and all(b.images == b.answers for b in found)


def test_the_answers_to_one_image_count_as_one_in_the_standard_error() -> None:
    confidence, correct = torch.tensor([0.95] * 6), torch.tensor([True] * 6)
    (alone,) = reliability(confidence, correct)
    (shared,) = reliability(confidence, correct, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert alone.stderr == pytest.approx(math.sqrt(7 / 8 * 1 / 8 / 8))  # one hit and one miss added
    assert shared.stderr == pytest.approx(math.sqrt(3 / 4 * 1 / 4 / 4))
    assert (shared.accuracy, shared.answers, shared.images) == (1.0, 6, 2)


def test_confidence_one_is_in_the_last_bin_of_the_diagram() -> None:
    (found,) = reliability(torch.tensor([1.0, 0.92]), torch.tensor([True, False]))
    assert (found.accuracy, found.confidence) == (0.5, pytest.approx(0.96))
