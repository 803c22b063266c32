"""What a cell of a pretraining study is, and how big it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from weatherproof.objectives import InputGradient
from weatherproof.studies.study import Source, settings_text

Metric = Literal["top1", "clean_calibration_error", "corruption_error", "calibration_error", "pooled_calibration_error"]
NO_PENALTY = InputGradient(0.0)


@dataclass(frozen=True)
class PretrainingCell:
    """How one number of a table comes about. Families of views are named here and spelled out by the scale.

    Attributes:
        kind: what classifies.
            "probe": a linear layer on the frozen pretrained encoder;
            "supervised": the same network from scratch, trained end to end with the labels;
            "fine-tuned": encoder and a two-layer classifier, both trained on the labels, the encoder from pretraining.
        method: of `methods.build`.
        views: the family of views, a name of `PretrainingScale.views`.
        labels: the fraction of labels that the classifier may use; pretraining uses none.
        metric: "top1" and "clean_calibration_error", the RMS calibration error, on all clean test images;
            "corruption_error", the mean over the 15 common corruptions at their five severities; "calibration_error",
            the mean RMS calibration error of these 75 sets; "pooled_calibration_error", that of all their images
            together.
        layers: losses at several layers of the encoder, a name of `PretrainingScale.layers`; None: at the end alone.
        tikhonov: lambda of the penalty on the gradients by the pixels, in training end to end or in pretraining with
            "simclr"; the readout has none.
    """

    kind: Literal["probe", "supervised", "fine-tuned"]
    method: str = ""
    views: str = ""
    labels: float = 1.0
    metric: Metric = "top1"
    layers: str | None = None
    tikhonov: float = 0.0


@dataclass(frozen=True)
class PretrainingScale:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        views: each family's text.
        methods: what `methods.build` is given beside encoder, views and images, by method; the projector as a word of
            `methods.make_projector`.
        plans: of the pretraining, by method.
        supervised: of the supervised network, and with `same_steps` the steps that fewer labels are trained for.
        penalty: how the penalty of cells with `tikhonov` is computed; its weight is the cell's.
        suite_images: test images that meet the corruptions; the clean accuracy is of all test images.
    """

    name: str
    encoder: str
    data: Mapping[str, Source]
    views: Mapping[str, str]
    methods: Mapping[str, Mapping[str, Any]]
    plans: Mapping[str, Mapping[str, Any]]
    supervised_plan: Mapping[str, Any] = field(default_factory=dict)
    finetuning_plan: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    penalty: InputGradient = field(default=NO_PENALTY, repr=False)  # the repr names encoders that have none
    probe: Mapping[str, Any] = field(default_factory=dict)
    probe_augment: str | None = None
    augment: str | None = None  # of the supervised network and of fine-tuning
    same_steps: bool = True  # with fewer labels as many steps, instead of as many epochs
    size: int | None = None
    train_size: int | None = None
    channels: int | None = None
    crop_fraction: float = 1.0
    train_images: int | None = None
    test_images: int | None = None
    suite_images: int | None = None
    note: str = ""

    def penalty_of(self, cell: PretrainingCell) -> InputGradient | None:
        """What the cell's training pays for its gradients by the pixels; None where it pays nothing."""
        return replace(self.penalty, weight=cell.tikhonov) if cell.tikhonov else None

    def facts(self, cells: Iterable[PretrainingCell]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        cells = list(cells)
        kinds = {cell.kind for cell in cells}
        facts = {"encoder": f"`{self.encoder}`, from random weights"}
        for method in sorted({cell.method for cell in cells if cell.method}):
            facts[f"pretraining, {method}"] = settings_text({**self.plans[method], **self.methods.get(method, {})})
        facts |= {
            f"views, {name}": f"`{self.views[name]}`" for name in dict.fromkeys(c.views for c in cells if c.views)
        }
        for name in dict.fromkeys(cell.layers for cell in cells if cell.layers):
            facts[f"layers, {name}"] = settings_text(self.layers[name])
        facts["linear evaluation"] = settings_text({**self.probe, "augmentation": f"`{self.probe_augment}`"})
        fewer = f"; with fewer labels as many {'steps' if self.same_steps else 'epochs'}"
        fewer = fewer if any(cell.labels < 1 for cell in cells) else ""
        for kind, plan in (("supervised", self.supervised_plan), ("fine-tuned", self.finetuning_plan)):
            if kind in kinds:
                facts[kind.replace("tuned", "tuning")] = f"{settings_text(plan)}{fewer}"
                facts["augmentation with labels"] = f"`{self.augment}`"
        if any(cell.tikhonov for cell in cells):
            facts["Tikhonov regularization"] = self._penalty_words()
        return facts

    def _penalty_words(self) -> str:
        how = {"exact": "by double backward", "finite": "by the difference of two losses"}
        told = how.get(self.penalty.method, "its derivative by the difference of two gradients")
        step = "" if self.penalty.method == "exact" else f", a step of {self.penalty.step}"
        form = "per sample: 4N times that of eq. 3" if self.penalty.per_sample else "as printed in eq. 3"
        return f"lambda / 2 R, {told}{step}; of the contrastive loss {form}, in pretraining alone"
