"""Instance discrimination: every image is a class of its own."""

from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.methods.memory_bank import MemoryBank
from weatherproof.methods.parts import AUGMENT, NEGATIVES, check_rows, one_look, trainable
from weatherproof.methods.vectors import gradient_now, output_width, unit
from weatherproof.protocols import Encoder, Gather, Operator, Views
from weatherproof.types import Images, Keys, Labels


class InstDis(nn.Module):
    """Cross-entropy of an image's vector in a memory bank against vectors of images drawn at random (Wu et al. 2018).

    One look at an image a step, f = g(encoder(view)) of unit length; softmax over 1 + negatives in place of the paper's
    noise-contrastive estimate, as in the code behind the published tables.

    Args:
        encoder: the part that is kept.
        views: a family of views (its `one` is taken), or any augmentation.
        projector: g, thrown away after training.
        images: how many images, or the index of each (see `MemoryBank`).
        temperature, negatives, momentum, seed: of the bank.

    Raises:
        InputError: more negatives than images, settings out of range; in training, a batch of one, or an image that the
            bank does not know.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views | Operator,
        projector: nn.Module,
        *,
        images: int | Int64[Tensor, "n"],
        temperature: float = 0.07,
        negatives: int = 65_536,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.views = encoder, projector, views
        assert isinstance(encoder, nn.Module)
        trainable(encoder)
        self.bank = MemoryBank(
            images, output_width(encoder, projector),
            negatives=negatives, temperature=temperature, momentum=momentum, seed=seed,
        )  # fmt: skip

    def prepare(self, images: ImageSet) -> None:
        """The training loop says which images come (`MemoryBank.prepare`)."""
        self.bank.prepare(images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        rows = self.bank.rows(index)
        everyones_rows = gather(rows)
        check_rows(len(everyones_rows))
        seen = one_look(self.views, images, random.fold(keys, AUGMENT))
        features = unit(self.projector(self.encoder(seen)))
        drawn = self.bank.draw(random.fold(keys, NEGATIVES))
        loss = gradient_now(lambda f: self.bank.loss(f, rows, drawn), features)
        if self.training:
            self.bank.update(gather(features.detach()), everyones_rows)
        return {"loss": loss}
