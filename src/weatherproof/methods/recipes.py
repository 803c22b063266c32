"""What the authors of each method trained it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weatherproof.errors import unknown
from weatherproof.sizes import Size, shorter

SMALL = 64  # px; up to this side the settings for CIFAR hold


@dataclass(frozen=True)
class Recipe:
    """The published settings of a method.

    Attributes:
        views: the family of views, called with the side.
        projector: "mlp-bn": three linear layers with batch norm after each; "mlp": two; "linear": one.
        settings: of the method itself (of SimCLR: of its objective).
        epochs, batch_size, lr, ... gamma: as in `training.Plan`; lr is for this batch_size.
        source: where it is published.
    """

    views: str
    projector: Literal["mlp-bn", "mlp", "linear"]
    settings: Mapping[str, Any]
    epochs: float
    batch_size: int
    lr: float
    source: str
    optimizer: Literal["sgd", "lars"] = "sgd"
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "cosine_epoch", "step"] = "cosine_epoch"
    warmup_epochs: float = 0.0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1

    def views_text(self, size: Size) -> str:
        """The family at a side, as `views.parse` reads it."""
        return f"{self.views}({size})"

    def plan(self, epochs: float | None = None, batch_size: int | None = None) -> dict[str, Any]:
        """Arguments of `training.Plan`: lr in proportion to the batch, milestones and warm-up to the epochs.

        The warm-up is never longer than the published one.
        """
        epochs, batch_size = epochs or self.epochs, batch_size or self.batch_size
        stretch = epochs / self.epochs
        return {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": self.lr * batch_size / self.batch_size,
            "optimizer": self.optimizer,
            "weight_decay": self.weight_decay,
            "schedule": self.schedule,
            "warmup_epochs": self.warmup_epochs * min(1.0, stretch),
            "milestones": tuple(milestone * stretch for milestone in self.milestones),
            "gamma": self.gamma,
        }


_STEPS = (120.0, 160.0)
_BANK = {"temperature": 0.07, "negatives": 65_536, "momentum": 0.5}
_SMALL_BANK = {"temperature": 0.1, "negatives": 4_096, "momentum": 0.5}

RECIPES: dict[str, Recipe] = {
    "simclr": Recipe(
        "SimCLR", "mlp-bn", {"temperature": 0.1}, 100, 4096, 4.8, "google-research/simclr, ImageNet: 64.5 %",
        optimizer="lars", schedule="cosine", warmup_epochs=10,
    ),
    "mocov2": Recipe(
        "MoCoV2", "mlp", {"temperature": 0.2, "queue": 65_536, "momentum": 0.999, "groups": 8}, 200, 256, 0.03,
        "facebookresearch/moco, ImageNet: 67.5 %",
    ),
    "instdis": Recipe(
        "InstDis", "linear", _BANK, 200, 256, 0.03, "HobbitLong/PyContrast, ImageNet: 59.5 %",
        schedule="step", milestones=_STEPS,
    ),
    "pirl": Recipe(
        "InstDis", "linear", {**_BANK, "beta": 0.5}, 200, 256, 0.03, "HobbitLong/PyContrast, ImageNet: 61.7 %",
        schedule="step", milestones=_STEPS,
    ),
}  # fmt: skip
SMALL_RECIPES: dict[str, Recipe] = {
    "simclr": Recipe(
        "SimCLR", "mlp-bn", {"temperature": 0.5}, 1000, 512, 2.0, "google-research/simclr, CIFAR-10: about 91 %",
        optimizer="lars", schedule="cosine", warmup_epochs=10,
    ),
    "mocov2": Recipe(  # the notebook's projector is linear, as version 1 had it; what is trained here is version 2
        "MoCoV2", "mlp", {"temperature": 0.1, "queue": 4_096, "momentum": 0.99, "groups": 8}, 200, 512, 0.06,
        "facebookresearch/moco, CIFAR-10 notebook: k-NN 82.6 %", weight_decay=5e-4,
    ),
    "instdis": Recipe(
        "InstDis", "linear", _SMALL_BANK, 200, 256, 0.1, "zhirongw/lemniscate.pytorch, CIFAR-10", weight_decay=5e-4,
        schedule="step", milestones=_STEPS,
    ),
    "pirl": Recipe(  # nothing is published for small images: those of InstDis
        "InstDis", "linear", {**_SMALL_BANK, "beta": 0.5}, 200, 256, 0.1, "as instdis", weight_decay=5e-4,
        schedule="step", milestones=_STEPS,
    ),
}  # fmt: skip


def recipe(name: str, size: Size | None = None) -> Recipe:
    """A method's published settings: on CIFAR for images of up to 64 px where it has such, else (and for None) on
    ImageNet.

    Raises:
        InputError: no such method.
    """
    if name not in RECIPES:
        raise unknown("pretraining method", name, RECIPES)
    found = RECIPES[name]
    return SMALL_RECIPES.get(name, found) if size is not None and shorter(size) <= SMALL else found
