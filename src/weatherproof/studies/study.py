"""A study is data: a grid of cells, each a complete protocol for one number, with the paper's numbers and claims."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weatherproof.training.precision import fast_precision

FAST = fast_precision()  # of desk scale; the tables say which it was

Key = tuple[str, str]  # (row, column)


@dataclass(frozen=True)
class Cell:
    """How one number of a table comes about. Damages and data sets are named here and spelled out by the `Scale`.

    Attributes:
        kind: what classifies.
            "supervised": the rival network trained end to end on damaged images;
            "probe": a linear layer fitted on the hardened encoder's embeddings of damaged images;
            "rival-probe": the same on the frozen features of the supervised rival;
            "clean-probe": a linear layer fitted on the teacher's embeddings of clean images, on the hardened encoder;
            "own-head": the pretrained model's own classifier, put on the hardened encoder;
            "teacher-own-head": the pretrained model as it was;
            "restored": the image is restored in pixel space, then the teacher with its clean probe classifies it.
        trained_on: the damage that the network was trained on.
        tested_on: the damage that it is measured under, or a common corruption: the mean over its five severities.
        labels: the fraction of labels that the readout, or the supervised rival, may use.
        data: the data set of the readout and of the measurement.
        restoration: what undoes the damage, for "restored".
    """

    kind: Literal["supervised", "probe", "rival-probe", "clean-probe", "own-head", "teacher-own-head", "restored"]
    trained_on: str
    tested_on: str
    labels: float = 1.0
    objective: str = "StudentTeacher()"
    data: str = "main"
    metric: str = "top1"
    restoration: str | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that the grid can confirm or deny.

    `test` looks at the values by (row, column) and returns (how many hold, of how many, a few words).
    """

    text: str
    test: Callable[[Mapping[Key, float]], tuple[int, int, str]]

    def check(self, values: Mapping[Key, float]) -> dict[str, Any]:
        """The claim as an entry of checks.json."""
        held, of, detail = self.test(values)
        words = f"{held} of {of}{detail and ': ' + detail}"
        return {"claim": self.text, "passed": of > 0 and held == of, "detail": words}


@dataclass(frozen=True)
class Study:
    """One table or figure of a paper."""

    name: str
    title: str
    cells: Mapping[Key, Any]  # of one kind: what the scale's workshop measures
    claims: tuple[Any, ...] = ()  # Claim, or PairedClaim over training seeds
    published: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""
    ours: bool = False  # the claims are not a paper's


@dataclass(frozen=True)
class Source:
    """A data set of a scale.

    Attributes:
        text: what `load_images` takes.
        test: another source for the test split.
        without: classes whose images are left out of training.
        relabel: old class name to new one: the test split is then the images of the old classes alone (label shift).
        train_images: at most so many for fitting, drawn stratified.
        crop_fraction: of this set, where it is not that of the scale.
    """

    text: str
    test: str | None = None
    without: tuple[str, ...] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)
    train_images: int | None = None
    crop_fraction: float | None = None


@dataclass(frozen=True)
class Scale:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    `data` maps a name to a source (``$DATA`` is the data folder); `damages` maps a name to an operator's text.
    """

    name: str
    encoder: str
    rival: str
    data: Mapping[str, Source]
    damages: Mapping[str, str]
    size: int | None = None
    crop_fraction: float = 1.0
    augment: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    restored_images: int | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)  # of the hardening
    rival_plan: Mapping[str, Any] = field(default_factory=dict)  # of the supervised rival
    probe: Mapping[str, Any] = field(default_factory=dict)
    restoration: Mapping[str, str] = field(default_factory=dict)  # what stands in for a restoration at this scale
    realizations: int = 10
    note: str = ""

    def facts(self, cells: Iterable[Cell]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        named = {name for cell in cells for name in (cell.trained_on, cell.tested_on)} & set(self.damages)
        return {
            "ours starts from": f"`{self.encoder}`, {settings_text(self.plan)}",
            "the rival starts from": f"`{self.rival}`, {settings_text(self.rival_plan)}",
            "augmentation": f"`{self.augment}`",
            "probe": settings_text(self.probe),
            "damages": ", ".join(f"{name} = `{self.damages[name]}`" for name in sorted(named)),
        }


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a list of words."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
