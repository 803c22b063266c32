"""Misclassification against the size of the perturbation, and how large it has to be.

Two kinds of attack give such a curve. One that stays in a ball runs once for every size of the ball. One that looks for
the smallest perturbation (the log-barrier) runs once: the error at size r is the share of images that it misclassifies
by at most r. An image that is misclassified already counts from 0 on, one that resists never counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.attacks.described import facts_of
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.attacks.robust import Attacks, Classifiers, accuracy_records, facts_under, run_attacks
from weatherproof.evaluation.attacks.trials import AttackTrial
from weatherproof.evaluation.metrics.standard_errors import binomial_error
from weatherproof.evaluation.record import Record, make_record
from weatherproof.protocols import Attack

DRAWS = 200  # of the bootstrap: its own error is 5 % of the standard error that it gives


def levels_of(attack: Attack) -> tuple[float, ...]:
    """The sizes at which its curve is measured.

    Raises:
        InputError: its norm has no grid, or it says neither a ball nor a norm.
    """
    grid = facts_of(attack).grid
    if not grid:
        raise InputError(
            f"no sizes are known for {attack!r}: a curve needs an attack in an L2, Linf or L1 ball, or one with a norm"
        )
    return grid


def perturbation_curve(
    classifiers: Classifiers,
    images: ImageSet,
    attack: Attack,
    levels: Sequence[float] | None = None,
    *,
    data: str | None = None,
    readout: Any = None,
    label_fraction: Any = None,
    trained_on: Any = None,
    **settings: Any,
) -> list[Record]:
    """Error at every size of the perturbation, its median, and how often the attack failed.

    Args:
        attack: its own eps, if it has one, does not matter.
        levels: sizes, in pixel units; None: the grid of its ball, or of its norm.
        data, readout, label_fraction, trained_on: for the records.
        settings: those of `run_attacks`.

    Returns:
        "error" with the size as `severity`; "median_perturbation"; of an attack without a ball "attack_failures", the
        share of images that it could not get misclassified.
    """
    chosen = levels_of(attack) if levels is None else tuple(map(float, levels))
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 0:
        raise InputError(f"a curve needs sizes from 0 up, each once; got {list(chosen)}")
    result = run_attacks(classifiers, images, facts_of(attack).sweep(chosen), **settings)
    about = {"readout": readout, "label_fraction": label_fraction, "trained_on": trained_on}
    return curve_records(result, list(classifiers), attack, chosen, data=data, **about)


def curve_records(
    result: Attacks,
    models: Sequence[str],
    attack: Attack,
    levels: Sequence[float],
    *,
    data: str | None = None,
    **about: Any,
) -> list[Record]:
    """The records of `perturbation_curve`, of what was reached: a median only where all sizes were."""
    records: list[Record] = []
    own = facts_of(attack)
    attacks = own.sweep(levels)
    if not own.smallest:
        records += accuracy_records(result, models, attacks, metrics=("error",), data=data, **about)
    for model in models:
        runs = [result.runs(model, one)[:1] for one in attacks]
        if not all(runs):
            continue
        trials = [run[0] for run in runs]
        if own.smallest:
            records += _of_distances(result, trials[0], levels, data, about)
        elif (found := crossing_of(result, trials, levels)) is not None:
            facts = facts_under(result, trials[-1], data) | {"severity": None, "levels": list(levels)}
            facts["attack"] = [repr(one) for one in attacks]
            record = _record(result, trials[-1], "median_perturbation", found, facts, about)
            records.append(replace(record, attack=repr(attacks[-1])))
    return records


def _of_distances(
    result: Attacks, trial: AttackTrial, levels: Sequence[float], data: str | None, about: Mapping[str, Any]
) -> list[Record]:
    distances = result.distances(trial)
    count, records = len(distances), []
    for level in levels:
        share = (distances <= level).double().mean().item()
        facts = facts_under(result, trial, data, level)
        records.append(_record(result, trial, "error", (share, binomial_error(share, count)), facts, about))
    lost = distances.isinf().double().mean().item()
    facts = facts_under(result, trial, data)
    records.append(_record(result, trial, "median_perturbation", median(distances), facts, about))
    records.append(_record(result, trial, "attack_failures", (lost, binomial_error(lost, count)), facts, about))
    return records


def _record(
    result: Attacks, trial: AttackTrial, metric: str, value: tuple[float, float | None], facts: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Record:  # fmt: skip
    count = len(result.answers[trial.label])
    own = dict(about) | {"attack": repr(trial.attack)}
    record = make_record(metric, [value[0]], count, trial.model, result.seed, facts, **own)
    return replace(record, stderr=value[1])


def median(distances: Float[Tensor, "n"]) -> tuple[float, float | None]:
    """The median and its standard error: half the distance of the order statistics sqrt(n) / 2 ranks to both sides.

    The rank of the median is binomial with variance n / 4, so that they bound a 68 % interval for any distribution
    (David & Nagaraja 2003, section 7.1). None where that reaches an infinite distance, or n is below 4.
    """
    ordered = distances.double().sort().values
    n = len(ordered)
    middle = float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if n < 4:
        return middle, None
    reach = math.sqrt(n) / 2
    low, high = (float(ordered[round(place)]) for place in ((n - 1) / 2 - reach, (n - 1) / 2 + reach))
    return middle, (high - low) / 2 if math.isfinite(high) else None


def crossing_of(
    result: Attacks, trials: Sequence[AttackTrial], levels: Sequence[float]
) -> tuple[float, float | None] | None:
    """The size at which the error of a sweep reaches one half, and its standard error by the bootstrap over images.

    None where the trials rest on unlike images.
    """
    places = [result.answers[trial.label].place for trial in trials]
    if not all(torch.equal(places[0], place) for place in places):
        return None
    wrong = torch.stack([~result.right(trial) for trial in trials], dim=1)
    return half_point(wrong, torch.tensor(levels, dtype=torch.float64))


def half_point(wrong: Bool[Tensor, "n levels"], levels: Float[Tensor, "levels"]) -> tuple[float, float | None]:
    """Where the error reaches one half, between the levels linear, and its standard error over resampled images.

    The error is taken as its running maximum, since a larger ball holds all that a smaller one does. Infinite where it
    stays below one half; then, and where one of the resampled sets does, there is no standard error.
    """
    draws = torch.Generator().manual_seed(0)  # the bootstrap's, no image's
    sets = torch.randint(len(wrong), (DRAWS, len(wrong)), generator=draws)
    rates = torch.stack([wrong.double().mean(dim=0), *(wrong[rows].double().mean(dim=0) for rows in sets)])
    found = [_crossing(row, levels) for row in rates.cummax(dim=1).values]
    spread = torch.tensor(found[1:], dtype=torch.float64)
    return found[0], spread.std().item() if bool(spread.isfinite().all()) else None


def _crossing(errors: Float[Tensor, "levels"], levels: Float[Tensor, "levels"]) -> float:
    above = (errors >= 0.5).nonzero()
    if len(above) == 0:
        return math.inf
    place = int(above[0])
    if place == 0:
        return float(levels[0])
    low, high = float(errors[place - 1]), float(errors[place])
    return float(levels[place - 1] + (levels[place] - levels[place - 1]) * (0.5 - low) / (high - low))
