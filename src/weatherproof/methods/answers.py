"""What the trainings with labels share: one pass that answers, with or without a Tikhonov penalty."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.methods.vectors import output_width
from weatherproof.modes import unchanged_statistics
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Encoder, Gather
from weatherproof.types import Embeddings, Images, Labels, Logits


@dataclass(frozen=True)
class Answer:
    """Embeddings and logits of a batch, the mean cross-entropy, and where asked for R (`objectives.input_gradient`)."""

    embeddings: Embeddings
    logits: Logits
    cross_entropy: Float[Tensor, ""]
    penalty: Float[Tensor, ""] | None = None

    def accuracy(self, labels: Labels) -> Float[Tensor, ""]:
        with torch.no_grad():
            return (self.logits.argmax(dim=1) == labels).float().mean()


def answer(
    encoder: Encoder,
    head: nn.Module,
    images: Images,
    labels: Labels,
    gather: Gather,
    tikhonov: InputGradient | None = None,
    alone: bool = True,
) -> Answer:
    """The pass; with Tikhonov regularization a second one on images a small step away, unless it is exact.

    Args:
        alone: nothing but cross-entropy and penalty is to be differentiated, which can save a pass.
    """
    if tikhonov is None or tikhonov.weight == 0:
        z = encoder(images)
        logits = head(z).float()
        return Answer(z, logits, F.cross_entropy(logits, labels))
    seen: list[tuple[Embeddings, Logits]] = []

    def losses(pixels: Images) -> Float[Tensor, "batch"]:
        z = encoder(pixels)
        logits = head(z).float()
        seen.append((z, logits))
        return F.cross_entropy(logits, labels, reduction="none")

    assert isinstance(encoder, nn.Module)
    weights = trained_weights(encoder, head) if alone else None
    still = partial(unchanged_statistics, encoder, head)
    values, penalty = tikhonov.supervised(losses, images, gather, weights, still)
    return Answer(*seen[0], values.mean(), penalty)


def trained_weights(*modules: nn.Module) -> list[Tensor]:
    """Each weight that training moves, once."""
    return list({id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values())


def check_outputs(encoder: Encoder, head: nn.Module, images: ImageSet) -> None:
    """Raise `InputError` for labels that the head has no output for."""
    outputs, top = output_width(encoder, head), int(images.labels.max())
    if top >= outputs:
        raise InputError(f"label {top} of {images.name} is out of range: the head has {outputs} outputs")
