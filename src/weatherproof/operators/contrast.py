"""Low contrast."""

from weatherproof import random
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys


@component
class Contrast:
    """Takes contrast away: m + (1 - amount) (x - m), m the mean of each of the image's channels.

    The formula of the common corruptions' contrast (Hendrycks & Dietterich 2019), without their rounding to 8 bits.

    Args:
        amount: in [0, 1], or (low, high) from which each image draws its own uniformly; the benchmark's severities for
            224 px are 0.6, 0.7, 0.8, 0.9 and 0.95. 1 leaves a flat image.

    Raises:
        InputError: amount out of its range.
    """

    amount: levels.Level

    def __post_init__(self) -> None:
        levels.check(self.amount, "amount", 0, 1)

    @property
    def deterministic(self) -> bool:
        """Without a range nothing is drawn, so one realization is all of them."""
        return not isinstance(self.amount, tuple)

    def __call__(self, images: Images, keys: Keys) -> Images:
        amount = levels.draw(self.amount, random.fold(keys, 0)).to(images).view(-1, 1, 1, 1)
        return images.lerp(images.mean(dim=(2, 3), keepdim=True), amount)
