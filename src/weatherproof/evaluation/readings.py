"""Encoders under damage, and everything that is read from one embedding of each image: how near it is to the clean
one's, and the answers of all classifiers that stand on it.

Every (encoder, damage, draw, image) is embedded once. The clean images come first: the teacher's embeddings of them are
what all others are compared with.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof.data import ImageSet, evenly_spaced
from weatherproof.encoders import Encoder, MapPlace
from weatherproof.errors import InputError
from weatherproof.evaluation.damaged import Damaged, Draw, draws_nothing, draws_of
from weatherproof.evaluation.embeddings import METRICS, Compared, compared_records
from weatherproof.evaluation.engine.answers import Answers, joined
from weatherproof.evaluation.engine.run import Settings, run
from weatherproof.evaluation.engine.trials import Columns, Look, column, rows_of
from weatherproof.evaluation.evaluate import Judged
from weatherproof.evaluation.positions import MAP, METRIC, Positions, places_to_keep, position_record
from weatherproof.evaluation.record import Record, judged_records, protocol_facts
from weatherproof.protocols import Operator
from weatherproof.readouts import require_embeddings
from weatherproof.types import Embeddings, Images, Keys, Logits, Maps

_TARGET = ""  # what the teacher is called here where it is none of the encoders that are measured


@dataclass(frozen=True, eq=False)
class Head:
    """What makes an encoder a classifier.

    Attributes:
        module: embeddings to logits; None: the encoder's own.
        order: which output stands where; None: they stay where they are.
    """

    module: nn.Module | None = None
    order: tuple[int, ...] | None = None


class EncoderWithHeads(nn.Module):
    """An encoder and the heads on it: images -> embeddings, by their keys the heads' logits, and of a place the map."""

    def __init__(self, encoder: Encoder, heads: Mapping[str, Head], place: MapPlace | None = None) -> None:
        super().__init__()
        self.encoder, self.place = encoder, place
        self.asked = {key: head.order for key, head in heads.items()}
        self.own = [key for key, head in heads.items() if head.module is None]
        self.heads = nn.ModuleDict({key: head.module for key, head in heads.items() if head.module is not None})

    def forward(self, images: Images) -> tuple[Embeddings, dict[str, Logits], Maps | None]:
        seen = self.encoder.see(images, judged=bool(self.own), place=self.place)
        logits = dict.fromkeys(self.own, seen.logits) if seen.logits is not None else {}
        logits |= {key: head(seen.embeddings) for key, head in self.heads.items()}
        ordered = {k: logits[k] if order is None else logits[k][:, order] for k, order in self.asked.items()}
        return seen.embeddings, ordered, seen.maps


@dataclass(frozen=True, eq=False)
class Read:
    """Keeps what the parts of a measurement need of an `EncoderWithHeads`.

    Attributes:
        judged: by the heads' keys.
        compared: None: the embedding is not compared.
        positions: None: the map is not compared.
        kept: whether the embedding itself is kept.
        mapped: whether the map itself is kept.
    """

    judged: Mapping[str, Judged]
    compared: Compared | None = None
    positions: Positions | None = None
    kept: bool = False
    mapped: bool = False

    def __call__(self, name: str, model: Callable[..., Any], images: Images, keys: Keys, look: Look) -> Columns:
        embeddings, logits, maps = model(images)
        found: dict[str, Tensor] = {}
        if self.kept:
            require_embeddings(name, embeddings)
            found["embedding"] = embeddings.float()
        if self.compared is not None:
            found |= self.compared.keep(name, embeddings, look.place)
        if self.mapped:
            found[MAP] = maps.float()
        if self.positions is not None:
            found |= self.positions.keep(maps, look.place)
        for key, own in logits.items():
            found |= {column(key, part): rows for part, rows in self.judged[key].keep(name, own, look.labels).items()}
        return found


@dataclass(frozen=True, eq=False)
class Judgement:
    """Asks for metrics of one readout of some encoders.

    Attributes:
        heads: by the encoders' names.
        conditions: the damages that it is measured under; None: clean images.
        data: what the records call the images; None: their own name.
    """

    heads: Mapping[str, Head]
    metrics: tuple[str, ...]
    readout: str
    fraction: float | None
    conditions: Sequence[Operator | None]
    data: str | None = None

    def records(self, key: str, readings: "Readings") -> Iterator[Record]:
        for condition in self.conditions:
            for name in self.heads:
                draws = [answers.of(name).of(key) for answers in readings.under(condition)]
                if draws:
                    before, facts = readings.clean.of(name).of(key), readings.facts(condition, self.data)
                    yield from judged_records(
                        name, self.metrics, draws, before, readings.seed, facts,
                        readout=self.readout, label_fraction=self.fraction, trained_on=readings.trained_on,
                    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Likeness:
    """Asks how near the embeddings of some encoders are to those that the teacher gives for clean images.

    Attributes:
        place: where the maps of all of them are, whose positions are compared too; None: they are not.
    """

    encoders: tuple[str, ...]
    teacher: Encoder
    conditions: Sequence[Operator | None]
    place: MapPlace | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS if self.place is None else (*METRICS, METRIC)

    def records(self, key: str, readings: "Readings") -> Iterator[Record]:
        assert readings.compared is not None
        about: dict[str, Any] = {"trained_on": readings.trained_on}
        for condition in self.conditions:
            facts = readings.facts(condition, teacher=self.teacher.name)
            for name in self.encoders:
                draws = [answers.of(name) for answers in readings.under(condition)]
                if condition is None:
                    draws = [readings.compared.of_clean(name, own, readings.batch_size) for own in draws]
                if draws:
                    size, seed = readings.batch_size, readings.seed
                    yield from compared_records(name, METRICS, draws, size, seed, facts, **about)
                known = [answers.of(name) for answers in readings.placed(condition)]
                if known and all(map(len, known)):
                    facts_of_some = readings.facts(condition, rows=known[0].place, teacher=self.teacher.name)
                    yield position_record(name, known, readings.seed, facts_of_some, **about)


Part = Judgement | Likeness


@dataclass(frozen=True, eq=False)
class Readings:
    """What has been read from the embeddings of some images.

    Attributes:
        clean: the answers to the clean images; `of` an encoder.
        damaged: by condition, those to each of its draws.
        compared: what the embeddings of damaged images were compared by; None: they were not.
        mapped: the answers to those clean images whose maps were compared; None: they were not.
        complete: whether nothing is left to do.
    """

    images: ImageSet
    parts: Mapping[str, Part]
    clean: Answers
    damaged: Mapping[str, Sequence[Answers]]
    compared: Compared | None
    mapped: Answers | None
    complete: bool
    seed: int
    batch_size: int
    trained_on: Mapping[str, str | None]

    def under(self, condition: Operator | None) -> Sequence[Answers]:
        """The answers to each draw of a damage that was reached; None: to the clean images."""
        return [self.clean] if condition is None else self.damaged[repr(condition)]

    def placed(self, condition: Operator | None) -> Sequence[Answers]:
        """Of `under` those images whose maps were compared."""
        if self.mapped is None:
            return []
        draws = [self.mapped] if condition is None else self.under(condition)
        return [own.at(torch.isin(own.place, self.mapped.place)) for own in draws]

    def facts(
        self, condition: Operator | None, data: str | None = None, *, rows: Int64[Tensor, "m"] | None = None,
        **facts: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """What decides the numbers of a condition.

        Args:
            rows: which of the images they are of; None: all that it was measured on.
        """
        draws = self.under(condition)
        rows = draws[0].place if rows is None and draws else rows
        if rows is not None and len(rows) == len(self.clean):
            rows = None
        seeds = () if draws_nothing(condition) else (self.seed,)
        return protocol_facts(self.images, condition, seeds, data, rows=rows, **facts)

    def records(self) -> list[Record]:
        """All that was asked, in the order of the parts."""
        return [record for key, part in self.parts.items() for record in part.records(key, self)]


def read(
    encoders: Mapping[str, Encoder],
    parts: Sequence[Part],
    images: ImageSet,
    damages: Sequence[Operator],
    settings: Settings,
    *,
    realizations: int,
    trained_on: Mapping[str, str | None],
    first: Operator | None = None,
    few: Sequence[Operator] = (),
    most: int = 0,
    keep: bool = False,
) -> Readings:
    """Embed the images, clean and under each draw of each damage, once with each encoder, and answer all parts.

    Args:
        settings: with a time, the damages take what the clean images have left of it.
        first: the damage that comes before the others, as the first draw of all does before the second.
        few: further damages, each drawn once on at most so many of the images, evenly spaced.
        keep: keep the embeddings of the clean images, though no part asks for them.

    Raises:
        InputError: no image could be read, and what the engine and the metrics refuse.
    """
    since = time.monotonic()
    asked = {str(i): part for i, part in enumerate(parts)}
    judged = {k: Judged.of(p.metrics, images) for k, p in asked.items() if isinstance(p, Judgement)}
    likeness = next((part for part in parts if isinstance(part, Likeness)), None)
    teacher, place = (None, None) if likeness is None else (likeness.teacher, likeness.place)
    models = {
        name: EncoderWithHeads(
            encoder, {key: part.heads[name] for key, part in asked.items() if name in part.heads}, place
        )
        for name, encoder in encoders.items()
    }
    facts: dict[str, Any] = {"read": [[key, str(judged.get(key)), [*part.heads]] for key, part in asked.items()]}
    if place is not None:
        facts["place"] = repr(place)
    title = f"measuring {', '.join(encoders)}"

    target = next((name for name, encoder in encoders.items() if encoder is teacher), _TARGET)
    others = {} if teacher is None or target in encoders else {target: EncoderWithHeads(teacher, {}, place)}
    clean_trials = _clean_trials(len(images), Read(judged, kept=keep or teacher is not None), place)
    whole = replace(settings, minutes=None)
    found = run(
        models | others, clean_trials, images, whole, name="clean", title=f"{title} on clean images", facts=facts
    )
    answered = [_in_the_set(found.answers[t.label], t) for t in clean_trials if t.label in found.answers]
    clean = joined(map(_without_maps, answered))
    if not clean:
        raise InputError(f"no image of {images.name!r} could be read")

    compared = None if teacher is None else Compared.with_index(clean.of(target), device=settings.device)
    positions = mapped = None
    if place is not None and len(answered[0]):
        positions = Positions(answered[0].of(target)[MAP], answered[0].place)
        mapped = positions.of_clean(answered[0], encoders, settings.batch_size)
    question = Read(judged, compared, positions)
    trials = {repr(damage): [Damaged(draw, question) for draw in draws_of(damage, realizations)] for damage in damages}
    places = evenly_spaced(len(images), most)
    trials |= {repr(damage): [Damaged(Draw(damage, 0), question, positions=places)] for damage in few}
    if trials:
        left = None if settings.minutes is None else max(1e-9, settings.minutes - (time.monotonic() - since) / 60)
        facts |= {"target": None if compared is None else compared.digest}
        if positions is not None:
            facts["positions"] = positions.digest
        found = run(
            models, _most_urgent_first(trials.values(), first), images, replace(settings, minutes=left), name="damaged",
            title=f"{title} under damage", facts=facts,
        )  # fmt: skip
    damaged = {
        key: [_in_the_set(found.answers[trial.label], trial) for trial in own if trial.label in found.answers]
        for key, own in trials.items()
    }
    return Readings(
        images, asked, clean, damaged, compared, mapped, found.complete, settings.seed, settings.batch_size, trained_on
    )


def _clean_trials(count: int, question: Read, place: MapPlace | None) -> list[Damaged]:
    """The clean images; where maps are compared first those that keep theirs, then the others."""
    if place is None:
        return [Damaged(Draw(), question)]
    kept = places_to_keep(count, place)
    rest = torch.arange(count)[~torch.isin(torch.arange(count), kept)]
    with_maps = Damaged(Draw(None, 0), replace(question, mapped=True), positions=kept if len(rest) else None)
    return [with_maps, *([Damaged(Draw(), question, positions=rest)] if len(rest) else [])]


def _without_maps(answers: Answers) -> Answers:
    return Answers(answers.place, {k: v for k, v in answers.columns.items() if not k.endswith(f"/{MAP}")})


def _most_urgent_first(trials: Iterable[Sequence[Damaged]], first: Operator | None) -> list[Damaged]:
    """The first draw of every damage before any second one, and each time that damage before the others; then those of
    a part of the images."""
    every = [trial for own in trials for trial in own]
    return sorted(every, key=lambda t: (t.positions is not None, t.draw.run or 0, t.draw.operator != first))


def _in_the_set(answers: Answers, trial: Damaged) -> Answers:
    """The answers to a part of the images, by where these stand among all."""
    return Answers(rows_of(trial, answers.place), answers.columns)
