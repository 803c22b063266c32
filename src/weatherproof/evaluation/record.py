"""A number carries its protocol."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from weatherproof.data import ImageSet
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.metrics.named import counted, metric_of
from weatherproof.evaluation.metrics.standard_errors import standard_error
from weatherproof.protocols import Operator

_DIGITS = 12  # of the hash: 48 bits, no two among a million protocols are likely to meet


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured number and how it was measured. Fractions lie in [0, 1]; what does not apply is None.

    Attributes:
        stderr: standard error: over realizations of the operator, where there are several; else over trainings, or over
            the images in suites, under attack and by a gauge; None where there is none.
        realizations: independent draws of the operator over all images whose mean `value` is.
        seeds: seeds of the draws.
        images: how many images the number is over.
        model: "hardened", "teacher", "supervised", "restored", or the name the user gave.
        readout: what stands on the encoder: "probe", "own-head", "knn", ...
        operator: its text; None for clean images.
        severity: the level within a severity curve or of a common corruption.
        trained_on: text of the operator that the model was trained on.
        protocol: `protocol_hash` of everything that makes two numbers comparable.
        over: of a mean over corruptions that are no whole suite: which they are.
    """

    metric: str
    value: float
    stderr: float | None = None
    realizations: int = 1
    seeds: tuple[int, ...] = ()
    images: int
    model: str
    readout: str | None = None
    data: str
    label_fraction: float | None = None
    operator: str | None = None
    corruption: str | None = None
    severity: float | None = None
    attack: str | None = None
    trained_on: str | None = None
    protocol: str
    over: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as results.json holds it; `over` only where it says something."""
        entry = dataclasses.asdict(self) | {"seeds": list(self.seeds), "over": list(self.over or ())}
        return entry if self.over else {key: value for key, value in entry.items() if key != "over"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """What `to_dict` made."""
        lists = {key: tuple(values[key]) for key in ("seeds", "over") if values.get(key) is not None}
        return cls(**{**values, **lists})


def protocol_hash(**facts: Any) -> str:
    """Twelve hexadecimal digits, equal where all facts are: metric, data, operator, realizations, seeds, size, ...

    Facts that are None are left out, so that a new kind of fact does not change the hashes of numbers without it.

    >>> protocol_hash(metric="top1", data="digits") == protocol_hash(data="digits", metric="top1", attack=None)
    True
    """
    stated = {name: fact for name, fact in facts.items() if fact is not None}
    text = json.dumps(stated, sort_keys=True, ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def protocol_facts(
    images: ImageSet,
    operator: Operator | None,
    seeds: Sequence[int],
    data: str | None,
    *,
    rows: Tensor | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """What all numbers of one evaluation share: which images with which labels, at which size, under which damage.

    The model is not part of it, and neither are its readout and its normalisation: these are what is compared.

    Args:
        seeds: of the draws; empty where nothing is drawn.
        data: what records call the images; None: their own name.
        rows: which of the images were measured; None: all.
    """
    index, labels = (t if rows is None else t[rows] for t in (images.index, images.labels))
    return {
        "data": data or images.name,
        "index": _digest(index),
        "labels": _digest(labels),
        "classes": images.classes,
        "size": images.image_size,
        "channels": images.channels,
        "operator": None if operator is None else repr(operator),
        "seeds": list(seeds),
        **facts,
    }


def make_record(
    metric: str, values: Sequence[float], count: int, model: str, seed: int, facts: Mapping[str, Any], **about: Any
) -> Record:
    """The record of one metric of one model over `count` images: mean and standard error of one value a realization.

    Args:
        about: more keys of the record; a mapping holds one for each model.
    """
    own = {key: value.get(model) if isinstance(value, Mapping) else value for key, value in about.items()}
    return Record(
        metric=metric,
        value=sum(values) / len(values),
        stderr=standard_error(values),
        realizations=len(values),
        seeds=(seed,),
        images=count,
        model=model,
        data=facts["data"],
        operator=facts["operator"],
        corruption=facts.get("corruption"),
        severity=facts.get("severity"),
        protocol=protocol_hash(metric=metric, images=count, realizations=len(values), **facts),
        **own,
    )


def judged_records(
    model: str, metrics: Sequence[str], draws: Sequence[Answers], clean: Answers | None, seed: int,
    facts: Mapping[str, Any], *, over_images: bool = False, **about: Any,
) -> list[Record]:  # fmt: skip
    """The records of one classifier under one damage: a metric's value over each draw.

    Args:
        metrics: by their names in `metrics.named`.
        draws: its answers to each draw.
        clean: those to the clean images, for a metric that compares with them.
        facts: from `protocol_facts`.
        over_images: where there is one draw, give the standard error over images.
        about: more keys of the records; a mapping holds one for each model.
    """
    records = []
    for name in metrics:
        metric = metric_of(name)
        answers = [counted(metric, own) for own in draws]
        values = [metric.value(own, clean) for own in answers]
        record = make_record(name, values, min(map(len, answers)), model, seed, facts, **about)
        if over_images and len(draws) == 1:
            record = replace(record, stderr=metric.stderr(answers[0], clean))
        records.append(record)
    return records


def _digest(numbers: Tensor) -> str:
    return hashlib.sha256(numbers.cpu().numpy().tobytes()).hexdigest()
