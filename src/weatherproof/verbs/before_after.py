"""What hardening has changed, from the answers of a measurement: four numbers and curves over the levels, with
standard errors over images, of differences on the same images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.readings import Judgement, Readings
from weatherproof.operators import KindLadder, drawn
from weatherproof.protocols import Operator
from weatherproof.reports.hardened.curve import Change, Changed, Curve, Error, KindChange, ModelLevels
from weatherproof.reports.verdict import READOUT_ORDER

_NEAR = 0.01  # a fall of the cosine after which an embedding is where it was


@dataclass(frozen=True)
class Values:
    """One number an image: where the images stand in their set, and each one's mean over the draws."""

    place: Int64[Tensor, "n"]
    each: Float64[Tensor, "n"]

    @property
    def mean(self) -> float:
        return float(self.each.mean())

    @property
    def error(self) -> Error:
        return float(self.each.std() / len(self.each) ** 0.5) if len(self.each) > 1 else None

    def of(self, places: Int64[Tensor, "m"]) -> "Values":
        """Those of the images that stand at one of these places."""
        among = torch.isin(self.place, places)
        return Values(self.place[among], self.each[among])

    def less(self, other: "Values") -> "Values":
        """The differences on the images that both have."""
        own, others = self.of(other.place), other.of(self.place)
        return Values(own.place, own.each - others.each)


@dataclass(frozen=True)
class Measure:
    """One metric of one readout of a measurement. `key`: of the part that asked for it."""

    key: str
    metric: str
    readout: str | None
    data: str

    def values(
        self,
        readings: Readings,
        condition: Operator | None,
        model: str,
        among: Sequence[Bool[Tensor, "_"]] | None = None,
    ) -> Values | None:
        """None where the condition was not reached.

        Args:
            among: of each draw the images that count; None: all.
        """
        draws = [answers.of(model) for answers in readings.under(condition)]
        if among is not None:
            draws = [own.at(chosen) for own, chosen in zip(draws, among, strict=True)]
        if self.metric == "cosine":
            if condition is None and readings.compared is not None:
                compared = replace(readings.compared, ranked=False)
                draws = [compared.of_clean(model, own, readings.batch_size) for own in draws]
            return _mean_of_draws([(own.place, own["cosine"]) for own in draws])
        return _mean_of_draws([_guesses(own.of(self.key)) for own in draws])


def changes(
    readings: Readings, kinds: Sequence[KindLadder], operator: Operator, models: tuple[str, str]
) -> list[Changed]:
    """One for the accuracy of each readout, and one for the cosine to the teacher's clean embedding.

    Args:
        kinds: the curves; a level that was not reached is left out.
        models: before and after, by the names that they were measured by.
    """
    changed = []
    for measure in _measures(readings):
        clean = _change(readings, measure, None, models)
        curves = tuple(curve for kind in kinds if (curve := _curve(readings, measure, kind, models)) is not None)
        if clean is not None:
            damaged = _change(readings, measure, operator, models)
            of_kinds = tuple(_by_kind(readings, measure, operator, models))
            changed.append(
                Changed(measure.metric, measure.readout, repr(operator), measure.data, clean, damaged, curves, of_kinds)
            )
    return changed


def bears(readings: Readings, operator: Operator | None, model: str) -> bool:
    """Whether a model is as good under a damage as on clean images: no accuracy falls by more than two standard errors
    of its fall; where none is measured, the mean cosine to the teacher's clean embedding by no more than 0.01."""
    measures = list(_measures(readings))
    for own in [each for each in measures if each.metric == "top1"] or measures:
        clean, damaged = (own.values(readings, condition, model) for condition in (None, operator))
        if clean is None or damaged is None:
            return False
        fall = clean.less(damaged)
        if fall.mean > (_NEAR if own.metric == "cosine" else 2 * (fall.error or 0.0)):
            return False
    return bool(measures)


def _by_kind(readings: Readings, measure: Measure, operator: Operator, models: tuple[str, str]) -> Iterator[KindChange]:
    """The changes under each of several kinds of damage: which of them an image got is known from its keys."""
    kinds = drawn.kinds(operator)
    if len(kinds) < 2:
        return
    keys = [random.keys(readings.seed, readings.images.index[own.place]) for own in readings.under(operator)]
    got = [drawn.drawn(operator, random.fold(own, EVAL_STREAM, draw)).kind for draw, own in enumerate(keys)]
    for place, kind in enumerate(kinds, 1):
        change = _change(readings, measure, operator, models, [own == place for own in got])
        if change is not None:
            yield KindChange(kind.name, change)


def _measures(readings: Readings) -> Iterator[Measure]:
    """The accuracies before the cosine, those that took the fewest labels first."""
    accuracies = [(key, part) for key, part in readings.parts.items() if isinstance(part, Judgement)]
    rank = {name: place for place, name in enumerate(READOUT_ORDER)}
    for key, part in sorted(accuracies, key=lambda own: rank.get(own[1].readout or "", len(rank))):
        if "top1" in part.metrics:
            yield Measure(key, "top1", part.readout, part.data or readings.images.name)
    if readings.compared is not None:
        yield Measure("", "cosine", None, readings.images.name)


def _guesses(answers: Answers) -> tuple[Tensor, Tensor]:
    """Whether the first guess is right, of the images that have labels."""
    known = answers["label"] >= 0
    return answers.place[known], answers["top1"][known]


def _mean_of_draws(draws: Sequence[tuple[Tensor, Tensor]]) -> Values | None:
    """Each image's mean over the draws that it is in; None without images."""
    if not draws or not sum(len(place) for place, _ in draws):
        return None
    place, each = torch.cat([place for place, _ in draws]), torch.cat([value.double() for _, value in draws])
    places, which, count = place.unique(return_inverse=True, return_counts=True)
    return Values(places, torch.zeros(len(places), dtype=torch.float64).index_add_(0, which, each) / count)


def _change(
    readings: Readings, measure: Measure, condition: Operator | None, models: tuple[str, str],
    among: Sequence[Bool[Tensor, "_"]] | None = None,
) -> Change | None:  # fmt: skip
    before, after = (measure.values(readings, condition, model, among) for model in models)
    if before is None or after is None:
        return None
    errors = (before.error, after.error, after.less(before).error)
    return Change(before.mean, after.mean, errors, len(after.place))


def _curve(readings: Readings, measure: Measure, kind: KindLadder, models: tuple[str, str]) -> Curve | None:
    """The clean images at level 0 are those that were damaged. None where no level was reached."""
    conditions: list[tuple[float, Operator | None]] = [(0.0, None), *kind.rungs]
    every = [(level, [measure.values(readings, own, model) for model in models]) for level, own in conditions]
    reached = [(level, values) for level, own in every if len(values := [v for v in own if v]) == len(models)]
    damaged = [values[0].place for level, values in reached if level > 0]
    if not damaged or reached[0][0] > 0:
        return None
    reached[0] = (0.0, [value.of(torch.cat(damaged)) for value in reached[0][1]])
    return Curve(
        kind.family, kind.trained, tuple(level for level, _ in reached),
        tuple(
            ModelLevels(model, tuple(v[i].mean for _, v in reached), tuple(v[i].error for _, v in reached))
            for i, model in enumerate(models)
        ),
        min(len(values[0].place) for _, values in reached),
    )  # fmt: skip
