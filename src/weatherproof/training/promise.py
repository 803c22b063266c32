"""Whether a training keeps what was promised of clean images, looked at while it still goes on."""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.methods import teacher_cache
from weatherproof.methods.clean import MOST, Multiplier
from weatherproof.training.run import RunFolder

LOGGED = "clean_validation"  # the log's name of the mean cosine on clean validation images
_LOOKS = 12  # in the course of a training, at least
_CAPPED, _FROM = 1 / 6, 1 / 2  # shares of the training


class CleanCosine:
    """The mean cosine between student and teacher on clean validation images, for the log: after every epoch, and at
    least twelve times. Images whose files turn out to be broken are left out.

    A warning says once that by the trend the promise will not be kept: from a sixth of the training on where the
    multiplier is at its cap, so that nothing more can be done for it, else from the middle on. Another says at the end
    that it is not kept.

    Args:
        promised: the mean cosine.
        epochs: of the whole training, as many as its steps make.
        device: where the teacher embeds the images, once.
        run: of a training that goes on: its log knows what was seen before.

    Attributes:
        readable: which of the images the teacher could embed.
    """

    def __init__(
        self, teacher: Encoder, images: ImageSet, promised: float, epochs: float, *, device: torch.device,
        batch_size: int = 256, workers: int = 0, run: RunFolder | None = None,
    ) -> None:  # fmt: skip
        self.images, self.promised, self.epochs = images, promised, round(epochs, 4)  # as a log says it
        self.every = min(1.0, epochs / _LOOKS)
        self.batch_size, self.workers = batch_size, workers
        self.target = self._embedded(teacher, device)
        self.readable = self.target.isfinite().all(dim=1)  # the files of others are broken
        self.seen = [] if run is None else [(row["epoch"], row[LOGGED]) for row in _looks(run)]
        self.warned = False

    def __call__(self, method: nn.Module, epoch: float) -> dict[str, float]:
        student = method.student
        assert isinstance(student, Encoder)
        value = self.of(student)
        self.seen = [*(look for look in self.seen if look[0] < epoch), (epoch, value)]
        if value < self.promised and epoch >= self.epochs:
            self._warn(f"the promise is not kept: after {epoch:g} epochs")
        elif not self.warned and epoch / self.epochs >= self._first(method) and self._falls_short():
            self.warned = True
            self._warn(f"the promise is not kept so far, nor by the trend: after epoch {epoch:g} of {self.epochs:g}")
        return {LOGGED: value}

    def _first(self, method: nn.Module) -> float:
        """The share of the training from which on its trend is believed."""
        multiplier = method.multiplier
        return _CAPPED if isinstance(multiplier, Multiplier) and multiplier.value >= MOST else _FROM

    def _falls_short(self) -> bool:
        """Whether 1 - cosine, if it goes on shrinking as since half the time, ends above what is allowed. The earlier
        it is, the further above, up to twice as much: a learning rate that falls makes up for some."""
        epoch, value = self.seen[-1]
        before = [look for look in self.seen if look[0] <= epoch / 2]
        if not before:
            return False
        then, earlier = before[-1]
        apart, left = 1 - value, (self.epochs - epoch) / (epoch - then)
        ends = apart * min(1.0, apart / max(1 - earlier, 1e-12)) ** left
        return ends > (2 - epoch / self.epochs) * (1 - self.promised)

    def _warn(self, when: str) -> None:
        (best, at), value = max((value, epoch) for epoch, value in self.seen), self.seen[-1][1]
        warnings.warn(
            f"{when} the mean cosine to what the encoder was is {value:.3f} on clean images (best {best:.3f}, after "
            f"epoch {at:g}), and {self.promised:g} was promised; more epochs, a greater clean share or a smaller "
            "learning rate help",
            UserWarning,
            stacklevel=3,
        )

    def of(self, encoder: Encoder) -> float:
        """That of an encoder now."""
        rows = self._embedded(encoder, next(encoder.parameters()).device)
        return F.cosine_similarity(rows[self.readable], self.target[self.readable]).mean().item()

    def logged(self, run: RunFolder) -> list[float]:
        """What it was in the course of a training in this folder."""
        return [row[LOGGED] for row in _looks(run)]

    def _embedded(self, encoder: Encoder, device: torch.device) -> torch.Tensor:
        rows = teacher_cache(
            encoder, self.images, device=device, batch_size=self.batch_size, workers=self.workers,
            label="clean validation images",
        )  # fmt: skip
        return rows[self.images.index]


def _looks(run: RunFolder) -> list[dict[str, Any]]:
    return [row for row in run.rows() if row.get(LOGGED) is not None]
