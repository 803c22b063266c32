"""The settings that feature contrastive learning publishes for itself and its rivals, by the name of the training."""

from dataclasses import dataclass, fields
from typing import Any

from weatherproof.encoders.taps import EMBEDDING
from weatherproof.errors import InputError, unknown
from weatherproof.methods.feature_contrast import check_weight
from weatherproof.methods.partners import Partner, UtilityNoise, WholeNoise
from weatherproof.methods.recipes import SMALL
from weatherproof.objectives import FeatureContrast, FeatureContrastMargin
from weatherproof.objectives.class_losses import class_loss

LABELLED = {
    "supervised": "cross-entropy",
    "augmix": "cross-entropy, and two AugMix views whose answers are to agree",
    "fcl": "feature contrastive learning: robust to noise on useless pixels, sensitive to noise on useful ones",
    "xe-gaussian": "cross-entropy, and that of a copy with Gaussian noise",
    "cl-gaussian": "cross-entropy, and contrast with a copy with Gaussian noise as the positive",
    "patch-gaussian": "cross-entropy on images with a patch of Gaussian noise",
    "patch-gaussian-fcl": "fcl on images with a patch of Gaussian noise",
    "adversarial": "cross-entropy on images that an attack has moved to where the network errs most",
}
FCL = ("fcl", "patch-gaussian-fcl")
SECOND_TERM = (*FCL, "xe-gaussian", "cl-gaussian")
PENALISED = ("supervised", "patch-gaussian")  # what takes a Tikhonov penalty
PATCHED = ("patch-gaussian", "patch-gaussian-fcl")
LATER = (
    "margin",
    "layer",
    "loss",
)  # what the paper describes beside what it ran: None and the defaults are what it ran
_TERM = ("sigma", "weight", "start_epoch", "ramp_epochs")
USES = {  # which settings a training has
    "xe-gaussian": _TERM,
    "cl-gaussian": (*_TERM, "temperature"),
    **dict.fromkeys(FCL, ("k", *_TERM, "temperature", *LATER)),
}
_MNIST = 32  # px; up to here grey images take the settings of MNIST
_BATCH = 1024  # of the paper's CIFAR and ImageNet
_CIFAR_EPOCH, _IMAGENET_EPOCH = 50_000 / _BATCH, 1_281_167 / _BATCH  # steps


@dataclass(frozen=True, repr=False)
class FeatureSettings:
    """What a training of `LABELLED` is made of, as far as it has the part.

    Attributes:
        k: elements of most and of least utility.
        sigma: of the noise on them, or on the whole image.
        temperature: of the contrast.
        weight: lambda, which multiplies the second term's sum over the batch.
        start_epoch: when the second term comes in.
        ramp_epochs: over how many epochs it then rises.
        patch: the operator that damages every image, as text; None: there is none.
        margin: gamma of a contrast by a margin (eq. 4) in place of the one by softmax (eq. 5), which has the
            temperature; None: by softmax.
        layer: what is compared, as in `FeatureContrastive`.
        loss: a name of `objectives.class_losses.CLASS_LOSSES`.
    """

    k: int = 256
    sigma: float = 0.5
    temperature: float = 0.1
    weight: float = 1e-4
    start_epoch: float = 0.0
    ramp_epochs: float = 0.0
    patch: str | None = None
    margin: float | None = None
    layer: str = EMBEDDING
    loss: str = "cross-entropy"

    def __repr__(self) -> str:
        """Without what is as in the paper of `LATER`, so that a training keeps its name."""
        named = [f for f in fields(self) if f.name not in LATER or getattr(self, f.name) != f.default]
        return f"FeatureSettings({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in named)})"

    def __post_init__(self) -> None:
        check_weight(self.weight)
        class_loss(self.loss)
        for name in ("start_epoch", "ramp_epochs"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} counts epochs, 0 or more; got {getattr(self, name)}")

    def used(self, name: str) -> dict[str, Any]:
        """What a training has of these, by name; the patch is part of its damage. Of `LATER` only what the
        paper has otherwise."""
        whole = {part: getattr(self, part) for part in USES.get(name, ())}
        plain = {f.name: f.default for f in fields(self) if f.name in LATER}
        if self.margin is not None:
            whole.pop("temperature", None)
        return {part: value for part, value in whole.items() if part not in plain or value != plain[part]}

    def partner(self, name: str) -> Partner:
        """What makes the noisy copies."""
        return UtilityNoise(self.k, self.sigma) if name in FCL else WholeNoise(self.sigma)

    def objective(self, name: str) -> FeatureContrast | FeatureContrastMargin | None:
        """What compares their embeddings."""
        if name == "xe-gaussian":
            return None
        return FeatureContrast(self.temperature) if self.margin is None else FeatureContrastMargin(self.margin)


def feature_settings(
    name: str, *, size: int, channels: int, classes: int, epochs: float | None = None, batch_size: int | None = None
) -> FeatureSettings:
    """The published settings of a training for images of this kind (section 4.1, Appendix B).

    Those of synthetic MNIST for grey images of up to 32 pixels, of CIFAR for others up to 64 (with 100 classes or more
    of CIFAR-100), of ImageNet above. Where the paper has none for MNIST: the rivals share FCL's weight and start, their
    sigma is that of CIFAR, the patch covers as much of the image as CIFAR's.

    The second term starts at the step that Appendix B calls ramp up (14,000 for CIFAR-10, 10,000 for CIFAR-100, 78,000
    for ImageNet, where FCL has none and takes the text's 60 epochs). XE+Gaussian has none: from the first step on.

    Args:
        epochs: of the training; start and ramp keep their share of it. None: as published (20, 450 and 90).
        batch_size: of the training. The weight multiplies a sum over the batch, published for batches of 1,024 on CIFAR
            and ImageNet: in another batch it changes so that an image counts for as much. None: as published. For
            synthetic MNIST no batch is stated, and the weight stays.

    Raises:
        InputError: no such training.
    """
    if name not in LABELLED:
        raise unknown("training with labels", name, LABELLED)
    if channels == 1 and size <= _MNIST:
        found, published, batch = _mnist(name, size), 20.0, None
    elif size <= SMALL:
        found, published, batch = _cifar(name, size, many=classes >= 100), 450.0, _BATCH
    else:
        found, published, batch = _imagenet(name, size), 90.0, _BATCH
    stretch = 1.0 if epochs is None else epochs / published
    settings = {**found, "start_epoch": found["start_epoch"] * stretch, "ramp_epochs": found["ramp_epochs"] * stretch}
    if batch is not None and batch_size is not None:
        settings["weight"] *= batch / batch_size
    return FeatureSettings(**settings)


def check_start(name: str, settings: FeatureSettings, epochs: float) -> None:
    """Raise `InputError` where a training ends before its second term begins."""
    if name in SECOND_TERM and settings.start_epoch >= epochs:
        raise InputError(
            f"start_epoch {settings.start_epoch:g} is not before the end of {epochs:g} epochs: {name} would be "
            "cross-entropy alone"
        )


def _mnist(name: str, size: int) -> dict:
    sigma = 0.3 if name == "xe-gaussian" else 0.5
    return {
        "sigma": sigma, "temperature": 0.5 if name == "cl-gaussian" else 0.1, "weight": 1e-3, "start_epoch": 2.0,
        "ramp_epochs": 2.0, "patch": _patch(name, round(size * 25 / 32), 0.1),
    }  # fmt: skip


def _cifar(name: str, size: int, *, many: bool) -> dict:
    temperatures = {"cl-gaussian": 0.5, "fcl": 0.1 if many else 2.0, "patch-gaussian-fcl": 0.1 if many else 1.0}
    start = 0.0 if name == "xe-gaussian" else (10_000 if many else 14_000) / _CIFAR_EPOCH
    return {
        "sigma": 0.3 if name == "xe-gaussian" else 0.5, "temperature": temperatures.get(name, 0.5), "weight": 1e-4,
        "start_epoch": start, "ramp_epochs": 0.0, "patch": _patch(name, round(size * 25 / 32), 0.05 if many else 0.1),
    }  # fmt: skip


def _imagenet(name: str, size: int) -> dict:
    ours = {
        "fcl": {"k": 512, "sigma": 1.0, "temperature": 0.5, "weight": 2e-4},
        "patch-gaussian-fcl": {"k": 2048, "sigma": 0.5, "temperature": 1.0, "weight": 4e-4},
    }
    rest = {"sigma": 0.5, "temperature": 0.5, "weight": 1e-4}
    start = {"xe-gaussian": 0.0, "fcl": 60.0}.get(name, 78_000 / _IMAGENET_EPOCH)
    largest = round(size * 250 / 224)  # the published patch is at most 250 pixels, of 224
    return {**ours.get(name, rest), "start_epoch": start, "ramp_epochs": 0.0, "patch": _patch(name, (1, largest), 1.0)}


def _patch(name: str, size: int | tuple[int, int], sigma: float) -> str | None:
    return f"PatchGaussian({size!r}, {sigma!r})" if name in PATCHED else None
