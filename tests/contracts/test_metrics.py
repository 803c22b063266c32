"""Every metric of `METRICS`: made of columns, one row an image, with an error over images, and with words."""

import numpy as np
import pytest
import torch

from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.metrics.named import METRICS, counted, metric_columns, metric_of
from weatherproof.reports.words import records as words
from weatherproof.types import Labels, Logits

CLASSES = 7


def answered(count: int, seed: int) -> tuple[Logits, Labels]:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draws)
    logits = torch.randn(count, CLASSES, generator=draws)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


def changed(logits: Logits, seed: int) -> Logits:
    return logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))


def answers(name: str, logits: Logits, labels: Labels) -> Answers:
    return Answers(torch.arange(len(labels)), metric_columns([name], logits, labels))


def value(name: str, logits: Logits, labels: Labels, clean: Logits) -> float:
    metric = metric_of(name)
    return metric.value(counted(metric, answers(name, logits, labels)), answers(name, clean, labels))


@pytest.mark.parametrize("name", METRICS)
def test_it_has_words(name: str) -> None:
    assert words.METRICS[name].words


@pytest.mark.parametrize("name", METRICS)
def test_a_row_is_about_one_image_whatever_its_batch(name: str) -> None:
    logits, labels = answered(50, 1)
    whole = metric_columns([name], logits, labels)
    parts = [metric_columns([name], *own) for own in zip(logits.split(7), labels.split(7), strict=True)]
    assert all(torch.equal(torch.cat([part[column] for part in parts]), rows) for column, rows in whole.items())
    assert all(rows.shape == (50,) for rows in whole.values())


@pytest.mark.parametrize("name", METRICS)
def test_images_without_a_label_count_only_where_none_is_needed(name: str) -> None:
    logits, labels = answered(60, 2)
    logits[:20] *= -1  # mostly wrong answers
    damaged, hidden = changed(logits, 3), torch.cat([torch.full((20,), -1), labels[20:]])
    known = slice(20, None) if metric_of(name).needs_labels else slice(None)
    expected = value(name, damaged[known], hidden[known], logits[known])
    assert value(name, damaged, hidden, logits) == pytest.approx(expected, rel=1e-12)
    assert value(name, damaged, labels, logits) != expected or not metric_of(name).needs_labels


@pytest.mark.parametrize("name", METRICS)
def test_its_error_is_what_repeated_draws_spread_by(name: str) -> None:
    metric, values, errors = metric_of(name), [], []
    for seed in range(150):
        logits, labels = answered(400, 100 + seed)
        found, clean = answers(name, changed(logits, 1000 + seed), labels), answers(name, logits, labels)
        values.append(metric.value(found, clean))
        if seed < 20:
            errors.append(metric.stderr(found, clean))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


@pytest.mark.parametrize("name", METRICS)
def test_a_single_image_has_no_error(name: str) -> None:
    logits, labels = answered(1, 4)
    found = answers(name, logits, labels)
    assert metric_of(name).stderr(found, found) is None
