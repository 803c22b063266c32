"""Labels for a pretrained encoder that may still move."""

from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.errors import unknown
from weatherproof.methods import Supervised
from weatherproof.protocols import Operator
from weatherproof.readouts.mlp import MLPHead
from weatherproof.training import Plan, RunFolder, Watch, fit

_HEAD = 0x6D6C7068  # "mlph": the new layers' own seed

HEADS = {"mlp": MLPHead, "linear": nn.Linear}


def finetune_encoder(
    encoder: Encoder,
    images: ImageSet,
    *,
    plan: Plan,
    head: str | nn.Module = "mlp",
    labels: Tensor | None = None,
    operator: Operator | None = None,
    augment: Operator | None = None,
    run: RunFolder | None = None,
    watch: Watch | None = None,
    progress: bool = True,
) -> tuple[Encoder, nn.Module]:
    """A copy of the encoder and a new head, trained together on labels (mean cross-entropy).

    Args:
        head: "mlp" (`MLPHead`, as "Robustness of Contrastive Learning Models" fine-tunes), "linear", both with random
            weights, or a module [batch, feature_dim] -> [batch, classes], which is trained in place.
        labels: positions of the images whose labels may be used (`data.label_fraction`); None: all. `plan.epochs` are
            passes over these.
        operator, augment: damage, and crop and flip before it.

    Raises:
        InputError: images without labels, or an unknown head.
    """
    moved = encoder.clone()
    top = head if isinstance(head, nn.Module) else _new(head, moved.feature_dim, len(images.classes), plan.seed)
    used = images if labels is None else images.subset(labels)
    fit(Supervised(moved, top, operator, augment), used, plan, run, watch=watch, label="fine-tuning", progress=progress)
    return moved.eval(), top.eval()


def _new(name: str, features: int, classes: int, seed: int) -> nn.Module:
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    with random.framework_seed(seed, _HEAD):
        return HEADS[name](features, classes)
