"""Standard errors of calibration errors against the textbook's case, a loop, and what repeated draws really do."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from weatherproof.evaluation import rms_calibration_error
from weatherproof.evaluation.engine.answers import Answers, pooled
from weatherproof.evaluation.metrics.standard_errors import Jackknife


def answers(n: int, seed: int, place: Sequence[int] | None = None) -> Answers:
    """Of a classifier that is too sure."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, n)
    right = torch.from_numpy(rng.uniform(size=n) < confidence**2)
    rows = torch.arange(n) if place is None else torch.tensor(place)
    return Answers(rows, {"top1": right, "confidence": torch.from_numpy(confidence.astype(np.float32))})


def gap(found: Answers) -> float:
    """A plain mean."""
    return float((found["confidence"].double() - found["top1"].double()).mean())


def rms(found: Answers) -> float:
    return rms_calibration_error(found["confidence"], found["top1"])


def test_of_a_mean_it_is_the_textbooks_standard_error() -> None:
    found = answers(50, 1)
    values = (found["confidence"].double() - found["top1"].double()).numpy()
    assert Jackknife(gap, groups=50).error([found]) == pytest.approx(values.std(ddof=1) / math.sqrt(50), rel=1e-9)


@pytest.mark.parametrize("together", [False, True])
def test_an_image_leaves_all_its_conditions_at_once(together: bool) -> None:
    one, two = answers(30, 2), answers(20, 3, range(5, 25))
    found = Jackknife(rms, groups=6).error([pooled([one, two])] if together else [one, two])
    values = []
    for k in range(6):
        left = []
        for condition in (one, two):
            rows = [i for i, place in enumerate(condition.place.tolist()) if place % 6 != k]
            left.append((condition["confidence"][rows], condition["top1"][rows]))
        if together:
            left = [(torch.cat([c for c, _ in left]), torch.cat([r for _, r in left]))]
        values.append(np.mean([rms_calibration_error(c, r) for c, r in left]))
    assert found == pytest.approx(math.sqrt(5 / 6 * np.square(values - np.mean(values)).sum()), rel=1e-9)


def test_images_far_apart_are_grouped_as_if_they_were_not() -> None:
    near = answers(40, 4)
    far = Answers(near.place * 20 + 7, near.columns)
    assert Jackknife(rms).error([far]) == Jackknife(rms).error([near])


def test_what_it_remembers_of_a_condition_is_of_the_same_images() -> None:
    one, two, three = answers(30, 2), answers(20, 3, range(5, 25)), answers(30, 7)
    several = Jackknife(rms)
    for conditions in ([one], [one, three], [one, two], [two], [three, two], [one, three]):
        assert several.error(conditions) == Jackknife(rms).error(conditions)


def test_it_is_what_repeated_draws_spread_by() -> None:
    draws = [answers(1000, seed) for seed in range(200)]
    real = np.std([rms(d) for d in draws])
    told = np.mean([Jackknife(rms).error([d]) for d in draws[:40]])
    assert told == pytest.approx(real, rel=0.2)


def test_there_is_none_for_one_image_nor_without_a_confidence() -> None:
    assert Jackknife(gap).error([answers(1, 5)]) is None
    some = answers(10, 6)
    some["confidence"][3] = math.nan
    assert Jackknife(gap).error([some]) is None
