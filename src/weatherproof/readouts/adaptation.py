"""Label-free adaptation at test time: the rivals that change a classifier as they meet damaged images.

Each batch is adapted to by itself, from the classifier as it was, and what comes of it answers that batch: answers are
a function of the batch, and the classifier is never changed. The authors of TENT go on from batch to batch instead,
which has more images to adapt to, and needs them to come under one damage after the other. A batch should hold all
classes as the images do, which batches in a folder's order do not (`data.images.mixed`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.stand_ins import passed_with
from weatherproof.errors import InputError
from weatherproof.methods.parts import batch_statistics
from weatherproof.modes import eval_mode
from weatherproof.objectives.similarity import similarity_distance
from weatherproof.spec import component
from weatherproof.spec import parse as _parse
from weatherproof.types import Embeddings, Images, Logits

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@component
class BatchStatistics:
    """Batch normalisation takes the mean and variance of the test batch in place of training's (Nado et al. 2020;
    Schneider et al. 2020, without a prior). A classifier without batch normalisation stays as it is."""

    def __call__(self, classifier: nn.Module, images: Images) -> Logits:
        with torch.no_grad(), batch_statistics(classifier):
            return classifier(images)


@component
class Tent:
    """Entropy minimisation (Wang et al. 2021): the scales and shifts of the normalisation layers take `steps` steps of
    Adam down the mean entropy of the answers to the batch, with the statistics of the batch.

    Args:
        steps: of Adam, on the same batch.
        lr: 0.001 as the authors have it on CIFAR, in batches of 200.
        similarity: w of w |S - S*| / N beside the entropy: S the similarities of the embeddings within the batch, S*
            those of the classifier as it was, in evaluation mode (URRL names its regularizer as possible at test time).

    Raises:
        InputError: a setting out of its range; a classifier without normalisation layers that have weights, or with a
            similarity one that has no `encoder`.
    """

    steps: int = 1
    lr: float = 0.001
    similarity: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.similarity < float("inf"):
            raise InputError(f"similarity is a weight of 0 or more, got {self.similarity}")
        if self.steps < 1 or self.lr <= 0:
            raise InputError(f"expected at least one step and a learning rate above 0, got {self.steps} and {self.lr}")

    def __call__(self, classifier: nn.Module, images: Images) -> Logits:
        moved = {name: own.detach().clone().requires_grad_() for name, own in norm_weights(classifier).items()}
        if not moved:
            raise InputError("TENT moves the weights of normalisation layers, and the classifier has none of these")
        optimizer = torch.optim.Adam(moved.values(), self.lr)
        with _embeddings(classifier, wanted=self.similarity > 0) as seen, batch_statistics(classifier):
            before = self._before(classifier, images, seen)
            with torch.enable_grad():
                for _ in range(self.steps):
                    loss = entropy(passed_with(classifier, moved, (images,)))
                    if before is not None:
                        loss = loss + self.similarity * similarity_distance(seen[-1], before)
                    for weight, slope in zip(moved.values(), torch.autograd.grad(loss, [*moved.values()]), strict=True):
                        weight.grad = slope
                    optimizer.step()
            with torch.no_grad():
                return passed_with(classifier, moved, (images,))

    def _before(self, classifier: nn.Module, images: Images, seen: list[Embeddings]) -> Embeddings | None:
        """The embeddings as they were; None where they are not asked for."""
        if not self.similarity:
            return None
        with eval_mode(classifier), torch.no_grad():
            classifier(images)
        return seen[-1].detach()


@contextmanager
def _embeddings(classifier: nn.Module, *, wanted: bool) -> Iterator[list[Embeddings]]:
    """Inside, the embeddings of each pass through a classifier's encoder, the last one at the end."""
    seen: list[Embeddings] = []
    if not wanted:
        yield seen
        return
    encoder = getattr(classifier, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InputError("similarity compares embeddings: the classifier has no encoder to take them from")
    handle = encoder.register_forward_hook(lambda _module, _images, output: seen.__setitem__(slice(None), [output]))
    try:
        yield seen
    finally:
        handle.remove()


Adaptation = BatchStatistics | Tent
TABLE = {"BatchStatistics": BatchStatistics, "Tent": Tent}


class Adapting(nn.Module):
    """A classifier that adapts to each batch by itself.

    Args:
        adaptation: (classifier, images) -> logits.
        classifier: images -> logits, in evaluation mode.
    """

    def __init__(self, adaptation: Callable[[nn.Module, Images], Logits], classifier: nn.Module) -> None:
        super().__init__()
        self.adaptation, self.classifier = adaptation, classifier

    def forward(self, images: Images) -> Logits:
        with torch.inference_mode(False):
            return self.adaptation(self.classifier, images.clone())  # one that gradients may be taken of


def parse(text: str | Any) -> Any:
    """An adaptation from its text; an adaptation is returned as it is. Raises `InputError`."""
    return _parse(text, TABLE, "adaptation") if isinstance(text, str) else text


def entropy(logits: Logits) -> Tensor:
    """The mean over the batch of -sum_c p_c log p_c."""
    logs = logits.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1).mean()


def norm_weights(model: nn.Module) -> dict[str, Tensor]:
    """The scales and shifts of all normalisation layers, by their names in the model."""
    return {
        f"{place}.{name}" if place else name: weight
        for place, module in model.named_modules()
        if isinstance(module, _NORMS)
        for name, weight in module.named_parameters(recurse=False)
    }
