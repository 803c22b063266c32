"""Contrast with a queue of keys that a momentum encoder made."""

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.methods.momentum import MomentumCopy
from weatherproof.methods.parts import AUGMENT, SHUFFLE, check_rows, check_share, pixel_precision, trainable
from weatherproof.methods.shuffle import Shuffle
from weatherproof.methods.split_norm import split_batch_norm
from weatherproof.methods.vectors import gradient_now, output_width, random_units, unit
from weatherproof.objectives import info_nce
from weatherproof.objectives.embeddings import check_temperature
from weatherproof.protocols import Encoder, Gather, Views
from weatherproof.types import Embeddings, Images, Keys, Labels


class MoCo(nn.Module):
    """Cross-entropy of [q.k+, q.queue] / temperature with the first as target (He et al. 2020; Chen et al. 2020b).

    q = g(f(v1)) and k+ = g'(f'(v2)) are of unit length; f', g' are moving averages of f, g, moved before their pass.
    The keys join the queue after the loss, over the oldest. What a key's batch normalisation could tell of its query
    is hidden by normalising `groups` parts of the batch apart, the keys in another order, over several processes too:
    the paper's "shuffling BN", and one device does what `groups` would.

    Args:
        encoder: f, the part that is kept.
        views: makes the two views.
        projector: g, thrown away after training.
        temperature: 0.2 in version 2, 0.07 in version 1.
        queue: how many keys are kept, at the start random unit vectors; a multiple of the whole batch.
        momentum: of f' and g', per batch.
        groups: parts of the whole batch that are normalised apart; a multiple of the number of processes.
        seed: of the queue.

    Raises:
        InputError: settings out of range; in training, a batch of one or that does not fit queue or groups.
    """

    queue: Tensor
    cursor: Tensor

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        projector: nn.Module,
        *,
        temperature: float = 0.2,
        queue: int = 65_536,
        momentum: float = 0.999,
        groups: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        check_share("momentum", momentum)
        if queue < 1 or groups < 1:
            raise InputError(f"queue and groups must be at least 1, got {queue} and {groups}")
        self.encoder, self.projector, self.views = encoder, projector, views
        self.temperature, self.groups = temperature, groups
        assert isinstance(encoder, nn.Module)
        trainable(encoder)
        self.momentum_encoder = MomentumCopy(encoder, projector, momentum=momentum)
        self.register_buffer("queue", random_units(queue, output_width(encoder, projector), seed))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        assert isinstance(self.encoder, nn.Module)
        with pixel_precision(images):
            first, second = self.views(images, random.fold(keys, AUGMENT))
        shuffle = Shuffle.of(random.fold(keys, SHUFFLE), gather, images.device)
        groups = self._groups_here(len(shuffle.order), shuffle.world)
        if self.training:
            self.momentum_encoder.follow(self.encoder, self.projector)
        with split_batch_norm(self.encoder, groups), split_batch_norm(self.projector, groups):
            queries = unit(self.projector(self.encoder(first)))
        with split_batch_norm(self.momentum_encoder, groups):
            everyone = unit(shuffle.restore(self.momentum_encoder(shuffle.mix(second))))
        own = shuffle.share(everyone)
        loss = gradient_now(lambda q: self._loss(q, own), queries)
        if self.training:
            self._enqueue(everyone)
        return {"loss": loss}

    def _loss(self, queries: Embeddings, own: Embeddings) -> Tensor:
        scaled = queries / self.temperature
        return info_nce((scaled * own).sum(dim=1), scaled @ self.queue.T)

    @torch.no_grad()
    def _enqueue(self, keys: Embeddings) -> None:
        places = self.cursor + torch.arange(len(keys), device=keys.device)
        self.queue.index_copy_(0, places, keys)
        self.cursor.add_(len(keys)).remainder_(len(self.queue))

    def _groups_here(self, rows: int, world: int) -> int:
        """Groups of this process. Raises `InputError` where whole batch, queue, groups and processes do not fit."""
        check_rows(rows)
        if not self.training:
            return 1
        if len(self.queue) % rows:
            raise InputError(
                f"the queue must be a multiple of the batch, got {len(self.queue):,} keys and {rows} images: "
                f"try queue={max(1, len(self.queue) // rows) * rows} (and leave drop_last on)"
            )
        if self.groups % world or rows % self.groups or (self.groups > 1 and rows == self.groups):
            raise InputError(
                f"groups of equal size, two images or more each, are normalised apart: {self.groups} groups do not fit "
                f"a batch of {rows} on {world} process(es), choose another batch_size or groups"
            )
        return self.groups // world
