"""Pretext-invariant representations: an image and its jigsaw puzzle share one remembered embedding."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.methods.memory_bank import MemoryBank
from weatherproof.methods.parts import (
    AUGMENT,
    JIGSAW,
    NEGATIVES,
    ORDER,
    check_rows,
    check_share,
    one_look,
    pixel_precision,
    trainable,
)
from weatherproof.methods.vectors import gradient_now, output_width, unit
from weatherproof.protocols import Encoder, Gather, Operator, Views
from weatherproof.types import Embeddings, Images, Keys, Labels

PATCHES = 9  # of a puzzle


class JigsawHead(nn.Module):
    """Linear on each patch, the nine in the order given, linear on all of them (Misra & van der Maaten 2020)."""

    def __init__(self, inputs: int, features: int = 128) -> None:
        super().__init__()
        self.patch = nn.Linear(inputs, features)
        self.puzzle = nn.Linear(PATCHES * features, features)

    def forward(self, patches: Float[Tensor, "batch patches inputs"], order: Int64[Tensor, "batch patches"]) -> Tensor:
        each = self.patch(patches)
        return self.puzzle(each.gather(1, order[:, :, None].expand_as(each)).flatten(1))


class PIRL(nn.Module):
    """(1 - beta) L(image) + beta L(puzzle), each the `InstDis` loss against the same vectors and the same negatives.

    The bank remembers the images' embeddings only (Misra & van der Maaten 2020, with the softmax of `InstDis`).

    Args:
        encoder: the part that is kept.
        views: of the image branch: a family of views (its `one` is taken), or any augmentation.
        jigsaw: (images, keys) -> the nine patches, each [batch, channels, side, side], in place; their order is drawn
            here, image by image.
        projector: of the image branch, thrown away after training.
        jigsaw_head: of the puzzle branch (default: a new one, of the projector's width, seeded).
        images: how many images, or the index of each (see `MemoryBank`).
        temperature, negatives, momentum, seed: of the bank.
        beta: weight of the puzzle.

    Raises:
        InputError: as `InstDis`.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views | Operator,
        jigsaw: Views,
        projector: nn.Module,
        jigsaw_head: nn.Module | None = None,
        *,
        images: int | Int64[Tensor, "n"],
        temperature: float = 0.07,
        negatives: int = 65_536,
        momentum: float = 0.5,
        beta: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_share("beta", beta)
        assert isinstance(encoder, nn.Module)
        trainable(encoder)
        width = output_width(encoder, projector)
        if jigsaw_head is None:
            with random.framework_seed(seed, JIGSAW):
                jigsaw_head = JigsawHead(encoder.feature_dim, width)
        self.encoder, self.projector, self.jigsaw_head = encoder, projector, jigsaw_head
        self.views, self.jigsaw, self.beta = views, jigsaw, beta
        self.bank = MemoryBank(
            images, width, negatives=negatives, temperature=temperature, momentum=momentum, seed=seed
        )

    def prepare(self, images: ImageSet) -> None:
        """The training loop says which images come (`MemoryBank.prepare`)."""
        self.bank.prepare(images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        rows = self.bank.rows(index)
        everyones_rows = gather(rows)
        check_rows(len(everyones_rows))
        seen = one_look(self.views, images, random.fold(keys, AUGMENT))
        features = unit(self.projector(self.encoder(seen)))
        puzzle = unit(self._puzzle(images, keys))
        drawn = self.bank.draw(random.fold(keys, NEGATIVES))
        of_image, of_puzzle = (
            gradient_now(lambda f: self.bank.loss(f, rows, drawn), each) for each in (features, puzzle)
        )
        if self.training:
            self.bank.update(gather(features.detach()), everyones_rows)
        return {
            "loss": (1 - self.beta) * of_image + self.beta * of_puzzle,
            "image_loss": of_image.detach(),
            "jigsaw_loss": of_puzzle.detach(),
        }

    def _puzzle(self, images: Images, keys: Keys) -> Embeddings:
        with pixel_precision(images):
            patches = self.jigsaw(images, random.fold(keys, JIGSAW))
        if len(patches) != PATCHES:
            raise InputError(
                f"a jigsaw puzzle has {PATCHES} patches, got {len(patches)}: expected views such as Jigsaw"
            )
        embedded = self.encoder(torch.cat(patches)).unflatten(0, (PATCHES, -1)).transpose(0, 1)
        order = random.words(random.fold(keys, ORDER), (PATCHES,)).argsort(dim=1, stable=True)
        return self.jigsaw_head(embedded, order.to(embedded.device))
