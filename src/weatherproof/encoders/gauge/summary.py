"""How far a gauge can be trusted, on images that it did not learn from: what a page prints of it."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.data.images import at_most
from weatherproof.encoders.gauge.gauge import Gauge, Reading
from weatherproof.encoders.gauge.sample import Look, Sample, looks, sample
from weatherproof.operators.drawn import kinds
from weatherproof.protocols import Operator
from weatherproof.ranks import share_above

_STREAM = 0x7375  # of the keys: other draws than those that the gauge learned from
_LEVELS = 8  # parts of the range of levels, each with as many images
_CHANCES = 15  # parts of [0, 1] for the calibration error, as usual


@dataclass(frozen=True)
class Confusion:
    """What is said of one kind of damage.

    Attributes:
        kind: that it is: "clean", one of the gauge's, or another that it never saw.
        seen: whether it is one of the gauge's.
        said: for each of the gauge's kinds the share of images that are called so; they sum to 1.
        damaged: mean probability of damage.
        beyond: of images no worse than training's the share called worse or unlike them; None: there are none.
        worse: the same of worse images, and of kinds that it never saw; None: there are none.
    """

    kind: str
    seen: bool
    said: Mapping[str, float]
    damaged: float
    beyond: float | None
    worse: float | None


@dataclass(frozen=True)
class Levels:
    """Images of one kind and about one level.

    Attributes:
        level: their mean level.
        beyond: whether their levels are worse than training's.
        called: share whose kind is told right.
        told, low, high, coverage: of these, the mean level told, the mean ends of its interval, and the share whose
            level lies in it; None: there are none.
    """

    kind: str
    beyond: bool
    level: float
    images: int
    called: float
    told: float | None
    low: float | None
    high: float | None
    coverage: float | None


@dataclass(frozen=True)
class Summary:
    """
    Attributes:
        images: how many; each was looked at clean, with the operator's damage and with levels that it does not draw.
        told: of the operator's images that have a level the share of which the kind is told right, and some level.
            None: there are none.
        errors: of these images, mean distance of the level told from the true one by kind, in the kind's unit.
        coverage: share of these images whose level lies in the interval of nominally 90 %; None: there are none.
        width: mean width of that interval, as a share of the way from none to the worst trained level.
        clean_called_damaged: share of the clean images.
        auc: of the probability of damage, clean images against the operator's.
        auc_mild: the same against the third of them whose level is lowest; None: it has no level.
        calibration_error: mean distance of the probability of damage from its frequency, in 15 parts (ECE).
        within, beyond: share of the images that training may see, and of those of worse levels, that are called beyond.
        confusion: one row for clean images, each kind and each unseen one.
        levels: the calibration of the level, from none to the gauge's end.
    """

    images: int
    told: float | None
    errors: Mapping[str, float]
    coverage: float | None
    width: float | None
    clean_called_damaged: float
    auc: float
    auc_mild: float | None
    calibration_error: float
    within: float
    beyond: float | None
    confusion: tuple[Confusion, ...]
    levels: tuple[Levels, ...]


def gauge_summary(
    gauge: Gauge,
    images: ImageSet,
    operator: Operator,
    *,
    unseen: Mapping[str, Operator] | None = None,
    seed: int = 0,
    most: int = 1000,
    device: str | torch.device = "cpu",
    workers: int = 0,
) -> Summary:
    """What a gauge says of images whose damage is known from its keys.

    Args:
        images: others than it learned from.
        operator: whose damage it was fitted to.
        unseen: kinds of damage that it never saw, by their names.
        most: look at no more images than these, evenly spaced.
    """
    gauge, chosen = copy.deepcopy(gauge).cpu(), at_most(images, most)
    stream = int(random.fold(torch.tensor([seed]), _STREAM))
    ways = looks(operator, kinds(operator), [kind.end for kind in gauge.settings.kinds])
    true = sample(gauge, chosen, ways, seed=stream, device=device, workers=workers)
    reading = gauge.reading(true.rows)
    rows = [_confusion(gauge, place, true, reading) for place in range(len(gauge.kinds))]
    for name, other in (unseen or {}).items():
        strange = sample(gauge, chosen, [Look(other, False)], seed=stream, device=device, workers=workers)
        rows.append(_unseen_confusion(gauge, name, gauge.reading(strange.rows)))
    clean, drawn, worse = true.kind == 0, true.seen & (true.kind > 0), true.severity > 1
    levelled = drawn & ~true.severity.isnan()
    right = levelled & (reading.kind == true.kind) & ~reading.level.isnan()
    return Summary(
        images=len(chosen),
        told=_mean(right[levelled].float()),
        errors=_errors(gauge, true.part(right), _part(reading, right)),
        coverage=_mean(_inside(true.level, reading)[right]),
        width=_mean(_width(gauge, reading)[right]),
        clean_called_damaged=_share((reading.kind > 0)[clean]),
        auc=share_above(reading.damaged[drawn], reading.damaged[clean]),
        auc_mild=share_above(reading.damaged[_mild(true, levelled)], reading.damaged[clean])
        if levelled.any()
        else None,
        calibration_error=_calibration_error(reading.damaged, true),
        within=_share(reading.beyond[true.seen]),
        beyond=_mean(reading.beyond[worse].float()),
        confusion=tuple(rows),
        levels=tuple(row for place in range(1, len(gauge.kinds)) for row in _levels(gauge, place, true, reading)),
    )


def _part(reading: Reading, chosen: Bool[Tensor, "batch"]) -> Reading:
    return Reading(**{field.name: getattr(reading, field.name)[chosen] for field in fields(reading)})


def _mean(values: Float[Tensor, "n"]) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _share(flags: Bool[Tensor, "n"]) -> float:
    return float(flags.double().mean())


def _confusion(gauge: Gauge, place: int, true: Sample, reading: Reading) -> Confusion:
    of_kind, worse = true.kind == place, true.severity > 1
    beyond, further = (_mean(reading.beyond[of_kind & part].float()) for part in (~worse, worse))
    return Confusion(gauge.kinds[place], True, *_shares_called(gauge, _part(reading, of_kind)), beyond, further)


def _unseen_confusion(gauge: Gauge, name: str, reading: Reading) -> Confusion:
    return Confusion(name, False, *_shares_called(gauge, reading), None, _mean(reading.beyond.float()))


def _shares_called(gauge: Gauge, reading: Reading) -> tuple[dict[str, float], float]:
    """`said` and `damaged`."""
    shares = reading.kind.bincount(minlength=len(gauge.kinds)) / max(1, len(reading.kind))
    return dict(zip(gauge.kinds, shares.double().tolist(), strict=True)), _mean(reading.damaged) or 0.0


def _errors(gauge: Gauge, true: Sample, reading: Reading) -> dict[str, float]:
    away = (reading.level - true.level).abs()
    errors = {name: _mean(away[true.kind == place]) for place, name in enumerate(gauge.kinds)}
    return {name: error for name, error in errors.items() if error is not None}


def _inside(level: Float[Tensor, "n"], reading: Reading) -> Float[Tensor, "n"]:
    return ((reading.low <= level) & (level <= reading.high)).float()


def _width(gauge: Gauge, reading: Reading) -> Float[Tensor, "n"]:
    which = (reading.kind - 1).clamp(min=0)
    return (reading.high - reading.low) / (gauge.top - gauge.none).abs()[which]


def _mild(true: Sample, levelled: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
    return levelled & (true.severity <= true.severity[levelled].quantile(1 / 3))


def _calibration_error(chance: Float[Tensor, "n"], true: Sample) -> float:
    """Over images weighted so that half are clean."""
    place = (chance * _CHANCES).long().clamp(max=_CHANCES - 1)
    away = true.weight.double() * (chance.double() - (true.kind > 0).double()) / len(chance)
    return float(torch.zeros(_CHANCES, dtype=torch.float64).index_add_(0, place, away).abs().sum())


def _levels(gauge: Gauge, place: int, true: Sample, reading: Reading) -> Iterator[Levels]:
    of_kind, name = (true.kind == place) & ~true.level.isnan(), gauge.kinds[place]
    for beyond in (False, True):
        here = (of_kind & ((true.severity > 1) == beyond)).nonzero().flatten()
        for part in here[true.severity[here].argsort()].tensor_split(_LEVELS):
            if not len(part):
                continue
            right = part[(reading.kind[part] == place) & ~reading.level[part].isnan()]
            means = [
                _mean(one[right]) for one in (reading.level, reading.low, reading.high, _inside(true.level, reading))
            ]
            yield Levels(name, beyond, float(true.level[part].mean()), len(part), len(right) / len(part), *means)
