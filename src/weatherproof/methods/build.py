"""A pretraining method by name, with the projector and the settings of its paper."""

from typing import Any

from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.methods.instdis import InstDis
from weatherproof.methods.moco import MoCo
from weatherproof.methods.pirl import PIRL
from weatherproof.methods.recipes import Recipe, recipe
from weatherproof.methods.simclr import SimCLR
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.protocols import Encoder, Views
from weatherproof.sizes import Size, shorter
from weatherproof.views import TABLE as VIEWS

_PROJECTOR = 0x70726F6A  # seed of the new layers: "proj"
_FEATURES = 128  # all four papers
_PUZZLE = 255 / 224  # side of PIRL's puzzle over that of the image


def build(
    name: str,
    encoder: Encoder,
    *,
    views: Views,
    images: int | Int64[Tensor, "n"],
    size: Size | None = None,
    batch_size: int | None = None,
    projector: nn.Module | None = None,
    jigsaw: Views | None = None,
    tikhonov: InputGradient | None = None,
    seed: int = 0,
    **settings: Any,
) -> nn.Module:
    """ "simclr", "mocov2", "instdis" or "pirl" around an encoder, which is trained in place.

    What is not said is as in `recipe(name, size)`, but for a queue or a number of negatives that the images do not
    allow: it is then the largest power of two that is no more than the images, and of a queue whose batch_size is given
    the largest multiple of that.

    Args:
        views: any views, so that "X with URRL" is an argument.
        images: how many images there are, or the index of each (`ImageSet.index`).
        size: side of the views, or their (rows, columns); None: the views' own `size`, where they have one.
        batch_size: images in a whole batch, for the queue.
        projector: instead of the paper's.
        jigsaw: of PIRL, instead of `Jigsaw` at 255 / 224 of the shorter side.
        tikhonov: a penalty on the gradients by the pixels of the views, of "simclr" alone.
        seed: of all new layers, the queue and the bank.
        settings: of the method itself: temperature, queue, negatives, momentum, groups, beta; of SimCLR temperature and
            include_self.

    Raises:
        InputError: no such method or setting, or one out of range; PIRL without a jigsaw and a size; a penalty that the
            method does not have.
    """
    if tikhonov is not None and name != "simclr":
        raise InputError(f"{name} has no Tikhonov penalty (tikhonov): of the pretraining methods only simclr has one")
    size = _side(views) if size is None else size
    published = recipe(name, size)
    count = images if isinstance(images, int) else len(images)
    chosen = {**published.settings, **_allowed(published, count, batch_size), **settings}
    if projector is None:
        with random.framework_seed(seed, _PROJECTOR):
            projector = make_projector(published.projector, encoder.feature_dim)
    try:
        match name:
            case "simclr":
                return SimCLR(encoder, views, projector, NTXent(**chosen), tikhonov)
            case "mocov2":
                return MoCo(encoder, views, projector, seed=seed, **chosen)
            case "instdis":
                return InstDis(encoder, views, projector, images=images, seed=seed, **chosen)
        puzzle = _jigsaw(size) if jigsaw is None else jigsaw
        return PIRL(encoder, views, puzzle, projector, images=images, seed=seed, **chosen)
    except TypeError as error:
        raise InputError(f"cannot make the method {name!r}: {error}") from None


def make_projector(kind: str, inputs: int, features: int = _FEATURES) -> nn.Module:
    """A new projector, [batch, inputs] -> [batch, features]: "mlp-bn" (SimCLR), "mlp" (MoCo v2) or "linear"."""
    if kind == "linear":
        return nn.Linear(inputs, features)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, features))
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(inputs, inputs, bias=False), nn.BatchNorm1d(inputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(inputs, features, bias=False), nn.BatchNorm1d(features))


def _allowed(published: Recipe, images: int, batch_size: int | None) -> dict[str, int]:
    """Queue and negatives where the published ones are more than the images, or no multiple of the batch."""
    cut = {}
    if "negatives" in published.settings:
        cut["negatives"] = _cut(published.settings["negatives"], images, None)
    if "queue" in published.settings:
        cut["queue"] = _cut(published.settings["queue"], images, batch_size)
    return cut


def _cut(most: int, images: int, batch_size: int | None) -> int:
    if batch_size is not None:
        return max(1, min(most, images) // batch_size) * batch_size
    return most if most <= images else 1 << (max(1, images).bit_length() - 1)


def _side(views: Any) -> Size | None:
    """The size that views say they have, or the family that a mixture is made of."""
    found = getattr(views, "size", None)
    if found is None and hasattr(views, "rep"):
        return _side(views.rep)
    return found if isinstance(found, int | tuple) else None


def _jigsaw(size: Size | None) -> Views:
    if size is None:
        raise InputError("PIRL needs the side of its puzzle: give jigsaw=Jigsaw(255), or size=")
    cell = round(shorter(size) * _PUZZLE / 3)
    return VIEWS["Jigsaw"](3 * cell)
