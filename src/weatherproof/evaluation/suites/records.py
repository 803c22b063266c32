"""From a suite's answers to its records: every set, every corruption, groups and the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from weatherproof.benchmark import COMMON_15, SEEN, SUITES, UNSEEN
from weatherproof.data import ImageSet
from weatherproof.evaluation.engine.answers import Answers, pooled
from weatherproof.evaluation.engine.conditions import Case
from weatherproof.evaluation.metrics.corruption_error import (
    ALEXNET_CLEAN,
    corruption_error_weights,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from weatherproof.evaluation.metrics.named import metric_of
from weatherproof.evaluation.metrics.standard_errors import Jackknife, Weights, clustered_error
from weatherproof.evaluation.record import Record, judged_records, make_record, protocol_facts
from weatherproof.evaluation.suites.sets import POOLED, case_metrics, is_imagenet, sets_of
from weatherproof.views.contamination import corruptions_in

_accuracy = metric_of("top1").value


@dataclass(frozen=True, eq=False)
class Summary:
    """Makes the records of one classifier on one suite.

    Args:
        images: the whole set.
        cases: what was to be answered.
        answers: by the cases' labels, with the columns of `metrics.named`; what is not there was not reached.
        suite: the name of the whole, in the records of its totals.
        data: what records call the images; None: their own name.
        trained_on: text of the operators that the model was trained on.
        about: further keys of the records: readout, label_fraction.
    """

    images: ImageSet
    cases: Sequence[Case]
    answers: Mapping[str, Answers]
    suite: str
    model: str
    seed: int
    data: str | None
    trained_on: str | None
    about: Mapping[str, Any]

    def records(self) -> list[Record]:
        """All that can be said: a number over several conditions only where each of them was reached."""
        found = [record for case in self.cases if case.label in self.answers for record in self._of_case(case)]
        for name in self._names:
            found += self._of_corruption(name)
        for name, members in sets_of(self.suite, self.cases).items():
            partial = name == self.suite and {*members} not in [{*whole} for whole in SUITES.values()]
            own = self._of_set(name, members)
            found += [replace(record, over=tuple(members)) for record in own] if partial else own
        known = corruptions_in(self.trained_on) & set(self._names)
        if known:
            found += self._mean_accuracy(SEEN, [name for name in self._names if name in known])
            found += self._mean_accuracy(UNSEEN, [name for name in self._names if name not in known])
        return found

    @cached_property
    def _jackknives(self) -> dict[str, Jackknife]:
        return {metric: Jackknife(metric_of(metric).value) for metric in POOLED}

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(case.corruption for case in self.cases if case.corruption is not None))

    # one set

    def _of_case(self, case: Case) -> list[Record]:
        found, clean = self.answers[case.label], self.answers.get(Case().label)
        if not len(found):
            return []
        return judged_records(
            self.model, case_metrics(self.images), [found], clean, self.seed, self._facts[case.label],
            over_images=True, trained_on=self.trained_on, **self.about,
        )  # fmt: skip

    @cached_property
    def _facts(self) -> dict[str, dict[str, Any]]:
        """What decides the numbers of each case; as `evaluate` says it, where that could measure the same."""
        return {case.label: self._facts_of(case) for case in self.cases if case.label in self.answers}

    def _facts_of(self, case: Case) -> dict[str, Any]:
        facts = protocol_facts(
            self.images, case.operator, () if case.fixed else (self.seed,), self.data,
            rows=case.rows(self.answers[case.label].place),
            corruption=case.corruption, severity=case.severity, parameters=case.parameters,
        )  # fmt: skip
        return facts | ({} if case.text is None else {"operator": case.text})

    # several sets

    def _of_corruption(self, name: str) -> list[Record]:
        cases = self._reached([name])
        if cases is None or any(case.severity is None for case in cases):
            return []
        weights = self._weights(cases)
        top1, error = self._mean(weights), clustered_error(self.answers, weights)
        facts = self._joint_facts(name, cases)
        values = {"top1": top1, "error": 1 - top1}
        return [self._record(m, value, self._least(weights), facts, error) for m, value in values.items()]

    def _of_set(self, name: str, members: Sequence[str]) -> list[Record]:
        cases = self._reached(members)
        if cases is None:
            return []
        weights, facts = self._weights(cases), self._joint_facts(name, cases)
        images = self._least(weights)
        records = self._mean_accuracy(name, members)
        if not is_imagenet(self.images):
            value, error = 1 - self._mean(weights), clustered_error(self.answers, weights)
            records.append(self._record("unnormalised_mce", value, images, facts, error))
        elif name == "common-15":
            records += self._normalised(name, cases)
        every = [self.answers[case.label] for case in cases]
        together = pooled(every)
        for metric in POOLED:
            own = metric_of(metric)
            records.append(self._record(metric, own.value(together), images, facts, own.stderr(together)))
            mean = sum(map(own.value, every)) / len(every)
            records.append(self._record(f"mean_{metric}", mean, images, facts, self._jackknives[metric].error(every)))
        return records

    def _mean_accuracy(self, name: str, members: Sequence[str]) -> list[Record]:
        cases = self._reached(members)
        if cases is None:
            return []
        weights = self._weights(cases)
        error = clustered_error(self.answers, weights)
        facts = self._joint_facts(name, cases)
        return [self._record("mca", self._mean(weights), self._least(weights), facts, error)]

    def _normalised(self, name: str, cases: Sequence[Case]) -> list[Record]:
        """mCE, and where there are clean images relative mCE: sums of weighted accuracies both."""
        errors = {c: 1 - self._mean(self._weights([k for k in cases if k.corruption == c])) for c in COMMON_15}
        facts, weights = self._joint_facts(name, cases), self._weights(cases)
        images = self._least(weights)

        def scaled(by: Mapping[str, float]) -> Weights:
            return {k.label: -weights[k.label] * len(by) * by[str(k.corruption)] for k in cases}

        error = clustered_error(self.answers, scaled(corruption_error_weights(errors)))
        records = [self._record("mce", mean_corruption_error(errors), images, facts, error)]
        clean = self._reached([None])
        if clean is not None:
            by = corruption_error_weights(errors, baseline_clean=ALEXNET_CLEAN)
            before = clean[0].label
            error = clustered_error(self.answers, {**scaled(by), before: sum(by.values())})
            value = relative_mean_corruption_error(errors, 1 - _accuracy(self.answers[before]))
            records.append(self._record("relative_mce", value, images, facts, error))
        return records

    def _reached(self, names: Sequence[str | None]) -> list[Case] | None:
        """The cases of these corruptions (of the clean images: None), if there are any and all were reached."""
        cases = [case for case in self.cases if case.corruption in names]
        reached = all(case.label in self.answers and len(self.answers[case.label]) for case in cases)
        return cases if cases and reached else None

    def _weights(self, cases: Sequence[Case]) -> dict[str, float]:
        """Those of the mean over corruptions of the mean over their severities."""
        names = [case.corruption for case in cases]
        return {case.label: 1 / (len(set(names)) * names.count(case.corruption)) for case in cases}

    def _mean(self, weights: Weights) -> float:
        return sum(weight * _accuracy(self.answers[label]) for label, weight in weights.items())

    def _least(self, weights: Weights) -> int:
        """How many images each of the conditions rests on at least."""
        return min(len(self.answers[label]) for label in weights)

    def _joint_facts(self, name: str, cases: Sequence[Case]) -> dict[str, Any]:
        none = torch.zeros(0, dtype=torch.int64)  # which images it were is said by condition
        whole = protocol_facts(self.images, None, (), self.data, rows=none, corruption=name)
        keys = ("corruption", "severity", "operator", "parameters", "seeds", "index", "labels")
        return whole | {"conditions": [[self._facts[case.label][key] for key in keys] for case in cases]}

    def _record(
        self, metric: str, value: float, images: int, facts: Mapping[str, Any], stderr: float | None = None
    ) -> Record:
        about = {**self.about, "trained_on": self.trained_on}
        record = make_record(metric, [value], images, self.model, self.seed, facts, **about)
        return replace(record, stderr=stderr)
