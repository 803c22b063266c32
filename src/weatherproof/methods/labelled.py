"""The trainings with labels, by name, and the settings that feature contrastive learning publishes for them."""

from dataclasses import dataclass

from torch import nn

from weatherproof import operators
from weatherproof.errors import InputError, unknown
from weatherproof.methods.adversarial import AdversarialTraining
from weatherproof.methods.augmix_consistency import AugMixConsistency
from weatherproof.methods.feature_contrast import FeatureContrastive, check_weight
from weatherproof.methods.partners import Partner, UtilityNoise, WholeNoise
from weatherproof.methods.recipes import SMALL
from weatherproof.methods.supervised import Supervised
from weatherproof.objectives import FeatureContrast, InputGradient
from weatherproof.operators import Chain
from weatherproof.protocols import Attack, Encoder, Operator
from weatherproof.views import AugMix

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
_PATCHED = ("patch-gaussian", "patch-gaussian-fcl")
_MNIST = 32  # px; up to here grey images take the settings of MNIST


@dataclass(frozen=True)
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
    """

    k: int = 256
    sigma: float = 0.5
    temperature: float = 0.1
    weight: float = 1e-4
    start_epoch: float = 0.0
    ramp_epochs: float = 0.0
    patch: str | None = None

    def __post_init__(self) -> None:
        check_weight(self.weight)
        for name in ("start_epoch", "ramp_epochs"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} counts epochs, 0 or more; got {getattr(self, name)}")

    def partner(self, name: str) -> Partner:
        """What makes the noisy copies."""
        return UtilityNoise(self.k, self.sigma) if name in FCL else WholeNoise(self.sigma)

    def objective(self, name: str) -> FeatureContrast | None:
        """What compares their embeddings."""
        return None if name == "xe-gaussian" else FeatureContrast(self.temperature)


def feature_settings(
    name: str, *, size: int, channels: int, classes: int, epochs: float | None = None
) -> FeatureSettings:
    """The published settings of a training for images of this kind (section 4.1, Appendix B).

    Those of synthetic MNIST for grey images of up to 32 pixels, of CIFAR for others up to 64 (with 100 classes or more
    of CIFAR-100), of ImageNet above. Where the paper has none for MNIST: the rivals share FCL's weight and start, their
    sigma is that of CIFAR, the patch covers as much of the image as CIFAR's.

    Args:
        epochs: of the training; start and ramp keep their share of it. None: as published (20, 450 and 90).

    Raises:
        InputError: no such training.
    """
    if name not in LABELLED:
        raise unknown("training with labels", name, LABELLED)
    if channels == 1 and size <= _MNIST:
        found, published = _mnist(name, size), 20.0
    elif size <= SMALL:
        found, published = _cifar(name, size, many=classes >= 100), 450.0
    else:
        found, published = _imagenet(name, size), 90.0
    stretch = 1.0 if epochs is None else epochs / published
    settings = {**found, "start_epoch": found["start_epoch"] * stretch, "ramp_epochs": found["ramp_epochs"] * stretch}
    return FeatureSettings(**settings)


def _mnist(name: str, size: int) -> dict:
    sigma = 0.3 if name == "xe-gaussian" else 0.5
    return {
        "sigma": sigma, "temperature": 0.5 if name == "cl-gaussian" else 0.1, "weight": 1e-3, "start_epoch": 2.0,
        "ramp_epochs": 2.0, "patch": _patch(name, round(size * 25 / 32), 0.1),
    }  # fmt: skip


def _cifar(name: str, size: int, *, many: bool) -> dict:
    temperatures = {"cl-gaussian": 0.5, "fcl": 0.1 if many else 2.0, "patch-gaussian-fcl": 0.1 if many else 1.0}
    return {
        "sigma": 0.3 if name == "xe-gaussian" else 0.5, "temperature": temperatures.get(name, 0.5), "weight": 1e-4,
        "start_epoch": 300.0, "ramp_epochs": 0.0, "patch": _patch(name, round(size * 25 / 32), 0.05 if many else 0.1),
    }  # fmt: skip


def _imagenet(name: str, size: int) -> dict:
    ours = {
        "fcl": {"k": 512, "sigma": 1.0, "temperature": 0.5, "weight": 2e-4},
        "patch-gaussian-fcl": {"k": 2048, "sigma": 0.5, "temperature": 1.0, "weight": 4e-4},
    }
    rest = {"sigma": 0.5, "temperature": 0.5, "weight": 1e-4}
    largest = round(size * 250 / 224)  # the published patch is at most 250 pixels, of 224
    return {**ours.get(name, rest), "start_epoch": 60.0, "ramp_epochs": 0.0, "patch": _patch(name, (1, largest), 1.0)}


def _patch(name: str, size: int | tuple[int, int], sigma: float) -> str | None:
    return f"PatchGaussian({size!r}, {sigma!r})" if name in _PATCHED else None


def build_labelled(
    name: str,
    encoder: Encoder,
    head: nn.Module,
    settings: FeatureSettings | None = None,
    *,
    start: int = 0,
    ramp: int = 0,
    operator: Operator | None = None,
    augment: Operator | None = None,
    tikhonov: InputGradient | None = None,
    attack: Attack | None = None,
) -> nn.Module:
    """A training with labels by name.

    Args:
        settings: those of `feature_settings`; "supervised", "augmix" and "adversarial" need none.
        start, ramp: the settings' epochs, in steps of the training.
        operator: damage, before the patch where there is one; not with "augmix" and "adversarial".
        augment: crop and flip, before all damage.
        tikhonov: of `PENALISED` alone.
        attack: of "adversarial", which needs it.

    Raises:
        InputError: no such training, or parts that it does not have.
    """
    if name not in LABELLED:
        raise unknown("training with labels", name, LABELLED)
    check_parts(name, tikhonov, attack)
    if name == "augmix":
        return AugMixConsistency(encoder, head, AugMix(), augment)
    if attack is not None:
        return AdversarialTraining(encoder, head, attack, augment)
    settings = settings or FeatureSettings()
    damage = damage_of(settings, operator)
    if name not in SECOND_TERM:
        return Supervised(encoder, head, damage, augment, tikhonov)
    return FeatureContrastive(
        encoder, head, settings.partner(name), settings.objective(name), settings.weight, start=start, ramp=ramp,
        operator=damage, augment=augment,
    )  # fmt: skip


def check_parts(name: str, tikhonov: object | None, attack: object | None) -> None:
    """Raise `InputError` for a Tikhonov penalty or an attack that the training does not have, or an attack it lacks."""
    if tikhonov is not None and name not in PENALISED:
        raise InputError(f"{name} has no Tikhonov penalty (tikhonov): these have one: {', '.join(PENALISED)}")
    if attack is not None and name != "adversarial":
        raise InputError(f"{name} has no attack: only adversarial training learns from attacked images")
    if attack is None and name == "adversarial":
        raise InputError("adversarial training needs an attack, such as PGD(L2(0.5), steps=7, step_size=0.1)")


def damage_of(settings: FeatureSettings, operator: Operator | None) -> Operator | None:
    """All damage that the images meet in training."""
    given = [operator] if operator is not None else []
    patch = [operators.parse(settings.patch)] if settings.patch else []
    both = given + patch
    return Chain(*both) if len(both) > 1 else both[0] if both else None
