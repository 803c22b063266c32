"""What `pretrain` fills in where the user says nothing: views, plan, and settings of the method."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherproof import methods, random, views
from weatherproof.data import ImageSet, batches
from weatherproof.errors import InputError
from weatherproof.methods import Recipe
from weatherproof.modes import eval_mode
from weatherproof.protocols import Operator, Views
from weatherproof.sizes import Size
from weatherproof.training import Plan
from weatherproof.verbs.inputs import tried

Preset = Literal["quick", "paper"]

# Ours: for small data and few epochs, where the published settings, made for a hundred epochs and more on a large
# batch, would hardly begin to move.
_QUICK: Mapping[str, Any] = {"epochs": 100.0, "batch_size": 128, "lr": 2e-3, "warmup_epochs": 1.0}
_GROUPS = 8  # of MoCo's batch normalisation


def views_of(text: str | Views | Operator, recipe: Recipe, size: Size) -> Views:
    """ "auto" is the method's own family, "urrl" that or AugMix's thirteen operations, by URRL's rule. A single
    augmentation is drawn twice."""
    own = f"{recipe.views_text(size)}"
    if text in ("auto", "urrl"):
        return views.parse(own if text == "auto" else f"URRL({own}, AugMix('all', {size}))")
    return views.parse(text)


def require_views(family: Any, images: ImageSet, device: torch.device) -> Views:
    """The family, tried on two of the images; one that gives a single look is drawn twice.

    Raises:
        InputError: it fails, or gives something else than two or more looks at each image.
    """
    batch = next(batches(images, 2, device=device))
    shape, keys = list(batch.images.shape), random.keys(0, batch.index)
    with tried(f"the views {family!r} fail on images {shape}"):
        looks = family(batch.images, keys)
    if isinstance(looks, Tensor) and not isinstance(family, views.Twice):
        return require_views(views.Twice(family), images, device)
    found = list(looks) if isinstance(looks, tuple | list) else [looks]
    if len(found) != 2 or not all(_is_look(look, batch.images) for look in found):
        got = ", ".join(str(list(look.shape)) if isinstance(look, Tensor) else type(look).__name__ for look in found)
        raise InputError(
            f"a method compares two looks at each of {shape[0]} images, floats on their device, and {family!r} gives "
            f"{got}"
        )
    if not all(bool(look.isfinite().all()) for look in found):
        raise InputError(f"the views {family!r} give pixels that are not finite numbers")
    if all(map(torch.equal, family(1 - batch.images, keys), found)) and not torch.equal(1 - batch.images, batch.images):
        raise InputError(f"the views {family!r} leave nothing of an image: a picture and its negative look the same")
    return family


def _is_look(look: Any, images: Tensor) -> bool:
    alike = isinstance(look, Tensor) and (look.dtype, look.device.type) == (images.dtype, images.device.type)
    return alike and look.ndim == 4 and look.shape[:2] == images.shape[:2]


def plan_of(recipe: Recipe, preset: Preset, options: Mapping[str, Any]) -> Plan:
    """The plan: what was given, then the preset's. The published learning rate goes with the batch, its milestones and
    its warm-up with the epochs."""
    stated = {name: value for name, value in options.items() if value is not None}
    if preset == "paper":
        stated = recipe.plan(stated.get("epochs"), stated.get("batch_size")) | stated
    else:
        epochs = stated.get("epochs", _QUICK["epochs"])
        stated = {**_QUICK, "warmup_epochs": min(_QUICK["warmup_epochs"], epochs / 10), **stated}
    return Plan.of(stated | {"milestones": tuple(stated.get("milestones", ()))})


def batch_of(plan: Plan, images: ImageSet) -> int:
    """Images in a whole batch: all that there are, where they are fewer than a batch.

    Raises:
        InputError: there is no second image to tell the first from.
    """
    batch = min(plan.batch_size, len(images) // plan.devices * plan.devices)
    if batch < 2 * plan.devices:
        each = "" if plan.devices == 1 else f" on each of {plan.devices} devices"
        raise InputError(
            f"contrastive learning tells images of a batch apart, so it needs two or more{each}: got batch_size "
            f"{plan.batch_size} and {len(images)} images in {images.name!r}"
        )
    return batch


def settings_of(method: str, recipe: Recipe, options: Mapping[str, Any], batch: int, devices: int) -> dict[str, Any]:
    """Settings of the method that were given, and MoCo's groups where eight would not share the batch evenly.

    Raises:
        InputError: a setting that the method does not have, or that does not fit the batch.
    """
    stated = {name: value for name, value in options.items() if value is not None}
    for name in stated:
        if name not in recipe.settings:
            has = ", ".join(own for own in recipe.settings if own in options)
            raise InputError(f"{method} has no setting {name!r}: it has {has}")
    if not stated.get("temperature", 1) > 0:
        raise InputError(f"temperature must be a positive number, got {stated['temperature']}")
    if stated.get("queue", batch) % batch:
        more = -(-stated["queue"] // batch) * batch
        raise InputError(f"the queue must be a multiple of the batch of {batch}, got {stated['queue']}: try {more}")
    if "groups" in recipe.settings and "groups" not in stated:
        stated["groups"] = next(
            (n for n in range(_GROUPS, 0, -1) if batch % n == 0 and batch >= 2 * n and n % devices == 0), devices
        )
    return stated


def require_learns(learner: nn.Module, images: ImageSet, device: torch.device) -> None:
    """Try the method's loss on two of the images, as it is measured rather than trained.

    Raises:
        InputError: its parts do not fit each other or the images, such as an encoder too deep for a puzzle's patches.
    """
    batch = next(batches(images, 2, device=device))
    learner.to(device)
    with eval_mode(learner), torch.no_grad():
        try:
            learner(batch.images, batch.labels, batch.index, random.keys(0, batch.index), lambda rows: rows)
        except InputError:
            raise
        except RuntimeError as error:
            shape = list(batch.images.shape[1:])
            raise InputError(f"the method cannot learn from images {shape} with this encoder: {error}") from error


def resolved(plan: Plan, options: Mapping[str, Any], recipe: Recipe, learner: nn.Module) -> dict[str, Any]:
    """The settings that recipe.yaml holds in place of "nothing given"."""
    names = ("epochs", "batch_size", "lr", "weight_decay", "optimizer", "schedule", "warmup_epochs")
    stated = {name: getattr(plan, name) for name in names} | {"milestones": list(plan.milestones) or None}
    stated |= {name: recipe.settings.get(name) if value is None else value for name, value in options.items()}
    if isinstance(learner, methods.MoCo):
        stated["queue"] = len(learner.queue)
    if isinstance(learner, methods.InstDis | methods.PIRL):
        stated["negatives"] = learner.bank.negatives
    return stated
