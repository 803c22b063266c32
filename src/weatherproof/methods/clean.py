"""What hardening keeps: some images stay clean, and the student is held there to what it was."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof.errors import InputError
from weatherproof.objectives.embeddings import check_weights
from weatherproof.objectives.similarity import anchored
from weatherproof.spec import component
from weatherproof.types import Embeddings

RATE, MOST = 0.05, 20.0  # of the multiplier: how fast it moves, and how far


@component
class KeepClean:
    """A share of the training images is left as it is, and a promise of what the student gives for them.

    The loss becomes L + m D, where D is the anchor over the clean images of the batch: the mean of 1 - cos(S(x), R(x)),
    plus the distance of their similarity matrices that regularizes URRL's fine-tuning (eq. 4). m is a multiplier: it
    rises while the mean of 1 - cos is above 1 - `cosine`, and falls below (`Multiplier`).

    Args:
        share: of the images that are left clean, each drawn by its own key, in [0, 1).
        cosine: the promised mean cosine between student and teacher on clean images, in [0, 1); 0: no anchor.
        similarity: weight of the distance of the similarity matrices.

    Raises:
        InputError: a value out of range; a promise without clean images to hold it on.
    """

    share: float = 0.2
    cosine: float = 0.95
    similarity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("share", "cosine"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        check_weights(self, "similarity")
        if self.cosine and not self.share:
            raise InputError(
                f"a promised cosine of {self.cosine:g} on clean images needs some in training: a clean share above 0 "
                "(0.2), or no promise (0)"
            )

    def anchor(self, student: Embeddings, teacher: Embeddings) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """D, and the mean of 1 - cos alone, of embeddings [n, features] of the same n >= 1 clean images."""
        return anchored(student, teacher, self.similarity)


class Multiplier(nn.Module):
    """m of the promise: m <- clip(m + 0.05 (d / allowed - 1), 0, 20) after each batch, where d is its mean of 1 - cos.

    It is 1 at first and part of the state, so that a training that goes on has it.
    """

    value: Tensor

    def __init__(self, allowed: float) -> None:
        super().__init__()
        self.allowed = allowed
        self.register_buffer("value", torch.ones(()))

    @torch.no_grad()
    def follow(self, apart: Tensor) -> None:
        self.value.add_(RATE * (apart.detach().to(self.value) / self.allowed - 1)).clamp_(0, MOST)
