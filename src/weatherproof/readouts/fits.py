"""How a linear layer is fitted to a frozen encoder's embeddings."""

import math
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.progress import phase
from weatherproof.readouts.linear_evaluation import Embed, linear_evaluation, schedule_of
from weatherproof.readouts.logistic import fit_linear
from weatherproof.spec import component


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")


@component
class Logistic:
    """Logistic regression (ours): a few draws of the damage are embedded once, then the minimum is found.

    Args:
        realizations: draws; where there is nothing to draw, one.
        l2: weight of the penalty, or "auto", as in `fit_linear`.
    """

    realizations: int = 4
    l2: float | str = 1e-2

    def __post_init__(self) -> None:
        _check_count("realizations", self.realizations)

    @property
    def draws(self) -> int:
        """Draws of the images that the layer sees at most."""
        return self.realizations

    def __call__(
        self, look: Embed, num_classes: int, *, fixed: bool, seed: int, device: str | torch.device
    ) -> nn.Linear:
        count = 1 if fixed else self.realizations
        with phase("features for a probe", count, "draws") as meter:
            first, targets = look(0)
            features = first.new_empty(count, *first.shape)  # filled in place: never two copies of the cache
            features[0] = first
            for realization in range(1, count):
                meter.advance()
                features[realization] = look(realization)[0]
        return fit_linear(features.to(device), targets.to(device), num_classes, l2=self.l2, seed=seed)


@component
class Adam:
    """Contrastive Inversion, sections 3 and 4 with the code's choices: a fresh draw each epoch, mean cross-entropy,
    default initialisation.

    Args:
        batch_size: 128 in the paper, 8 with few labels.
        schedule: "cosine" anneals the rate to 0 once an epoch, as the paper's transfer probes do.
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        _check_count("epochs", self.epochs)
        _check_count("batch_size", self.batch_size)

    @property
    def draws(self) -> int:
        """Draws of the images that the layer sees at most."""
        return self.epochs

    def __call__(
        self, look: Embed, num_classes: int, *, fixed: bool, seed: int, device: str | torch.device
    ) -> nn.Linear:
        features, targets = (part.to(device) for part in look(0))
        with random.framework_seed(seed):
            head = nn.Linear(features.shape[1], num_classes).to(device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        with phase("fitting a probe", self.epochs, "epochs") as meter:
            for epoch in range(self.epochs):
                if epoch > 0 and not fixed:
                    features = look(epoch)[0].to(device)
                if self.schedule == "cosine":
                    optimizer.param_groups[0]["lr"] = self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
                for rows in random.order(seed, epoch, len(targets)).to(device).split(self.batch_size):
                    optimizer.zero_grad()
                    cross_entropy(head(features[rows]), targets[rows]).backward()
                    optimizer.step()
                meter.advance()
        return head


@component
class LinearEvaluation:
    """SGD as papers of contrastive learning evaluate (`linear_evaluation`): a fresh draw each epoch, or cached features
    where there is nothing to draw.

    Args:
        name: "moco", "pycontrast" or "simclr".
    """

    name: str

    def __post_init__(self) -> None:
        schedule_of(self.name)

    @property
    def draws(self) -> int:
        """Draws of the images that the layer sees at most."""
        return int(schedule_of(self.name).epochs)

    def __call__(
        self, look: Embed, num_classes: int, *, fixed: bool, seed: int, device: str | torch.device
    ) -> nn.Linear:
        return linear_evaluation(look, num_classes, schedule_of(self.name), fixed=fixed, seed=seed, device=device)


Fit = Logistic | Adam | LinearEvaluation
LOGISTIC = Logistic()  # where nothing else is said
