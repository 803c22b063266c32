"""What a cell of a study of fine-tuning is, and how big it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weatherproof.studies.pretraining_cells import PretrainingScale
from weatherproof.studies.study import Source, settings_text

SUPERVISED, MOCO, URRL, HARDENED, RANDOM = "Supervised", "MoCo v2", "URRL", "hardened", "random weights"
EVERY = "Mean"  # of the data sets of a scale
ADVERSARIAL = "PGD(L2(0.5), steps=7, step_size=0.1)"  # what URRL's rival is trained on

Metric = Literal["top1", "corrupted", "calibration_error", "pooled_calibration_error"]


@dataclass(frozen=True)
class TransferCell:
    """A number of a fine-tuned encoder.

    Attributes:
        start: the encoder that fine-tuning begins with.
            "MoCo v2", "URRL": pretrained without labels by MoCo v2, with its own views or with URRL's;
            "Supervised": trained with the labels of the pretraining images (ImageNet's, as published);
            "hardened": MoCo v2's, hardened against `TransferScale.damage`;
            "random weights".
        regularizers: texts of `objectives.REGULARIZERS`. Where the scale chooses weights, those of SimilarityMatrix and
            L2SP are where they start from.
        data: a name of `TransferScale.data`, or "Mean" over all of them.
        attack: "top1" on attacked images; None: on clean ones.
        metric: "corrupted": mean accuracy over the corruptions of the suite; "calibration_error": mean RMS calibration
            error of their sets; "pooled_calibration_error": that of all their images together.
        as_written: the regularizers' weights stay as they are.
        adversarial: trained on attacked images instead.
        alpha: the encoder is start + alpha (fine-tuned - start), weight by weight; at 0 it is the start itself.
    """

    start: str
    regularizers: tuple[str, ...] = ()
    data: str = "CIFAR-10"
    attack: str | None = None
    metric: Metric = "top1"
    as_written: bool = False
    adversarial: bool = False
    alpha: float = 1.0


@dataclass(frozen=True)
class TransferScale:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        pretraining: makes the starts "MoCo v2" and "URRL" by its method "mocov2", and, without `supervised`, the start
            "Supervised" on all labels.
        supervised: text of a network that was trained with labels.
        known: starts that were trained with the labels of a data set: no cell, this would be no transfer.
        data: the data sets.
        corrupted: data sets whose corrupted test images lie in files; for others they are made on the fly.
        plan: of the fine-tuning; its lr where none is chosen.
        steps: train for so many steps instead of epochs, since the sets differ in size.
        adversarial_plan: what differs for adversarial training.
        search: choose learning rate and weights on a tenth of the training images.
        hardening_plan, damage: of the start "hardened".
        probe: of the classifier that is fitted anew for an encoder between two others, by `fit_probe`.
        severities: of the common corruptions.
        test_images, attack_images, suite_images: at most so many, evenly spaced.
        certificate_images: on which an attack is tried out.
    """

    name: str
    pretraining: PretrainingScale
    data: Mapping[str, Source]
    plan: Mapping[str, Any]
    adversarial_plan: Mapping[str, Any] = field(default_factory=dict)
    hardening_plan: Mapping[str, Any] = field(default_factory=dict)
    damage: str = "GaussianNoise((0.1, 0.3), clip=False)"
    supervised: str | None = None
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    corrupted: Mapping[str, str] = field(default_factory=dict)
    steps: int | None = None
    search: bool = True
    augment: str | None = None
    probe: Mapping[str, Any] = field(default_factory=dict)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    size: int | None = None
    test_images: int | None = None
    attack_images: int | None = None
    suite_images: int | None = None
    certificate_images: int = 32
    note: str = ""

    def facts(self, cells: Iterable[TransferCell]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        cells = list(cells)
        starts, made = dict.fromkeys(cell.start for cell in cells), self.pretraining
        facts = {"encoder": f"`{made.encoder}`, images of {self.size} px"}
        for start in (MOCO, URRL):
            if start in starts or (start == MOCO and HARDENED in starts):
                facts[f"start, {start}"] = f"`{made.views[start]}`, {settings_text(made.plans['mocov2'])}"
        if SUPERVISED in starts:
            own = f"the same network with all labels, {settings_text(made.supervised_plan)}"
            facts["start, Supervised"] = own if self.supervised is None else f"`{self.supervised}`"
        if HARDENED in starts:
            facts["start, hardened"] = f"MoCo v2's, against `{self.damage}`, {settings_text(self.hardening_plan)}"
        length = "" if self.steps is None else f", for {self.steps:,} steps"
        facts["fine-tuning"] = f"{settings_text(self.plan)}{length}; a new linear classifier"
        facts["regularizers"] = ", ".join(f"`{r}`" for r in dict.fromkeys(r for c in cells for r in c.regularizers))
        if self.search:
            facts["chosen on a tenth of the training images"] = (
                "the learning rate (0.01 or 0.001) and, where they are not as written, the weights of "
                "SimilarityMatrix and L2SP: the heaviest within a standard error of the best accuracy"
            )
        if any(cell.adversarial for cell in cells):
            facts["adversarial training"] = f"`{ADVERSARIAL}`, {settings_text({**self.plan, **self.adversarial_plan})}"
        facts["augmentation"] = f"`{self.augment}`"
        return facts
