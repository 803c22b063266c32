"""The trainings with labels, by name."""

from torch import nn

from weatherproof import operators
from weatherproof.errors import InputError, unknown
from weatherproof.methods.adversarial import AdversarialTraining
from weatherproof.methods.augmix_consistency import AugMixConsistency
from weatherproof.methods.feature_contrast import FeatureContrastive
from weatherproof.methods.feature_settings import LABELLED, PATCHED, PENALISED, SECOND_TERM, FeatureSettings
from weatherproof.methods.supervised import Supervised
from weatherproof.objectives import InputGradient
from weatherproof.objectives.class_losses import class_loss
from weatherproof.operators import Chain
from weatherproof.protocols import Attack, Encoder, Operator
from weatherproof.views import AugMix


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
        settings: those of `feature_settings`; "supervised", "augmix" and "adversarial" need none, and the trainings
            with a patch cannot do without.
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
    if name in PATCHED and settings.patch is None:
        raise InputError(
            f"{name} needs the patch: FeatureSettings(patch='PatchGaussian(25, 0.1)'), or feature_settings"
        )
    damage = damage_of(settings, operator)
    if name not in SECOND_TERM:
        return Supervised(encoder, head, damage, augment, tikhonov)
    return FeatureContrastive(
        encoder, head, settings.partner(name), settings.objective(name), settings.weight, start=start, ramp=ramp,
        operator=damage, augment=augment, layer=settings.layer, loss=class_loss(settings.loss),
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


def training_damage(
    name: str, settings: FeatureSettings, operator: Operator | None = None, attack: Attack | None = None
) -> str | None:
    """The text of all damage that the images meet in training; None: nothing."""
    damages: list[object] = [AugMix()] if name == "augmix" else [] if attack is None else [attack]
    damage = damage_of(settings, operator)
    damages += [damage] if damage is not None else []
    damages += [settings.partner(name)] if name in SECOND_TERM else []
    return ", ".join(map(repr, damages)) or None
