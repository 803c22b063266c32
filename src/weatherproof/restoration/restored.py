"""A classifier with a restoration in front of it."""

from collections.abc import Callable

import torch
from torch import nn

from weatherproof import random
from weatherproof.types import Images, Keys, Logits


class Restored(nn.Module):
    """logits = classifier(restore(images, keys)).

    Args:
        restore: restore(images, keys) -> images, such as `NonLocalMeans()` or `DeepDecoder()`.
        classifier: images -> logits.
        seed: makes the keys where `forward` is not given any.
    """

    takes_keys = True  # evaluation then gives each image's key, so that a restoration that draws is reproducible

    def __init__(
        self, restore: Callable[[Images, Keys], Images], classifier: Callable[[Images], Logits], *, seed: int = 0
    ) -> None:
        super().__init__()
        self.restore = restore
        self.classifier = classifier
        self.seed = seed
        self.deterministic = bool(getattr(restore, "deterministic", False))

    def forward(self, images: Images, keys: Keys | None = None) -> Logits:
        """Without keys, an image's key comes from its place in the batch."""
        if keys is None:
            keys = random.keys(self.seed, torch.arange(len(images)))
        return self.classifier(self.restore(images, keys))
