"""Several views of one image."""

from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.protocols import Operator
from weatherproof.spec import component
from weatherproof.types import Images, Keys

Look = Float[Tensor, "batch channels high wide"]  # a crop may change the size


@component
class Twice:
    """Two independent draws of one augmentation: the positive pair of contrastive learning (Chen et al. 2020)."""

    view: Operator

    def __call__(self, images: Images, keys: Keys) -> tuple[Look, Look]:
        return self.view(images, random.fold(keys, 0)), self.view(images, random.fold(keys, 1))
