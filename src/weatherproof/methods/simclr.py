"""Learning from two looks at every image, without labels."""

from functools import partial

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.methods.answers import trained_weights
from weatherproof.methods.parts import AUGMENT, check_rows, pixel_precision, trainable
from weatherproof.modes import unchanged_statistics
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Encoder, Gather, Objective, Views
from weatherproof.types import Images, Keys, Labels


class SimCLR(nn.Module):
    """objective(g(f(v1)), g(f(v2))) of two views v1, v2 (Chen et al. 2020); both sides carry gradients. With Tikhonov
    regularization + lambda / 2 R of eq. 3 of "Robustness of Contrastive Learning Models".

    Args:
        encoder: f, the part that is kept.
        views: makes the two views.
        projector: g, thrown away after training.
        objective: `NTXent`, as a rule.
        tikhonov: the penalty on the gradients by the pixels of the views.

    Raises:
        InputError: in training, a batch of one.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        projector: nn.Module,
        objective: Objective,
        tikhonov: InputGradient | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.views, self.objective, self.tikhonov = views, objective, tikhonov
        assert isinstance(encoder, nn.Module)
        trainable(encoder)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        with pixel_precision(images):
            first, second = self.views(images, random.fold(keys, AUGMENT))
        views = torch.cat([first, second])

        def loss(pixels: Images) -> Tensor:
            # one pass, so that batch normalisation sees both views together, as in the authors' code
            ours, theirs = self.projector(self.encoder(pixels)).chunk(2)
            ours, theirs = gather(ours), gather(theirs)
            check_rows(len(ours))
            return self.objective(ours, theirs)

        if self.tikhonov is None or self.tikhonov.weight == 0:
            return {"loss": loss(views)}
        still = partial(unchanged_statistics, self)
        value, penalty = self.tikhonov.contrastive(loss, views, gather, trained_weights(self), still)
        return {
            "loss": value + self.tikhonov.weight / 2 * penalty,
            "contrast": value.detach(),
            "penalty": penalty.detach(),
        }
