"""One remembered embedding for every training image (Wu et al. 2018)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.methods.parts import check_share
from weatherproof.methods.vectors import random_units, unit
from weatherproof.objectives import info_nce
from weatherproof.objectives.embeddings import check_temperature
from weatherproof.types import Embeddings, Keys, Labels


class MemoryBank(nn.Module):
    """Unit vectors v_i, one per image, random at the start; v_i <- unit(momentum v_i + (1 - momentum) f_i) where seen.

    Args:
        images: the index of each (`ImageSet.index`); or how many, indexed 0 .. n - 1 unless `prepare` says otherwise.
        features: length of a vector.
        negatives: how many are drawn for an image, uniformly with replacement from all images, itself included.
        temperature: of the similarities.
        momentum: share of the old vector.
        seed: of the vectors at the start.

    Raises:
        InputError: settings out of range, or more negatives than images.
    """

    vectors: Tensor

    def __init__(
        self,
        images: int | Int64[Tensor, "n"],
        features: int,
        *,
        negatives: int,
        temperature: float,
        momentum: float,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        check_share("momentum", momentum)
        self.counted = isinstance(images, int)
        index = torch.arange(images) if isinstance(images, int) else images.cpu().sort().values
        if not 1 <= negatives <= len(index):
            raise InputError(
                f"{negatives:,} negatives cannot be drawn from a bank of {len(index):,} images, one vector each: "
                f"expected negatives from 1 to {len(index)}"
            )
        self.index = index  # no buffer: it stays on the CPU, where the images' indices are
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.register_buffer("vectors", random_units(len(index), features, seed))

    def prepare(self, images: ImageSet) -> None:
        """Take the images' indices, where only their number was known. Raises `InputError` for other images."""
        index = images.index.sort().values
        if self.counted and len(index) == len(self.index):
            self.index, self.counted = index, False
        if not torch.equal(index, self.index):
            raise InputError(
                f"the memory bank was made for {len(self.index):,} images, and {images.name} has {len(index):,} or "
                "others: make the method anew for this data set"
            )

    def rows(self, index: Labels) -> Int64[Tensor, "batch"]:
        """Where the images' vectors are. Raises `InputError` for an image that the bank does not know."""
        index = index.cpu()
        rows = torch.searchsorted(self.index, index).clamp_(max=len(self.index) - 1)
        strange = index[self.index[rows] != index]
        if len(strange):
            raise InputError(
                f"the memory bank has no vector for image {int(strange[0])}, it was made for {len(self.index):,} "
                "others: make the method anew for this data set (for a subset, with images=images.index)"
            )
        return rows.to(self.vectors.device)

    def draw(self, keys: Keys) -> Int64[Tensor, "batch negatives"]:
        """Each image's negatives, as rows of the bank: a function of its key alone."""
        high, low = random.words(keys, (self.negatives, 2), self.vectors.device).long().unbind(dim=2)
        return ((high << 16) + low) * len(self.index) >> 32

    def loss(
        self, features: Embeddings, rows: Int64[Tensor, "batch"], drawn: Int64[Tensor, "batch negatives"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of an image's own vector against those drawn.

        One product with the whole bank, 4 bytes x batch x images, takes less memory than copies of all vectors that
        were drawn, unless the bank is 128 times (their length) as large as the draw.
        """
        similarity = (features / self.temperature) @ self.vectors.T
        return info_nce(similarity.gather(1, rows[:, None])[:, 0], similarity.gather(1, drawn))

    @torch.no_grad()
    def update(self, features: Embeddings, rows: Int64[Tensor, "batch"]) -> None:
        """Move the vectors of the whole batch. After the loss: the bank is read before it is updated."""
        moved = torch.lerp(features, self.vectors[rows], self.momentum)
        self.vectors.index_copy_(0, rows, unit(moved))
