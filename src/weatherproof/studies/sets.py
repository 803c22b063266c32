"""The images of one scale, by the names that cells call them."""

from collections.abc import Mapping

import torch

from weatherproof.data import ImageSet, at_most, load_images
from weatherproof.errors import InputError
from weatherproof.evaluation import relabel
from weatherproof.studies.study import Source

OWN = ("main", "shift")  # the sets that the networks themselves are trained on


class Sets:
    """The data sets of a scale, read when they are asked for.

    Args:
        sources: by name.
        folder: what ``$DATA`` stands for.
        size: images are resized to it; None: as they are.
        crop_fraction: of `load_images`, where the source says no other.
        train_size: of the images for fitting, uncropped, where views cut out of larger ones; None: as for measuring.
        train_images: at most so many of the sets in `OWN` for fitting, with as many of every class.
        channels: read the images as so many, 3 for digits in colour; None: as many as they have.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        folder: str | None,
        size: int | None = None,
        crop_fraction: float = 1.0,
        train_images: int | None = None,
        channels: int | None = None,
        train_size: int | None = None,
    ) -> None:
        self.sources, self.folder = sources, folder
        self.size, self.crop_fraction, self.channels = size, crop_fraction, channels
        self.train_images, self.train_size = train_images, train_size
        self._read: dict[tuple[str, str], ImageSet] = {}

    def train(self, name: str) -> ImageSet:
        """The images for fitting."""
        if (name, "train") not in self._read:
            self._read[name, "train"] = self._train(name)
        return self._read[name, "train"]

    def test(self, name: str) -> ImageSet:
        """The images for measuring."""
        if (name, "test") not in self._read:
            self._read[name, "test"] = self._test(name)
        return self._read[name, "test"]

    def whole(self, name: str, split: str) -> ImageSet:
        """All images of a split, as the source has them; read anew."""
        return self._load(self.sources[name], self.sources[name].text, split)

    def _train(self, name: str) -> ImageSet:
        source = self.sources[name]
        images = self._load(source, source.text, "train")
        gone = [images.classes.index(c) for c in source.without]
        if gone:
            images = images.subset(torch.isin(images.labels, torch.tensor(gone), invert=True).nonzero().flatten())
        return at_most(images, source.train_images or (self.train_images if name in OWN else None))

    def _test(self, name: str) -> ImageSet:
        source = self.sources[name]
        images = self._load(source, source.test or source.text, "test")
        if source.relabel:
            return relabel(images, source.relabel, classes=self.train(name).classes)
        if source.without:
            kept = [i for i, c in enumerate(images.classes) if c not in source.without]
            images = images.subset(torch.isin(images.labels, torch.tensor(kept)).nonzero().flatten())
        return images

    def _load(self, source: Source, text: str, split: str) -> ImageSet:
        size, fraction = self.size, self.crop_fraction if source.crop_fraction is None else source.crop_fraction
        if split == "train" and self.train_size is not None:
            size, fraction = self.train_size, 1.0
        return load_images(located(text, self.folder), split, size=size, crop_fraction=fraction, channels=self.channels)


def located(text: str, data: str | None) -> str:
    """The text with ``$DATA`` replaced by the data folder."""
    if "$DATA" in text and data is None:
        raise InputError(f"{text!r} needs the data folder: give --data DIR or set WEATHERPROOF_DATA")
    return text.replace("$DATA", data or "")
