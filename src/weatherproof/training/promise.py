"""Whether a training keeps what was promised of clean images, looked at while it still goes on."""

import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.methods import teacher_cache
from weatherproof.training.run import RunFolder

LOGGED = "clean_validation"  # the log's name of the mean cosine on clean validation images


@dataclass(frozen=True)
class Kept:
    """What came of a promise.

    Attributes:
        asked: the promised mean cosine between the encoder and what it was, on clean images.
        reached: what it is at the end, on `images` clean validation images, which are not trained on.
        best: the best at the end of any epoch, and `epoch`, which one that was.
    """

    asked: float
    reached: float
    images: int
    best: float
    epoch: float

    @property
    def kept(self) -> bool:
        return self.reached >= self.asked


class CleanCosine:
    """The mean cosine between student and teacher on clean validation images, for the log, after every epoch.

    From the middle of the training on it says once, as a warning, that the promise is not kept so far.

    Args:
        promised: the mean cosine.
        epochs: of the whole training.
        device: where the teacher embeds the images, once.
    """

    every = 1.0

    def __init__(
        self, teacher: Encoder, images: ImageSet, promised: float, epochs: float, *, device: torch.device,
        batch_size: int = 256, workers: int = 0,
    ) -> None:  # fmt: skip
        self.images, self.promised, self.epochs = images, promised, epochs
        self.batch_size, self.workers = batch_size, workers
        self.target = self._embedded(teacher, device)
        self.best, self.warned = (0.0, 0.0), False

    def __call__(self, method: nn.Module, epoch: float) -> dict[str, float]:
        student = method.student
        assert isinstance(student, Encoder)
        value = self.of(student)
        self.best = max(self.best, (value, epoch))
        if value < self.promised and self.epochs / 2 <= epoch < self.epochs and not self.warned:
            self.warned = True
            best, at = self.best
            warnings.warn(
                f"the promise is not kept so far: after epoch {epoch:g} of {self.epochs:g} the mean cosine to what the "
                f"encoder was is {value:.3f} on clean images (best {best:.3f}, after epoch {at:g}), and "
                f"{self.promised:g} was promised; more epochs, a greater clean share or a smaller learning rate help",
                UserWarning,
                stacklevel=2,
            )
        return {LOGGED: value}

    def of(self, encoder: Encoder) -> float:
        """That of an encoder now."""
        rows = self._embedded(encoder, next(encoder.parameters()).device)
        return F.cosine_similarity(rows, self.target).mean().item()

    def kept(self, encoder: Encoder, run: RunFolder) -> Kept:
        """What came of the promise, for a finished encoder and the log of its training."""
        looks = [(row[LOGGED], row["epoch"]) for row in run.rows() if row.get(LOGGED) is not None]
        reached = self.of(encoder)
        best, epoch = max([*looks, (reached, self.epochs)])
        return Kept(self.promised, reached, len(self.images), best, epoch)

    def _embedded(self, encoder: Encoder, device: torch.device) -> torch.Tensor:
        rows = teacher_cache(
            encoder, self.images, device=device, batch_size=self.batch_size, workers=self.workers,
            label="clean validation images",
        )  # fmt: skip
        return rows[self.images.index]
