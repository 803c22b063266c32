"""How an encoder does while it is still being trained: a few numbers on a few images, cheap enough for every epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, at_most, batches
from weatherproof.errors import InputError
from weatherproof.evaluation.metrics.geometry import alignment, uniformity
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import embed, evaluating, knn_accuracy
from weatherproof.types import Embeddings, Images, Keys
from weatherproof.views import Twice

_STREAM = 0x7761746368  # "watch": the looks it takes are not those of training


@dataclass(frozen=True)
class Watch:
    """Numbers of a method's encoder, for the log of its training: ``watch(method, epoch) -> {name: number}``.

        knn_accuracy  `readouts.knn_accuracy` of the test images among the training images
        alignment     `alignment` of two views of the test images
        uniformity    `uniformity` of the test images as they are

    All three are of the encoder's embeddings at unit length, not of the projection that the loss sees: the encoder is
    what is kept. They are taken in evaluation mode; every part of the method is then back in the mode it had. The views
    have the same keys every time, so that a curve moves by the encoder alone. What cannot be measured (no labels, no
    views) is left out.

    Args:
        train: the bank of the nearest neighbours.
        test: the images that are looked at.
        every: epochs between two looks; a fraction looks more than once an epoch.
        limit: at most so many images of each set, evenly spaced; None: all.
        k, temperature: of the vote. k is at most the size of the bank.
        views: two looks at every image; None: those of the method.
    """

    train: ImageSet
    test: ImageSet
    every: float = 1.0
    limit: int | None = 2000
    k: int = 200
    temperature: float | None = 0.1
    views: Callable[[Images, Keys], Any] | None = None
    seed: int = 0
    batch_size: int = 256
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise InputError(f"a training is watched every so many epochs, more than 0; got {self.every}")
        for name in ("limit", "k", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} of what is watched must be at least 1, got {value}")
        for images in (self.train, self.test):
            if len(images) == 0:
                raise InputError(f"there is nothing to watch: {images.name!r} holds no images")

    def __call__(self, method: nn.Module, epoch: float = 0) -> dict[str, float]:
        """The numbers now. `epoch` is not used: it is there so that a function of one's own can be given instead."""
        encoder, views = method.encoder, self.views or getattr(method, "views", None)
        assert isinstance(encoder, nn.Module)
        test = at_most(self.test, self.limit)
        embedded = partial(embed, encoder, device=_device(encoder), batch_size=self.batch_size, workers=self.workers)
        found = {}
        features, labels = embedded(test)
        train = at_most(self.train, self.limit)
        if _classes(train.labels) > 1 and _classes(labels) > 1:  # of one class alone, every vote is right
            bank, classes = embedded(train)
            found["knn_accuracy"] = knn_accuracy(bank, classes, features, labels, self.k, self.temperature)
        if views is not None:
            found["alignment"] = alignment(*self.pair(encoder, views, test))
        if len(features) > 1:
            found["uniformity"] = uniformity(features)
        return found

    def pair(
        self, encoder: nn.Module, views: Callable[[Images, Keys], Any], images: ImageSet
    ) -> tuple[Embeddings, Embeddings]:
        """Embeddings of the first two views of each image, or of two draws of something that gives one."""
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        with evaluating(encoder, views), phase(f"two views of {images.name}", len(images)) as meter:
            for batch in batches(images, self.batch_size, device=_device(encoder), workers=self.workers):
                keys = random.fold(random.keys(self.seed, batch.index), _STREAM)
                looks = views(batch.images, keys)
                if isinstance(looks, Tensor):
                    looks = Twice(cast(Operator, views))(batch.images, keys)
                for side, look in zip(sides, looks[:2], strict=True):
                    side.append(encoder(look).float().cpu())
                meter.advance(len(batch.index))
        return torch.cat(sides[0]), torch.cat(sides[1])


def _classes(labels: Tensor) -> int:
    """How many classes the images are of, those without a label left out."""
    return len(labels[labels >= 0].unique())


def _device(encoder: nn.Module) -> torch.device:
    """Where the encoder's parameters are."""
    return next((tensor.device for tensor in encoder.parameters()), torch.device("cpu"))
