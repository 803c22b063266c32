"""URRL's rule: a look from one of two families of views, drawn for each image and view."""

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof import random
from weatherproof.canvas import picked
from weatherproof.errors import InputError
from weatherproof.protocols import Views
from weatherproof.spec import component
from weatherproof.types import Images, Keys
from weatherproof.views.augmix.mix import View


@component
class URRL:
    """T(x) = t(x) with t from T_rob with probability p, else from T_rep (URRL, section 2.1).

    The coin is tossed for each view and each image, so that the two looks of a pair may come from unlike families. An
    image is augmented by the family that it drew only. The paper's setting for MoCo v2 on ImageNet is
    ``URRL(MoCoV2(224), AugMix("all", 224))``.

    Args:
        rep: the family for good representations, the base method's own.
        rob: the family for robust ones, AugMix.
        p: probability of `rob`.

    Raises:
        InputError: a family without single looks (`.one`), a probability outside [0, 1]; families whose looks have
            unlike shapes.
    """

    rep: Views
    rob: Views
    p: float = 0.5

    def __post_init__(self) -> None:
        for family in (self.rep, self.rob):
            if not callable(getattr(family, "one", None)):
                raise InputError(f"URRL mixes single looks at an image, and {family!r} gives none; expected one such "
                                 "as MoCoV2(224) or AugMix('all', 224)")  # fmt: skip
        if not 0 <= self.p <= 1:
            raise InputError(f"URRL needs a probability p in [0, 1], got {self.p}")

    def __call__(self, images: Images, keys: Keys) -> tuple[View, View]:
        """Two independent looks at each image."""
        return self.one(images, random.fold(keys, 0)), self.one(images, random.fold(keys, 1))

    def one(self, images: Images, keys: Keys) -> View:
        """A single look at each image."""
        robust = random.uniform(random.fold(keys, 0)) < self.p
        order = robust.argsort(stable=True)
        rest, chosen = order.split([int((~robust).sum()), int(robust.sum())])
        looks = [
            _look(family, picked(images, rows), random.fold(keys[rows], use))
            for use, family, rows in ((1, self.rep, rest), (2, self.rob, chosen))
            if len(rows)
        ]
        if len({look.shape[1:] for look in looks}) > 1:
            raise InputError(f"the looks of {self!r} differ in shape: {[tuple(k.shape[1:]) for k in looks]}; "
                             "give both families the same size")  # fmt: skip
        return _merged(looks, order) if looks else _look(self.rep, images, keys)


def _look(family: Views, images: Images, keys: Keys) -> View:
    return family.one(images, keys)  # type: ignore[attr-defined]  # __post_init__ has seen to it


def _merged(looks: list[Tensor], order: Int64[Tensor, "batch"]) -> View:
    if len(looks) == 1:
        return looks[0]
    both = torch.cat(looks)
    return both.index_select(0, order.argsort().to(both.device))
