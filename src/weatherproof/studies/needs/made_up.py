"""Images that stand in for those of a data set: as many, of as many classes, but of random pixels."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from weatherproof.data.cifar_classes import CIFAR_10, CIFAR_100
from weatherproof.data.class_lists import IMAGENET_100, IMAGENET_100B
from weatherproof.data.counts import SIZES
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.sizes import sides
from weatherproof.studies.lab.sets import Images, located

_NAMES = {  # of classes, which a classifier that brings its own is held against
    "imagenet100": IMAGENET_100, "imagenet100b": IMAGENET_100B, "cifar10": CIFAR_10, "cifar100": CIFAR_100,
}  # fmt: skip
_SIDE = 64  # of images of unlike sizes, from which views are cut: networks see what the views make of them


class MadeUp:
    """A data set (`data.ImageSet`) that makes its pixels when they are asked for."""

    def __init__(
        self, name: str, labels: Tensor, classes: Sequence[str], side: tuple[int, int], channels: int,
        index: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.name, self.labels, self.classes, self.channels = name, labels, tuple(classes), channels
        self.index = torch.arange(len(labels)) if index is None else index
        self.image_size = side
        self.bad: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
        at = range(len(self))[i]
        return self.read(torch.tensor([at]))[0], int(self.labels[at]), int(self.index[at])

    def subset(self, positions: Tensor) -> "MadeUp":
        """The images at these positions, in this order."""
        return MadeUp(
            self.name, self.labels[positions], self.classes, self.image_size, self.channels, self.index[positions]
        )

    def read(self, positions: Tensor) -> Tensor:
        """Random pixels, the same for the same image."""
        images = [
            torch.randint(0, 256, (self.channels, *self.image_size), generator=torch.Generator().manual_seed(int(at)))
            for at in self.index[positions]
        ]
        return torch.stack(images).to(torch.uint8)


def made_up(images: Images, data: str | None) -> MadeUp:
    """Images like these: as the folder has them where it is there, else as the set is published.

    Raises:
        InputError: it is not there, and nobody has said how many images it has.
    """
    source, split = images.source, "train" if images.split == "train" else "test"
    text = source.text if split == "train" or images.whole else source.test or source.text
    labels, classes, side, channels = _shape(text, split, data)
    chosen = [i for i, name in enumerate(classes) if name not in source.without]
    if len(chosen) < len(classes):
        labels = labels[torch.isin(labels, torch.tensor(chosen))]
    if source.relabel and split == "test":
        labels, classes = labels % 10, classes[:10]
    if images.only:
        labels = labels[torch.isin(labels, torch.tensor(images.only))]
    most = (source.train_images or images.limit) if split == "train" else images.limit
    if most is not None and most < len(labels):
        labels = labels[torch.linspace(0, len(labels) - 1, most).long()]
    size = images.size if images.size is not None else side or _SIDE
    return MadeUp(f"{text}/{split}", labels, classes, sides(size), images.channels or channels)


def _shape(text: str, split: str, data: str | None) -> tuple[Tensor, tuple[str, ...], int | None, int]:
    name = text.partition(":")[0]
    grey = name in ("mnist", "synthetic-mnist", "digits", "synthetic-digits")
    try:
        found = contents(located(text, data), split)
    except InputError:
        if name not in SIZES:
            raise
        train, test, classes, side = SIZES[name]
        many = train if split == "train" else test
        names = _NAMES.get(name) or tuple(map(str, range(classes)))
        return torch.arange(many) * classes // max(1, many), names, side, 1 if grey else 3
    side = found.side if found.side is not None else SIZES[name][3] if name in SIZES else None
    return found.labels, found.classes, side, found.channels or (1 if grey else 3)
