"""An encoder and what stands on it, as one module from images to logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from weatherproof.errors import InputError
from weatherproof.types import Embeddings, Images, Logits


class Classifier(nn.Module):
    """logits = head(encoder(images)). The head is any module on embeddings, such as the `nn.Linear` of `fit_probe`."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Images) -> Logits:
        return self.head(self.encoder(images))


class OwnHead(nn.Module):
    """logits = encoder.logits(images): the classifier that the pretrained model came with.

    Raises:
        InputError: the encoder has no head of its own.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if getattr(encoder, "num_classes", None) is None:
            name = getattr(encoder, "name", type(encoder).__name__)
            raise InputError(f"the encoder {name!r} has no classifier of its own: fit one with `fit_probe`")
        self.encoder = encoder

    def forward(self, images: Images) -> Logits:
        return self.encoder.logits(images)  # type: ignore[operator]


class Reordered(nn.Module):
    """A classifier's logits in another order.

    Args:
        order: the outputs, each once.
        classes: their names in this order.
    """

    order: Tensor

    def __init__(self, classifier: nn.Module, order: Sequence[int], classes: Sequence[str]) -> None:
        super().__init__()
        self.classifier, self.classes = classifier, tuple(classes)
        self.register_buffer("order", torch.tensor(order))

    def forward(self, images: Images) -> Logits:
        return self.classifier(images)[:, self.order]


class Normalized(nn.Module):
    """Embeddings on the unit sphere."""

    def forward(self, embeddings: Embeddings) -> Embeddings:
        return nn.functional.normalize(embeddings, dim=1)


class UnitLength(nn.Module):
    """The encoder's embeddings on the unit sphere.

    The objectives fix an embedding's direction alone, so a classifier that is carried from one encoder to another
    stands on this.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature_dim = encoder.feature_dim

    def forward(self, images: Images) -> Embeddings:
        return nn.functional.normalize(self.encoder(images), dim=1)
