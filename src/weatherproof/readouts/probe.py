"""The linear probe: how much a frozen encoder's embeddings say about the labels."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.errors import InputError, unknown
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts.embedding import embed, require_embeddings
from weatherproof.readouts.linear_evaluation import SCHEDULES, Embed, linear_evaluation
from weatherproof.readouts.logistic import fit_linear

Mode = Literal["cached", "paper", "moco", "pycontrast", "simclr"]


def fit_probe(
    encoder: nn.Module,
    images: ImageSet,
    *,
    num_classes: int,
    operator: Operator | None = None,
    labels: Tensor | None = None,
    mode: Mode = "cached",
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    realizations: int = 4,
    l2: float | str = 1e-2,
    epochs: int = 10,
    lr: float = 1e-3,
    probe_batch_size: int = 128,
    schedule: Literal["constant", "cosine"] = "constant",
) -> nn.Linear:
    """A linear layer on the raw embeddings of `images`, each damaged by `operator` (Chain an augmentation before it).

    ``mode="cached"`` (ours): embeds `realizations` draws once, then logistic regression with weight penalty `l2`.
    ``mode="paper"`` (Contrastive Inversion, sections 3 and 4 with the code's choices): Adam, `epochs` epochs with a
    fresh draw each, batch `probe_batch_size` (128; 8 with few labels), mean cross-entropy, default initialisation,
    constant learning rate; ``schedule="cosine"`` anneals it to 0 once an epoch, as the paper's transfer probes do.
    The frozen encoder embeds each epoch's draw in batches of `batch_size`, which changes no number.
    ``mode="moco"``, ``"pycontrast"`` or ``"simclr"``: SGD as those papers evaluate (`linear_evaluation.SCHEDULES`),
    with a fresh draw each epoch, or on cached features where there is nothing to draw.

    Args:
        labels: positions of the images whose labels may be used (see `data.label_fraction`); None: all of them.
            Images without a label are left out in any case.
        realizations, l2: cached mode only; `l2` as in `fit_linear`. An operator that draws nothing is embedded once.
        epochs, lr, probe_batch_size, schedule: paper mode only.

    Raises:
        InputError: no labelled image, a label beyond `num_classes`, a setting out of range, or embeddings that are not
            finite.
    """
    positions = torch.arange(len(images)) if labels is None else labels.to("cpu", torch.int64)
    positions = positions[images.labels[positions] >= 0]
    if realizations < 1 or epochs < 1:
        raise InputError(f"realizations and epochs must be at least 1, got {realizations} and {epochs}")
    if len(positions) == 0:
        raise InputError(f"a probe needs labelled images, {images.name!r} gives none")
    if int(images.labels[positions].max()) >= num_classes:
        top = int(images.labels[positions].max())
        raise InputError(f"{images.name!r} has labels up to {top}, but the probe was given num_classes={num_classes}")
    subset = images if len(positions) == len(images) and labels is None else images.subset(positions)
    fixed = operator is None or bool(getattr(operator, "deterministic", False))

    def look(realization: int) -> tuple[Tensor, Tensor]:
        features, targets = embed(
            encoder, subset, operator=operator, seed=seed, realization=realization,
            device=device, batch_size=batch_size, workers=workers,
        )  # fmt: skip
        require_embeddings(getattr(encoder, "name", type(encoder).__name__), features)
        return features, targets

    if mode == "cached":
        return _cached(look, num_classes, 1 if fixed else realizations, l2, seed, device)
    if mode == "paper":
        return _paper(look, num_classes, fixed, epochs, lr, probe_batch_size, schedule, seed, device)
    if mode in SCHEDULES:
        return linear_evaluation(look, num_classes, SCHEDULES[mode], fixed=fixed, seed=seed, device=device)
    raise unknown("mode", mode, get_args(Mode))


def _cached(
    look: Embed, num_classes: int, realizations: int, l2: float | str, seed: int, device: str | torch.device
) -> nn.Linear:
    with phase("features for a probe", realizations, "draws") as meter:
        first, targets = look(0)
        features = first.new_empty(realizations, *first.shape)  # filled in place: never two copies of the cache
        features[0] = first
        for realization in range(1, realizations):
            meter.advance()
            features[realization] = look(realization)[0]
    return fit_linear(features.to(device), targets.to(device), num_classes, l2=l2, seed=seed)


def _paper(
    look: Embed, num_classes: int, fixed: bool, epochs: int, lr: float, batch: int, schedule: str, seed: int,
    device: str | torch.device,
) -> nn.Linear:  # fmt: skip
    if schedule not in ("constant", "cosine"):
        raise InputError(f"schedule must be 'constant' or 'cosine', got {schedule!r}")
    features, targets = (part.to(device) for part in look(0))
    with random.framework_seed(seed):
        head = nn.Linear(features.shape[1], num_classes).to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    with phase("fitting a probe", epochs, "epochs") as meter:
        for epoch in range(epochs):
            if epoch > 0 and not fixed:
                features = look(epoch)[0].to(device)
            if schedule == "cosine":
                optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
            for rows in random.order(seed, epoch, len(targets)).to(device).split(batch):
                optimizer.zero_grad()
                cross_entropy(head(features[rows]), targets[rows]).backward()
                optimizer.step()
            meter.advance()
    return head
