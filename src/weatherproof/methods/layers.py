"""SimCLR at several layers of the encoder, each loss with its own Tikhonov penalty: what goes wrong is seen where it
begins ("Robustness of Contrastive Learning Models", eq. 4 and 5, which its authors had not tried)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.encoders.taps import EMBEDDING, stages, tapped, widths
from weatherproof.errors import InputError
from weatherproof.methods.build import make_projector
from weatherproof.methods.parts import AUGMENT, check_rows, pixel_precision, trainable
from weatherproof.modes import unchanged_statistics
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Encoder, Gather, Objective, Views
from weatherproof.types import Embeddings, Images, Keys, Labels

NO_PENALTY = InputGradient(0.0, method="finite")


class LayerwiseSimCLR(nn.Module):
    """sum_k alpha_k L_k + sum_k beta_k R_k over the layers k = 1 ... r, the last of which is the embedding.

    L_k is the objective of the two views' projected embeddings at layer k (eq. 4), R_k half the squared length of its
    gradient with respect to all views (eq. 5; `objectives.input_gradient`). A layer with alpha = beta = 0 costs
    nothing; SimCLR with eq. 3 is alphas (0, ..., 0, 1), betas (0, ..., 0, lambda / 2).

    Args:
        encoder: the part that is kept.
        views: makes the two views.
        projectors: one for each of the layers, thrown away after training (`layer_projectors`).
        objective: `NTXent`, as a rule.
        layers: names from the first to the last, which is "embedding". None: the encoder's stages.
        alphas: weights of the L_k. None: 10^-(r - k), so that they rise with depth (alpha_i << alpha_j for i < j).
        betas: weights of the R_k. None: lambda / 2 10^-(r - k), with lambda the penalty's weight.
        penalty: how R_k is computed, and lambda. Finite differences go once more through the encoder, as far as layer
            k, for each layer that has a beta.

    Raises:
        InputError: as many projectors or weights as there are layers are expected, weights of 0 or more, the last alpha
            above 0; layers that the encoder does not have, or without "embedding" at their end; in training, a batch of
            one.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        projectors: Sequence[nn.Module],
        objective: Objective,
        layers: Sequence[str] | None = None,
        alphas: Sequence[float] | None = None,
        betas: Sequence[float] | None = None,
        penalty: InputGradient = NO_PENALTY,
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder, self.views, self.objective, self.penalty = encoder, views, objective, penalty
        names = tuple(stages(encoder) if layers is None else layers)
        weights = rising(len(names)) if alphas is None else tuple(alphas)
        penalties = rising(len(names), penalty.weight / 2) if betas is None else tuple(betas)
        _check(names, projectors, weights, penalties)
        widths(encoder, names)
        used = [k for k in range(len(names)) if weights[k] or penalties[k]]
        self.layers = tuple(names[k] for k in used)
        self.alphas, self.betas = tuple(weights[k] for k in used), tuple(penalties[k] for k in used)
        self.projectors = nn.ModuleList(projectors[k] for k in used)
        trainable(encoder)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        with pixel_precision(images):
            first, second = self.views(images, random.fold(keys, AUGMENT))
        views = torch.cat([first, second]).requires_grad_(any(self.betas))
        replay = random.framework_replay(views.device)
        with self.penalty.differentiable(views) if any(self.betas) else nullcontext():
            rows = tapped(self.encoder, views, self.layers)
            losses = [self._loss(k, row, gather) for k, row in enumerate(rows)]
            penalties = {
                k: self.penalty.of_batch(losses[k], views, partial(self._loss_of, k, gather, replay), gather)
                for k, beta in enumerate(self.betas)
                if beta
            }
        terms = [alpha * loss for alpha, loss in zip(self.alphas, losses, strict=True) if alpha]
        terms += [self.betas[k] * penalty for k, penalty in penalties.items()]
        return {
            "loss": torch.stack(terms).sum(),
            **{f"loss_{name}": loss.detach() for name, loss in zip(self.layers, losses, strict=True)},
            **{f"penalty_{self.layers[k]}": penalty.detach() for k, penalty in penalties.items()},
        }

    def _loss_of(
        self, k: int, gather: Gather, replay: Callable[[], AbstractContextManager[None]], moved: Images
    ) -> Tensor:
        """L_k of other views, with the draws of the first pass and without a trace on the encoder."""
        with replay(), unchanged_statistics(self):
            (rows,) = tapped(self.encoder, moved, self.layers[k : k + 1])
            return self._loss(k, rows, gather)

    def _loss(self, k: int, rows: Embeddings, gather: Gather) -> Tensor:
        ours, theirs = (gather(side) for side in self.projectors[k](rows).chunk(2))
        check_rows(len(ours))
        return self.objective(ours, theirs)


def rising(layers: int, last: float = 1.0, ratio: float = 10.0) -> tuple[float, ...]:
    """Weights that rise by `ratio` from layer to layer up to `last`: ours; the paper asks for alpha_i << alpha_j."""
    return tuple(last * ratio ** (k - layers + 1) for k in range(layers))


def layer_projectors(encoder: Encoder, layers: Sequence[str] | None = None, out: int = 128) -> list[nn.Module]:
    """SimCLR's two-layer projector for each of the layers (None: the encoder's stages), as wide as the layer is."""
    assert isinstance(encoder, nn.Module)
    sizes = widths(encoder, stages(encoder) if layers is None else layers)
    return [make_projector("mlp", size, out) for size in sizes]


def _check(
    names: tuple[str, ...], projectors: Sequence[nn.Module], alphas: tuple[float, ...], betas: tuple[float, ...]
) -> None:
    if len(set(names)) < len(names) or not names or names[-1] != EMBEDDING:
        raise InputError(f"expected each layer once and {EMBEDDING!r} as the last, got {', '.join(names) or 'none'}")
    for what, given in (("projectors", projectors), ("alphas", alphas), ("betas", betas)):
        if len(given) != len(names):
            raise InputError(f"expected {len(names)} {what} for {', '.join(names)}, got {len(given)}")
    if not all(0 <= weight < float("inf") for weight in (*alphas, *betas)):
        raise InputError(f"alphas and betas must be numbers of at least 0, got {alphas} and {betas}")
    if alphas[-1] == 0:
        raise InputError("the last alpha must be above 0: no other loss reaches the end of the encoder")
