"""A classifier with one hidden layer."""

from jaxtyping import Float
from torch import Tensor, nn


class MLPHead(nn.Module):
    """logits = W2 relu(W1 z + b1) + b2: the two-layer head that contrastive models are fine-tuned with ("Robustness of
    Contrastive Learning Models", section 2).

    Args:
        features: numbers in an embedding z.
        classes: numbers in the logits.
        hidden: width between the layers; None: as many as features (the paper states none).
    """

    def __init__(self, features: int, classes: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = features if hidden is None else hidden
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def forward(self, embeddings: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        return self.second(self.first(embeddings).relu())
