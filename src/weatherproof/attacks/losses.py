"""What an attack raises: one number per image, by default the cross-entropy."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof.spec import component
from weatherproof.types import Labels, Logits

Losses = Float[Tensor, "batch"]
Loss = Callable[[Logits, Labels], Losses]


@component
class CrossEntropy:
    """-log softmax(logits)_y, per image."""

    def __call__(self, logits: Logits, labels: Labels) -> Losses:
        return F.cross_entropy(logits, labels, reduction="none")


@component
class Margin:
    """max_{c != y} f_c - f_y, positive where the image is misclassified (Carlini & Wagner 2017, f_6, not clipped).

    It does not saturate where the model is very sure, as cross-entropy does in float32.
    """

    def __call__(self, logits: Logits, labels: Labels) -> Losses:
        own = logits.gather(1, labels[:, None])
        return (logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1, keepdim=True) - own)[:, 0]
