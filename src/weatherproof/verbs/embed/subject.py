"""What embed works on: an encoder and images that fit each other, and where the work lies until it is done."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.data.roll import rolled
from weatherproof.embedded.about import identity, network_size
from weatherproof.embedded.columns import Asked, eye_of
from weatherproof.embedded.parquet import arrow
from weatherproof.embedded.parts import Parts
from weatherproof.embedded.reader import ENDINGS, ending_of
from weatherproof.embedded.rows import Origin, class_names
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError, shown
from weatherproof.evaluation.record import protocol_facts, protocol_hash
from weatherproof.files import disk_errors
from weatherproof.sizes import Size
from weatherproof.texts import path_of
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED, OWN_FILES
from weatherproof.verbs.inputs import device_of, pretrained, read_at, require_embeds, whole_folder
from weatherproof.verbs.outcome import recipe_of, text_of

FREE = (*IGNORED, "batch_size")  # settings that do not change what comes out
WEIGHTS = "weights"  # what a recipe says of the encoder's


@dataclass(frozen=True, eq=False)
class Subject:
    """An encoder and images.

    Attributes:
        model, source: as the user gave them.
        origin: the images in the order of their names, and what their files and classes are called.
        digest: changes where a file of the images does; "" where there are no files.
        size: (height, width) of what the network sees.
    """

    model: str | Path | nn.Module
    source: str | Path | ImageSet
    options: Mapping[str, Any]
    asked: Asked
    encoder: Encoder
    origin: Origin
    digest: str
    size: tuple[int, int]
    device: torch.device

    @classmethod
    def load(
        cls, model: str | Path | nn.Module, source: str | Path | ImageSet, options: Mapping[str, Any], asked: Asked
    ) -> "Subject":
        """Both, tried on each other. Raises `InputError` where they, or the options, cannot be used."""
        device = device_of(options["device"])
        encoder = pretrained(model, size=options["size"], seed=options["seed"])
        split = whole_folder(source, options.get("split"))
        whole = split != options.get("split")
        images = read_at(source, split, encoder, options, memory_budget=0)
        if not len(images):
            raise InputError(f"{images.name!r} holds no images: there is nothing to embed")
        assert images.image_size is not None
        roll = rolled(images, "name")
        encoder.to(device)
        eye_of(encoder, asked, images.image_size)
        require_embeds(encoder, images, device, alone=False)
        paths = getattr(images, "paths", None)
        origin = Origin(roll.images, class_names(source, paths) if whole and paths is not None else None)
        return cls(
            model,
            source,
            options,
            asked,
            encoder,
            origin,
            roll.digest,
            network_size(encoder, images.image_size),
            device,
        )

    @cached_property
    def weights(self) -> str:
        """The encoder's `identity`."""
        return identity(self.encoder)

    def encoder_at(self, size: Size | None) -> Encoder:
        """The encoder once more, at another size of its own. Raises `InputError` where it cannot have it."""
        with warnings.catch_warnings(action="ignore"):  # they were shown
            return pretrained(self.model, size=size, seed=self.options["seed"])

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What the work depends on, as a run's recipe says it."""
        options = {name: value for name, value in self.options.items() if name not in FREE}
        settings = {"encoder": self.model, "images": self.source, **asdict(self.asked), **options}
        recipe = recipe_of("embed", settings) | {WEIGHTS: self.weights[:12]}
        if self.digest:
            return recipe | {OWN_FILES: {**recipe.get(OWN_FILES, {}), text_of(self.source): self.digest}}
        return recipe | {"data": self._data()}

    def _data(self) -> str:
        """Of images without files: changes where they, their labels or sizes do."""
        return protocol_hash(
            **protocol_facts(self.origin.images, None, (), None, crop=self.options.get("crop_fraction"))
        )

    @contextmanager
    def at_work(self, out: Path | None, more: Mapping[str, Any] | None = None) -> Iterator[Parts]:
        """All images embedded, or as many as there was time for. Where they lie is gone when the block ends well and
        all are.

        Args:
            out: what comes of them, beside which they lie in a hidden folder; None: somewhere, for this process alone.
            more: settings of what comes of them.

        Raises:
            InputError: another command is at it, or has begun it; the disk; and what the encoder or the images refuse.
        """
        from tempfile import TemporaryDirectory

        plan = protocol_hash(**{k: v for k, v in self.recipe.items() if k != "encoder"})
        if out is None:
            with TemporaryDirectory() as folder:
                parts = Parts(Path(folder), plan, len(self.origin.images))
                self._make(parts)
                yield parts
            return
        run = RunFolder.open(hidden_folder(out), self.recipe | dict(more or {}), ignore=FREE)
        parts = Parts(run.path, plan, len(self.origin.images))
        self._make(parts)
        yield parts
        run.close()
        if parts.complete:
            parts.remove()

    def _make(self, parts: Parts) -> None:
        minutes, images = self.options["minutes"], self.origin.images
        if parts.complete:
            return
        assert images.image_size is not None
        parts.make(
            eye_of(self.encoder, self.asked, images.image_size), images, model=self.encoder,
            batch_size=self.options["batch_size"], device=self.device, workers=self.options["workers"],
            deadline=None if minutes is None else monotonic() + 60 * minutes,
        )  # fmt: skip


def hidden_folder(out: Path) -> Path:
    """Where the work on a file lies until it is done."""
    return out.with_name(f".{out.name}.parts")


def out_file(out: str | Path, endings: tuple[str, ...] = ENDINGS) -> Path:
    """The file that is to be written. Raises `InputError` where none can be, or pyarrow is wanted and not installed."""
    if not str(out):
        raise InputError(f"--out is the file to write, got {shown(str(out))}")
    file = path_of(out)
    if ending_of(file, endings) == ".parquet":
        arrow()
    with disk_errors(file):
        if file.is_dir():
            raise InputError(f"{file} is a folder: expected a file to write, choose another --out")
    return file
