"""How training looks at an image: augmented views, batched on the images' device, one draw per image and view."""

from typing import Any

from weatherproof import operators
from weatherproof.operators import Chain, OneOf, Sometimes
from weatherproof.protocols import Operator, Views
from weatherproof.spec import parsed as _parsed
from weatherproof.views.augmix.families import AugMix, AugMixMoCo
from weatherproof.views.blur import RandomBlur
from weatherproof.views.colour import ColorJitter, RandomGrayscale
from weatherproof.views.families import InstDis, MoCoV1, MoCoV2, SimCLR
from weatherproof.views.geometry import HorizontalFlip, RandomResizedCrop
from weatherproof.views.jigsaw import Jigsaw
from weatherproof.views.padded_crop import PaddedCrop
from weatherproof.views.pairs import Twice
from weatherproof.views.urrl import URRL
from weatherproof.views.warp import Warp

TABLE = {
    "RandomResizedCrop": RandomResizedCrop,
    "PaddedCrop": PaddedCrop,
    "HorizontalFlip": HorizontalFlip,
    "Warp": Warp,
    "ColorJitter": ColorJitter,
    "RandomGrayscale": RandomGrayscale,
    "RandomBlur": RandomBlur,
    "Twice": Twice,
    "SimCLR": SimCLR,
    "MoCoV1": MoCoV1,
    "MoCoV2": MoCoV2,
    "InstDis": InstDis,
    "Jigsaw": Jigsaw,
    "AugMix": AugMix,
    "AugMixMoCo": AugMixMoCo,
    "URRL": URRL,
}

__all__ = [
    "TABLE",
    "URRL",
    "AugMix",
    "AugMixMoCo",
    "Chain",
    "ColorJitter",
    "HorizontalFlip",
    "InstDis",
    "Jigsaw",
    "MoCoV1",
    "MoCoV2",
    "OneOf",
    "PaddedCrop",
    "RandomBlur",
    "RandomGrayscale",
    "RandomResizedCrop",
    "SimCLR",
    "Sometimes",
    "Twice",
    "Warp",
    "parse",
]


def parse(text: str | Operator | Views) -> Any:
    """A view, or an augmentation made of views and operators, from its text. Raises `InputError`."""
    return _parsed(text, {**operators.TABLE, **TABLE}, "view")
