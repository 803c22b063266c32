"""The common corruptions as one damage, for training on many kinds at once."""

from functools import cached_property

from weatherproof.benchmark import COMMON_19, GROUPS
from weatherproof.errors import InputError, unknown
from weatherproof.operators.combine import OneOf
from weatherproof.operators.suites import Corruption
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_NAMES = {**GROUPS, **{name: (name,) for name in COMMON_19}}


@component
class CommonCorruptions:
    """One of the 19 common corruptions for each image, all equally likely, at a severity that is drawn too.

    Args:
        only: a group (noise, blur, weather, digital) or a corruption, from which alone is drawn; None: all 19.
        without: a group or a corruption that is left out, so that it can be met unseen; None: none is.
        severity: of `Corruption`: 1 (mild) to 5, or (low, high) from which each image draws its own.

    Raises:
        InputError: an unknown name, a severity out of range, or nothing that is left to draw.
    """

    only: str | None = None
    without: str | None = None
    severity: int | tuple[int, int] = (1, 5)

    def __post_init__(self) -> None:
        for name in (self.only, self.without):
            if name is not None and name not in _NAMES:
                raise unknown("group or corruption", name, _NAMES)
        if not self.names:
            raise InputError(f"only {self.only} without {self.without} leaves no corruption to draw")
        Corruption(self.names[0], self.severity)

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions that are drawn from."""
        chosen = COMMON_19 if self.only is None else _NAMES[self.only]
        left = () if self.without is None else _NAMES[self.without]
        return tuple(name for name in chosen if name not in left)

    @cached_property
    def family(self) -> OneOf:
        """The same as an operator of operators."""
        return OneOf(*(Corruption(name, self.severity) for name in self.names))

    def __call__(self, images: Images, keys: Keys) -> Images:
        return self.family(images, keys)
