"""Labels for a pretrained encoder that may still move."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError, unknown
from weatherproof.methods import FineTuning, Supervised
from weatherproof.objectives import (
    L2SP,
    REGULARIZERS,
    InputGradient,
    Regularizer,
    SimilarityMatrix,
    parse_regularizer,
)
from weatherproof.protocols import Operator
from weatherproof.readouts.mlp import MLPHead
from weatherproof.training import Plan, RunFolder, Watch, fit

_HEAD = 0x6D6C7068  # "mlph": the new layers' own seed
_ARGUMENTS = {SimilarityMatrix: "similarity", L2SP: "sp", InputGradient: "tikhonov"}  # of `FineTuning`

HEADS = {"mlp": MLPHead, "linear": nn.Linear}


def finetune_encoder(
    encoder: Encoder,
    images: ImageSet,
    *,
    plan: Plan,
    head: str | nn.Module = "mlp",
    regularizers: Sequence[str | Regularizer] = (),
    labels: Tensor | None = None,
    operator: Operator | None = None,
    augment: Operator | None = None,
    run: RunFolder | None = None,
    watch: Watch | None = None,
    label: str = "fine-tuning",
    progress: bool = True,
) -> tuple[Encoder, nn.Module]:
    """A copy of the encoder and a new head, trained together on labels (mean cross-entropy).

    Args:
        head: "mlp" (`MLPHead`, as "Robustness of Contrastive Learning Models" fine-tunes), "linear", both with random
            weights, or a module [batch, feature_dim] -> [batch, classes], which is trained in place.
        regularizers: of `objectives.REGULARIZERS`, each at most once: SimilarityMatrix and L2SP, which know the encoder
            that was given, and InputGradient.
        labels: positions of the images whose labels may be used (`data.label_fraction`); None: all. `plan.epochs` are
            passes over these.
        operator, augment: damage, and crop and flip before it.

    Raises:
        InputError: images without labels, an unknown head, regularizers that do not fit each other or the plan, or
            labels that the head has no output for.
    """
    chosen = regularizers_of(regularizers, plan.weight_decay)
    moved = encoder.clone()
    top = head if isinstance(head, nn.Module) else new_head(head, moved.feature_dim, len(images.classes), plan.seed)
    used = images if labels is None else images.subset(labels)
    method = (
        FineTuning(moved, top, encoder.clone(), operator=operator, augment=augment, **chosen)
        if chosen
        else Supervised(moved, top, operator, augment)
    )
    fit(method, used, plan, run, watch=watch, label=label, progress=progress)
    return moved.eval(), top.eval()


def regularizers_of(regularizers: Sequence[str | Regularizer], weight_decay: float = 0.0) -> dict[str, Any]:
    """The regularizers as arguments of `methods.FineTuning`.

    Raises:
        InputError: an unknown one, two of a kind, or L2-SP beside weight decay, which it replaces.
    """
    chosen: dict[str, Any] = {}
    for given in map(parse_regularizer, regularizers):
        if type(given) not in _ARGUMENTS:
            raise InputError(f"{given!r} is no regularizer: expected one of {', '.join(REGULARIZERS)}")
        name = _ARGUMENTS[type(given)]
        if name in chosen:
            raise InputError(f"two regularizers of a kind: {chosen[name]!r} and {given!r}; give one of them")
        chosen[name] = given
    if "sp" in chosen and weight_decay > 0:
        raise InputError(f"L2SP takes the place of weight decay: set weight_decay to 0, got {weight_decay:g}")
    return chosen


def new_head(name: str, features: int, classes: int, seed: int) -> nn.Module:
    """A head of `HEADS` with random weights. Raises `InputError` for another name."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    with random.framework_seed(seed, _HEAD):
        return HEADS[name](features, classes)
