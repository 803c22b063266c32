"""Whether a training keeps what was promised of clean images, looked at while it still goes on."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.methods import teacher_cache
from weatherproof.training.run import RunFolder

LOGGED = "clean_validation"  # the log's name of the mean cosine on clean validation images


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

    def logged(self, run: RunFolder) -> list[float]:
        """What it was after the epochs of a training in this folder."""
        return [row[LOGGED] for row in run.rows() if row.get(LOGGED) is not None]

    def _embedded(self, encoder: Encoder, device: torch.device) -> torch.Tensor:
        rows = teacher_cache(
            encoder, self.images, device=device, batch_size=self.batch_size, workers=self.workers,
            label="clean validation images",
        )  # fmt: skip
        return rows[self.images.index]
