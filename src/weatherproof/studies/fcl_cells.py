"""What a cell of a study of feature contrastive learning is, and how big it runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from weatherproof.evaluation import Record
from weatherproof.evaluation.record import standard_error
from weatherproof.methods import FeatureSettings
from weatherproof.studies.pretraining_cells import PretrainingScale
from weatherproof.studies.study import Scale, Source, settings_text

HARDENED_ON, PRETRAINED_BY = "noise-range", "simclr"

Damage = Literal[
    "clean", "uniform_noise", "nonuniform_noise", "common-15", "common-19", "noise", "blur", "weather", "digital"
]


@dataclass(frozen=True)
class Training:
    """Which classifier a number is of.

    Attributes:
        method: of `methods.LABELLED`; "frozen": the encoder that the training starts from as it is, under its own
            classifier where `FclScale.own_heads` says so, else under a linear probe.
        start: what the training starts from: "" the scale's encoder, "hardened", or "pretrained".
        weight_times: the scale's lambda is multiplied by it.
    """

    method: str
    start: str = ""
    weight_times: float = 1.0

    @property
    def name(self) -> str:
        """What records call the classifier: "fcl", "hardened, fcl", "fcl, lambda x 0.1"."""
        times = "" if self.weight_times == 1 else f"lambda x {self.weight_times:g}"
        return ", ".join(filter(None, (self.start, self.method, times)))


@dataclass(frozen=True)
class FclCell:
    """An accuracy.

    Attributes:
        method, start, weight_times: of its `Training`.
        tested_on: "clean", the two noises of the paper, or a suite or group of common corruptions: the mean over its
            corruptions of the mean over their severities.
        data: the data set of training and measurement: "main", or a name of `FclScale.others`.
        rare: on the classes 10 to 14 alone.
    """

    method: str
    tested_on: Damage = "clean"
    data: str = "main"
    rare: bool = False
    start: str = ""
    weight_times: float = 1.0

    @property
    def training(self) -> Training:
        return Training(self.method, self.start, self.weight_times)


@dataclass(frozen=True)
class MapCell:
    """A number of the utility or the sensitivity of single elements, over images of the test set.

    Attributes:
        measure: "corner_utility", the share of all utility in the four corner boxes, for the images of `classes`;
            "rank_correlation" of every image's utility and the sensitivity of `of`, their mean; "identity", how far the
            utility is from |d f_y / d x| / f_y, relative to its size.
        of: "embedding", "probabilities" or "right" (the probability of the right class).
        method, start: of its `Training`.
    """

    method: str
    measure: Literal["corner_utility", "rank_correlation", "identity"]
    classes: tuple[int, ...] = ()
    of: Literal["embedding", "probabilities", "right"] = "embedding"
    start: str = ""
    data: str = "main"

    @property
    def training(self) -> Training:
        return Training(self.method, self.start)


@dataclass(frozen=True)
class CountCell:
    """How many images of a class, the mean over these classes, a split has."""

    split: str
    classes: tuple[int, ...]
    data: str = "main"


@dataclass(frozen=True)
class OverSeeds:
    """One number of several trainings that differ in their seed alone.

    Attributes:
        record: mean and standard error over the trainings; its seeds are theirs.
        samples: the number of each, in the order of the seeds.
    """

    record: Record
    samples: tuple[float, ...]

    @property
    def value(self) -> float:
        return self.record.value

    def to_dict(self) -> dict[str, Any]:
        """The record with its "samples", as cells.json and results.json hold it."""
        return {**self.record.to_dict(), "samples": list(self.samples)}


def over_seeds(records: Sequence[Record], seeds: Sequence[int]) -> OverSeeds:
    """From the same number of each training."""
    samples = tuple(record.value for record in records)
    facts = asdict(records[0]) | {
        "value": sum(samples) / len(samples), "stderr": standard_error(samples), "seeds": tuple(seeds),
    }  # fmt: skip
    return OverSeeds(Record(**facts), samples)


@dataclass(frozen=True)
class FclScale:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        encoder: what a training starts from; for the starts of cells see `hardening` and `pretraining`.
        data: the images of "main".
        others: the scales of the other data sets that cells name, each complete.
        plans: of the trainings, by the `start` of cells; those that are not named have the plan of "".
        own_heads: the starts whose own classifier goes on; others get a new one.
        settings: what differs from the published settings, by method; "" for all of them.
        hardening: makes the "hardened" encoder, against its damage "noise-range".
        pretraining: makes the "pretrained" encoder, by its method "simclr".
        seeds: trainings of each method.
        suite_images: test images that meet the common corruptions.
        map_images: test images whose utility is averaged.
        sensitivity_images: test images whose sensitivity is taken.
        corner: side of the corner boxes in pixels.
    """

    name: str
    encoder: str
    data: Source
    plans: Mapping[str, Mapping[str, Any]]
    own_heads: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    augment: str | None = None
    seeds: int = 1
    train_images: int | None = None
    test_images: int | None = None
    suite_images: int | None = None
    map_images: int | None = None
    sensitivity_images: int = 32
    corner: int = 9
    size: int | None = None
    crop_fraction: float = 1.0
    others: Mapping[str, "FclScale"] = field(default_factory=dict)
    hardening: Scale | None = None
    pretraining: PretrainingScale | None = None
    note: str = ""

    def plan(self, start: str) -> Mapping[str, Any]:
        return self.plans.get(start, self.plans[""])

    def changed(self, method: str) -> Mapping[str, Any]:
        """The settings of this method that are not the published ones."""
        return {**self.settings.get("", {}), **self.settings.get(method, {})}

    def facts(self, cells: Iterable[Any]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        cells = list(cells)
        facts = {}
        for start in dict.fromkeys(c.start for c in cells if not isinstance(c, CountCell) and c.data == "main"):
            facts[start or "encoder"] = self._start(start)
            head = "its own classifier goes on" if start in self.own_heads else "new classifier"
            facts[f"training{start and ', '}{start}"] = f"{settings_text(self.plan(start))}, {head}"
        facts["augmentation"] = f"`{self.augment}`" if self.augment else "none"
        for method, changes in self.settings.items():
            facts[f"other than published, {method or 'all methods'}"] = settings_text(changes)
        for name, other in self.others.items():
            own = [replace(cell, data="main") for cell in cells if cell.data == name]
            facts |= {f"{name}, {what}": said for what, said in other.facts(own).items() if own}
        return facts

    def _start(self, start: str) -> str:
        if start == "hardened" and self.hardening is not None:
            made = self.hardening
            return f"`{made.encoder}` hardened against `{made.damages[HARDENED_ON]}`, {settings_text(made.plan)}"
        if start == "pretrained" and self.pretraining is not None:
            plan = settings_text(self.pretraining.plans[PRETRAINED_BY])
            return f"`{self.pretraining.encoder}` pretrained by {PRETRAINED_BY} without labels, {plan}"
        return f"`{self.encoder}`"


def settings_words(settings: FeatureSettings) -> str:
    """The settings as they stand in a store's recipe."""
    return repr(sorted(asdict(settings).items()))
