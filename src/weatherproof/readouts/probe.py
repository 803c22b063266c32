"""The linear probe: how much a frozen encoder's embeddings say about the labels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.protocols import Operator
from weatherproof.readouts.embedding import embed, require_embeddings
from weatherproof.readouts.fits import LOGISTIC, Fit
from weatherproof.types import Embeddings, Labels


def fit_probe(
    encoder: nn.Module,
    images: ImageSet,
    *,
    num_classes: int,
    fit: Fit = LOGISTIC,
    operator: Operator | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    seen: Callable[[Embeddings, Labels], None] | None = None,
) -> nn.Linear:
    """A linear layer on the raw embeddings of `images`, each damaged by `operator` (Chain an augmentation before it).

    Args:
        fit: how: `Logistic`, `Adam` or `LinearEvaluation`.
        operator: what draws nothing is embedded once.
        labels: positions of the images whose labels may be used (see `data.label_fraction`); None: all of them.
            Images without a label are left out in any case.
        batch_size: of the frozen encoder, which changes no number.
        seen: is told of each batch of the first draw: its embeddings, and the positions of its images.

    Raises:
        InputError: no labelled image, a label beyond `num_classes`, or embeddings that are not finite.
    """
    positions = torch.arange(len(images)) if labels is None else labels.to("cpu", torch.int64)
    positions = positions[images.labels[positions] >= 0]
    if len(positions) == 0:
        raise InputError(f"a probe needs labelled images, {images.name!r} gives none")
    if int(images.labels[positions].max()) >= num_classes:
        top = int(images.labels[positions].max())
        raise InputError(f"{images.name!r} has labels up to {top}, but the probe was given num_classes={num_classes}")
    subset = images if len(positions) == len(images) and labels is None else images.subset(positions)
    fixed = operator is None or bool(getattr(operator, "deterministic", False))

    def first_draw(features: Embeddings, places: Labels) -> None:
        if seen is not None:
            seen(features, positions[places])

    def look(realization: int) -> tuple[Tensor, Tensor]:
        features, targets = embed(
            encoder, subset, operator=operator, seed=seed, realization=realization,
            device=device, batch_size=batch_size, workers=workers, seen=first_draw if realization == 0 else None,
        )  # fmt: skip
        require_embeddings(getattr(encoder, "name", type(encoder).__name__), features)
        return features, targets

    return fit(look, num_classes, fixed=fixed, seed=seed, device=device)
