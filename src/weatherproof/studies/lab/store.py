"""Models and measurements of studies, kept on disk under the text of what they are."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from shutil import rmtree
from statistics import mean
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.evaluation.finetune_search import Setting, read_setting
from weatherproof.files import write_atomically
from weatherproof.readouts import Classifier, Readout, load_readout, save_readout
from weatherproof.readouts.store import META
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.sets import Images, inventory, is_there, require_source
from weatherproof.texts import read_own
from weatherproof.training import Plan, RunFolder
from weatherproof.training.lock import InUseError
from weatherproof.training.run import IGNORED

Trained = tuple[Encoder, Readout | None]  # a network, and the classifier on it where it was trained with one

_MODELS, _SETS = 8, 8  # so many are held in memory; others are read again
_SECONDS = 2.0  # between two looks at a model that another process is training
SEEN = "images"  # where a recipe.yaml and a measurement say what their sources held


@runtime_checkable
class Recipe(Protocol):
    """How a model comes about: a component, whose text is its identity."""

    def __hash__(self) -> int: ...

    def make(self, store: "Store") -> nn.Module:
        """The model, made of what the store gives for the recipes and images that it names."""
        ...


@dataclass(frozen=True)
class Measured:
    """What a measure found of a model.

    Attributes:
        records: what they say of the model is the cell's to say.
        certificate: of an attack: its text ("attack"), on how many images ("images"), "checks" as in checks.json.
    """

    records: tuple[Record, ...]
    certificate: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Bench:
    """Where a measure works.

    Attributes:
        name: what progress calls the model.
        data: which images are measured.
        folder: for answers that a killed measurement goes on from; made by who uses it, gone once all is measured.
    """

    store: "Store"
    name: str
    data: Images
    folder: Path


@runtime_checkable
class Measure(Protocol):
    """What is found of a model on images: a component."""

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured: ...


@runtime_checkable
class Choosing(Protocol):
    """A measure that takes some of the images that lie in files."""

    def check(self, images: ImageSet) -> None:
        """Raises `InputError` where the files lack some of these."""
        ...


@runtime_checkable
class Outside(Protocol):
    """A component that is read from a file of the data folder."""

    def require(self, folder: str | None) -> None:
        """Raises `InputError` where that is not there."""
        ...


class Running(Protocol):
    """With what trainings are run (`lab.means.Means`)."""

    def of(self, plan: Plan) -> Plan:
        """The plan with them."""
        ...

    def mark(self, recipe: object) -> str:
        """What of them is part of a recipe's identity."""
        ...

    def __bool__(self) -> bool: ...


class Store:
    """A folder of models and of what was measured of them.

    Args:
        folder: where they are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
        means: of all trainings.

    Attributes:
        contents: what the sources of all images hold, or held, of which something was asked for.
    """

    def __init__(self, folder: Path, *, data: str | None, device: torch.device, means: Running | None = None) -> None:
        self.folder, self.data, self.device, self.means = folder, data, device, means
        self.contents: dict[str, str] = {}
        self._waits = False
        self._model = lru_cache(_MODELS)(self._make)
        self._read_images = lru_cache(_SETS)(self._read)
        self._inventory = cache(inventory)

    def get(self, recipe: Recipe) -> nn.Module:
        """The encoder or classifier: from memory, from the folder, or made now."""
        return self._model(recipe)

    def _make(self, recipe: Recipe) -> nn.Module:
        return recipe.make(self)

    def body(self, recipe: Recipe) -> nn.Module:
        """What embeds images: of a classifier what its head stands on."""
        model = self.get(recipe)
        return model.encoder if isinstance(model, Classifier) else model

    def encoder(self, recipe: Recipe) -> Encoder:
        """The encoder, of a classifier the one that it stands on."""
        found = self.body(recipe)
        assert isinstance(found, Encoder)
        return found

    def images(self, images: Images) -> ImageSet:
        """The images: from memory, or read now."""
        return self._read_images(images)

    def holds(self, images: Images) -> bool:
        """Whether the folder of these images is there."""
        return is_there(images.source.text, self.data)

    def _read(self, images: Images) -> ImageSet:
        return images.read(self.data)

    def sources(self, *components: object) -> dict[str, str]:
        """What the sources of all images in these components hold now; those that are not there are left out."""
        read = dict.fromkeys(own for part in parts(components) if isinstance(part, Images) for own in part.sources)
        there = {
            f"{text}, {split}": held
            for text, split in read
            if (held := self._inventory(text, split, self.data)) is not None
        }
        self.contents |= there
        return there

    def require_same(self, place: Path, noted: Mapping[str, str]) -> None:
        """Raise `InputError` where a source that is there holds something else than when what lies at this place was
        made of it.

        Args:
            noted: what it held then, from `sources`.
        """
        for source, held in noted.items():
            text, _, split = source.rpartition(", ")
            if (now := self._inventory(text, split, self.data)) not in (None, held):
                raise InputError(
                    f"{place} is of other images of {source!r} than there are now: {held} then, {now} now; put those "
                    "back, or choose another --store and --out"
                )
        self.contents |= noted

    def require(self, part: object) -> None:
        """Raise `InputError` where images or weights are not there that a component is made of, but for what of it the
        folder holds already."""
        if isinstance(part, Images):
            for text, split in part.sources:
                if self._inventory(text, split, self.data) is None:
                    require_source(text, split, self.data)
            return
        if isinstance(part, Outside):
            part.require(self.data)
        if isinstance(part, Recipe) and self._holds_model(part):
            return
        for own in part if isinstance(part, tuple) else fields(part) if is_dataclass(part) else ():
            self.require(getattr(part, own.name) if isinstance(own, Field) else own)

    def _holds_model(self, recipe: Recipe) -> bool:
        home = self.home(recipe)
        return _is_trained(home) or (home / META).is_file()

    def has_measured(self, recipe: Recipe, measure: Measure, images: Images) -> bool:
        """Whether the folder holds what `measured` finds."""
        return self._place(recipe, measure, images).with_suffix(".json").is_file()

    def _place(self, recipe: Recipe, measure: Measure, images: Images) -> Path:
        return self.home(recipe) / f"measured-{digest(repr((measure, images)))}"

    def measured(self, recipe: Recipe, measure: Measure, images: Images, *, name: str) -> Measured:
        """What the measure finds of the model on these images: from the folder, or found now.

        Args:
            name: what progress calls the model.

        Raises:
            InputError: it is kept, of other images than there are now.
        """
        place = self._place(recipe, measure, images)
        file = place.with_suffix(".json")
        if not file.is_file():
            own = self.images(images)
            if isinstance(measure, Choosing):
                measure.check(own)  # before the model is made
            found = measure(self.get(recipe), own, Bench(self, name, images, place))
            content = {
                "records": [record.to_dict() for record in found.records], "certificate": found.certificate,
                SEEN: self.sources(recipe, measure, images),
            }  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(content, ensure_ascii=False) + "\n")
        rmtree(place, ignore_errors=True)
        content = read_own(file)
        self.require_same(file, content.get(SEEN, {}))
        return Measured(tuple(map(Record.from_dict, content["records"])), content["certificate"])

    def best(self, recipes: Sequence[Recipe], measure: Measure, images: Images, *, name: str) -> int:
        """The place of the model that a measure finds most often right, over all that it looks under; the first of
        equals."""
        found = [self.mean_top1(recipe, measure, images, name=name) for recipe in recipes]
        return found.index(max(found))

    def mean_top1(self, recipe: Recipe, measure: Measure, images: Images, *, name: str) -> float:
        """The mean accuracy over all conditions of a measure."""
        records = self.measured(recipe, measure, images, name=name).records
        return mean(record.value for record in records if record.metric == "top1")

    # what makes models

    def trained(self, recipe: Recipe, train: Callable[[RunFolder], Trained]) -> Trained:
        """A trained network: from its folder, or trained now.

        Args:
            train: trains in the run folder, into which it need not write.
        """
        folder, provenance = self.home(recipe), {"recipe": repr(recipe)}
        run = self.unfinished(recipe, _is_trained)
        if run is None:
            return load_encoder(str(folder)), load_readout(folder)
        with _making_in(run):
            encoder, readout = train(run)
            if readout is not None:
                save_readout(readout, folder, provenance=provenance)
            save_encoder(encoder, folder, provenance=provenance)
        return load_encoder(str(folder)), load_readout(folder)

    def settled(self, search: object, choose: Callable[[RunFolder], Setting]) -> Setting:
        """Settings of a training that a search chooses: from its folder, or found now."""
        run = self.unfinished(search, read_setting)
        if run is None:
            setting = read_setting(self.home(search))
            assert setting is not None
            return setting
        try:
            return choose(run)
        finally:
            run.close()

    def fitted(self, recipe: Recipe, fit: Callable[[], Readout]) -> Readout:
        """A readout on a frozen encoder: from its folder, or fitted now."""
        folder = self.home(recipe)
        run = self.unfinished(recipe, load_readout)
        if run is not None:
            with _making_in(run):
                save_readout(fit(), folder, provenance={"recipe": repr(recipe)})
        readout = load_readout(folder)
        assert readout is not None
        return readout

    def unfinished(self, recipe: object, finished: Callable[[Path], object]) -> RunFolder | None:
        """The folder of something that is made, held by this process; None where it is finished.

        Raises:
            InputError: it is made, or half made, of other images than there are now.
        """
        folder, recipe_facts = self.home(recipe), {"recipe": repr(recipe), SEEN: self.sources(recipe)}
        if (mark := self.mark(recipe)) != "":
            recipe_facts["with"] = mark
        if (begun := folder / "recipe.yaml").is_file():
            self.require_same(folder, read_own(begun).get(SEEN, {}))
        while not finished(folder):
            try:
                run = RunFolder.open(folder, recipe_facts, ignore=(*IGNORED, SEEN))
            except InUseError:
                if not self._waits:
                    raise
                time.sleep(_SECONDS)
                continue
            if not finished(folder):
                return run
            run.close()  # another process has finished it between the two looks
        return None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a model that another process is training is waited for."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def home(self, recipe: object) -> Path:
        """The folder of a model and of what was measured of it, or of another component that is kept."""
        return self.folder / f"{type(recipe).__name__.lower()}-{digest(repr(recipe) + self.mark(recipe))}"

    def mark(self, recipe: object) -> str:
        """What of the means belongs to the identity of this recipe."""
        return "" if self.means is None else self.means.mark(recipe)

    def plan(self, plan: Plan) -> Plan:
        """The plan on this store's device, with its means."""
        return replace(plan if self.means is None else self.means.of(plan), device=self.device.type)


@contextmanager
def _making_in(run: RunFolder) -> Iterator[None]:
    """Inside, something is made in the folder, which others may have afterwards; refused, it leaves all as it was."""
    try:
        yield
    except InputError:
        run.discard()
        raise
    finally:
        run.close()


def _is_trained(folder: Path) -> bool:
    return (folder / "encoder.json").is_file()


def digest(text: str) -> str:
    """Twelve hexadecimal digits that name this text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
