"""Which images a study trains on and measures with, as text."""

import hashlib
from pathlib import Path
from typing import Literal
from warnings import warn

import torch

from weatherproof.data import ImageSet, at_most, load_images
from weatherproof.data.counts import difference
from weatherproof.data.images import mixed
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.evaluation import relabel
from weatherproof.spec import component

_ORDER = 0x6D6978  # the seed of a mixed order: "mix"
WHOLE = 500  # pixels of the longer side: most photographs of ImageNet have no more, and are read as they are
CHECK = "the same command with --check says what brings it"


@component
class Source:
    """A data set of a scale.

    Attributes:
        text: what `load_images` takes; ``$DATA`` is the data folder.
        test: another source for the test split.
        without: classes whose images are left out.
        relabel: (old class name, new one): the test split is then the images of the old classes alone (label shift).
        train_images: at most so many for fitting, drawn stratified.
        crop_fraction: of this set, where it is not that of the scale.
    """

    text: str
    test: str | None = None
    without: tuple[str, ...] = ()
    relabel: tuple[tuple[str, str], ...] = ()
    train_images: int | None = None
    crop_fraction: float | None = None


@component
class Images:
    """Images of a source.

    Attributes:
        split: "train": for fitting; "test": for measuring, with the source's relabelling; others as they are.
        size, channels: as for `load_images`.
        crop_fraction: of `load_images`, where the source says no other.
        limit: at most so many: for fitting with as many of every class, where the source does not say how many.
        only: labels; no images of others. The limit counts these.
        whole: the split as the source has it, of `only` these labels.
        uncropped: instead of the size: whole images, the longer side at most so many pixels, for views that begin with
            a crop (`longest` of `data.load_images`).
        mixed: in an order drawn once, for what a model makes of a whole batch: folders come class by class.
    """

    source: Source
    split: Literal["train", "validation", "test"]
    size: int | None = None
    crop_fraction: float = 1.0
    channels: int | None = None
    limit: int | None = None
    only: tuple[int, ...] = ()
    whole: bool = False
    uncropped: int | None = None
    mixed: bool = False

    def read(self, folder: str | None) -> ImageSet:
        """The images.

        Args:
            folder: what ``$DATA`` stands for.
        """
        images = self._read(folder)
        return mixed(images, _ORDER) if self.mixed else images

    def _read(self, folder: str | None) -> ImageSet:
        if self.whole:
            return self._of_labels(self._load(self.source.text, self.split, folder))
        if self.split == "train":
            return at_most(self._fitting(folder), self.source.train_images or self.limit)
        return at_most(self._of_labels(self._measuring(folder)), self.limit)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """(text, split) of all that is read for them."""
        source = self.source
        if self.whole or self.split == "train":
            return ((source.text, self.split),)
        measured = (source.test or source.text, self.split)
        return ((source.text, "train"), measured) if source.relabel else (measured,)

    def called(self, images: ImageSet) -> str:
        """What records call these images: "digits/test (classes 10-14)"."""
        return f"{images.name} (classes {self.only[0]}-{self.only[-1]})" if self.only else images.name

    def _of_labels(self, images: ImageSet) -> ImageSet:
        if not self.only:
            return images
        return images.subset(torch.isin(images.labels, torch.tensor(self.only)).nonzero().flatten())

    def _fitting(self, folder: str | None) -> ImageSet:
        images = self._load(self.source.text, "train", folder)
        return _without(images, self.source.without)

    def _measuring(self, folder: str | None) -> ImageSet:
        source = self.source
        images = self._load(source.test or source.text, self.split, folder)
        if source.relabel:
            return relabel(images, dict(source.relabel), classes=self._fitting(folder).classes)
        return _without(images, source.without)

    def _load(self, text: str, split: str, folder: str | None) -> ImageSet:
        own = self.source.crop_fraction
        fraction = self.crop_fraction if own is None else own
        text = located(text, folder)
        if self.uncropped is not None:
            images = load_images(text, split, longest=self.uncropped, channels=self.channels)
        else:
            images = load_images(text, split, size=self.size, crop_fraction=fraction, channels=self.channels)
        if (line := difference(text, split, images)) is not None:
            warn(line, UserWarning, stacklevel=2)
        return images


def _without(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    gone = [i for i, name in enumerate(images.classes) if name in classes]
    if not gone:
        return images
    return images.subset(torch.isin(images.labels, torch.tensor(gone), invert=True).nonzero().flatten())


def inventory(text: str, split: str, data: str | None) -> str | None:
    """What one of `Images.sources` holds, without decoding an image: "50,000 images of 10 classes (labels 0a1b2c3d)".
    None: it is not there."""
    try:
        found = contents(located(text, data), split)
    except InputError:
        return None
    digest = hashlib.sha256(repr(found.classes).encode() + found.labels.numpy().tobytes()).hexdigest()
    return f"{len(found.labels):,} images of {len(found.classes):,} classes (labels {digest[:8]})"


def require_source(text: str, split: str, data: str | None) -> None:
    """Raise `InputError` where one of `Images.sources` is not there."""
    place = located(text, data)
    try:
        contents(place, split)
    except InputError as error:
        raise InputError(f"{error}; {CHECK}") from None


def is_there(text: str, data: str | None) -> bool:
    """Whether the folder that a source names is there: then it is read, whatever it holds."""
    folder = text.partition(":")[2]
    return ("$DATA" not in folder or data is not None) and Path(located(folder, data)).is_dir()


def located(text: str, data: str | None) -> str:
    """The text with ``$DATA`` replaced by the data folder."""
    if "$DATA" in text and data is None:
        raise InputError(f"{text!r} needs the data folder: give --data DIR or set WEATHERPROOF_DATA")
    return text.replace("$DATA", data or "")
