"""The rival with labels: encoder and classifier trained end to end on damaged images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.methods.parts import AUGMENT, OPERATOR, look, trainable
from weatherproof.protocols import Encoder, Gather, Operator
from weatherproof.types import Images, Keys, Labels


class Supervised(nn.Module):
    """Mean cross-entropy of head(encoder(A(x))) against the labels.

    Args:
        encoder: trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        operator: the damage, or None to train on clean images.
        augment: crop and flip, before the damage.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(
        self, encoder: Encoder, head: nn.Module, operator: Operator | None = None, augment: Operator | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.operator, self.augment = operator, augment
        assert isinstance(encoder, nn.Module)
        trainable(encoder, head)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        seen = look(self.operator, look(self.augment, images, keys, AUGMENT), keys, OPERATOR)
        logits = self.head(self.encoder(seen)).float()
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels), "accuracy": accuracy}
