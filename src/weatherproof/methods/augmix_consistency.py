"""The rival with labels whose predictions agree over AugMix views."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.methods.answers import check_outputs
from weatherproof.methods.parts import AUGMENT, OPERATOR, look, pixel_precision, trainable
from weatherproof.objectives import jensen_shannon
from weatherproof.protocols import Encoder, Gather, Operator, Views
from weatherproof.types import Images, Keys, Labels


class AugMixConsistency(nn.Module):
    """Cross-entropy of the clean image + weight JS(p_clean; p_1; p_2) of two views (Hendrycks et al. 2020, section 3).

    Args:
        encoder: trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        views: makes two views of the augmented image, `AugMix()` as a rule.
        augment: crop and flip, which come first for all three.
        weight: 12 in the paper.

    Raises:
        InputError: a weight out of range; in training, labels that the head has no output for.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(
        self, encoder: Encoder, head: nn.Module, views: Views, augment: Operator | None = None, weight: float = 12.0
    ) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise InputError(f"weight must be a number of 0 or more, got {weight}")
        self.encoder, self.head = encoder, head
        self.views, self.augment, self.weight = views, augment, weight
        assert isinstance(encoder, nn.Module)
        trainable(encoder, head)

    def prepare(self, images: ImageSet) -> None:
        """Refuse labels that the head has no output for."""
        check_outputs(self.encoder, self.head, images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        clean = look(self.augment, images, keys, AUGMENT)
        with pixel_precision(images):
            first, second = self.views(clean, random.fold(keys, OPERATOR))
        # one pass, so that batch normalisation sees all three together, as in the authors' code
        logits = self.head(self.encoder(torch.cat([clean, first, second]))).float().chunk(3)
        divergence = jensen_shannon(logits)
        with torch.no_grad():
            accuracy = (logits[0].argmax(dim=1) == labels).float().mean()
        return {
            "loss": F.cross_entropy(logits[0], labels) + self.weight * divergence,
            "divergence": divergence.detach(),
            "accuracy": accuracy,
        }
