"""How training looks at an image: augmented views, batched on the images' device, one draw per image and view."""

from typing import Any

from weatherproof import operators
from weatherproof.operators import Chain, OneOf, Sometimes
from weatherproof.protocols import Operator, Views
from weatherproof.spec import parse as _parse
from weatherproof.views.geometry import HorizontalFlip, RandomResizedCrop, Warp
from weatherproof.views.pairs import Twice

TABLE = {
    "RandomResizedCrop": RandomResizedCrop,
    "HorizontalFlip": HorizontalFlip,
    "Warp": Warp,
    "Twice": Twice,
}

__all__ = ["TABLE", "Chain", "HorizontalFlip", "OneOf", "RandomResizedCrop", "Sometimes", "Twice", "Warp", "parse"]


def parse(text: str | Operator | Views) -> Any:
    """A view, or an augmentation made of views and operators, from its text. Raises `InputError`."""
    return _parse(text, {**operators.TABLE, **TABLE}, "view") if isinstance(text, str) else text
