"""AugMix (Hendrycks et al. 2020) as families of views: mild operations in chains, mixed with the image."""

from collections.abc import Callable

from weatherproof import random
from weatherproof.errors import InputError, unknown
from weatherproof.protocols import Operator
from weatherproof.sizes import Size
from weatherproof.spec import component
from weatherproof.types import Images, Keys
from weatherproof.views.augmix.draws import OPERATIONS, STANDARD, Link
from weatherproof.views.augmix.mix import View, mix
from weatherproof.views.blur import RandomBlur
from weatherproof.views.colour import ColorJitter, RandomGrayscale
from weatherproof.views.families import look
from weatherproof.views.geometry import HorizontalFlip, random_crop

_MOST = 100  # chains, and operations in a chain
SETS = {"standard": STANDARD, "all": tuple(OPERATIONS)}

# MoCo v2's own operations (Chen et al. 2020), as URRL's row "AugMix (MoCo)" has them in chains; drawn, they always act.
_FROM_MOCO: tuple[Operator, ...] = (
    ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0), RandomGrayscale(1.0), RandomBlur((0.1, 2.0), p=1.0),
)  # fmt: skip


@component
class AugMix:
    """(1 - m) x + m sum_i w_i chain_i(x), with m ~ Beta(1, 1) and w ~ Dirichlet(1, ..., 1) (Algorithm 1).

    Each chain is of operations drawn with replacement, each with its own level v ~ U(.1, severity). They work on 8-bit
    levels as Pillow's do. The authors' severity is 3 on CIFAR and 1 on ImageNet.

    Args:
        ops: "standard", the paper's nine operations, or "all", with color, contrast, brightness and sharpness.
        size: side, or (rows, columns), of a random resized crop, which with a flip comes first; None: the image as it
            is.
        width: number of chains.
        depth: fewest and most operations in a chain, uniform between them.
        severity: the highest level, above .1 and at most 10.
        scale: range of the crop's share of the image's area.

    Raises:
        InputError: a setting out of its range; with "all", images that are neither grey nor RGB.
    """

    ops: str = "standard"
    size: Size | None = None
    width: int = 3
    depth: tuple[int, int] = (1, 3)
    severity: float = 3.0
    scale: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        if self.ops not in SETS:
            raise unknown("set of operations", self.ops, SETS)
        _check(self.width, self.depth, self.severity)
        if self.size is not None:
            random_crop(self.size, self.scale)  # checks its settings

    def __call__(self, images: Images, keys: Keys) -> tuple[View, View]:
        """Two independent looks at each image."""
        return self.one(images, random.fold(keys, 0)), self.one(images, random.fold(keys, 1))

    def one(self, images: Images, keys: Keys) -> View:
        """A single look at each image."""
        links = [OPERATIONS[name] for name in SETS[self.ops]]
        first = None if self.size is None else _crop(self.size, self.scale)
        return mix(images, keys, links, self.width, self.depth, self.severity, first, self.size)


@component
class AugMixMoCo:
    """AugMix whose chains also hold MoCo v2's colour jitter, grey and blur: URRL, Table 1, "AugMix (MoCo)".

    The sixteen operations are drawn alike. Random resized crop and flip come first.

    Args:
        size: side of a view in pixels, or its (rows, columns).
        width, depth, severity, scale: as for `AugMix`.

    Raises:
        InputError: a setting out of its range; images that are neither grey nor RGB, or smaller than 9 pixels.
    """

    size: Size
    width: int = 3
    depth: tuple[int, int] = (1, 3)
    severity: float = 3.0
    scale: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        _check(self.width, self.depth, self.severity)
        random_crop(self.size, self.scale)  # checks its settings

    def __call__(self, images: Images, keys: Keys) -> tuple[View, View]:
        """Two independent looks at each image."""
        return self.one(images, random.fold(keys, 0)), self.one(images, random.fold(keys, 1))

    def one(self, images: Images, keys: Keys) -> View:
        """A single look at each image."""
        links: list[Link] = [*OPERATIONS.values(), *_FROM_MOCO]
        first = _crop(self.size, self.scale)
        return mix(images, keys, links, self.width, self.depth, self.severity, first, self.size)


def _crop(size: Size, scale: tuple[float, float]) -> Callable[[Images, Keys], View]:
    return lambda images, keys: look(images, keys, random_crop(size, scale), HorizontalFlip())


def _check(width: int, depth: tuple[int, int], severity: float) -> None:
    if not 1 <= width <= _MOST or not 1 <= depth[0] <= depth[1] <= _MOST:
        raise InputError(
            f"AugMix needs width >= 1 and depth (fewest, most) from 1, in order, both up to {_MOST}; got {width} and "
            f"{depth}"
        )
    if not 0.1 < severity <= 10:
        raise InputError(f"AugMix needs a severity above 0.1 and at most 10, got {severity}")
