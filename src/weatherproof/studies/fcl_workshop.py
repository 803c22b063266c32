"""Measures the cells of a study of feature contrastive learning, once for every training seed."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weatherproof import methods
from weatherproof.data import ImageSet, at_most
from weatherproof.evaluation import Case, Record, evaluate_suite
from weatherproof.files import write_atomically
from weatherproof.studies import fcl_cases, fcl_maps
from weatherproof.studies.fcl_cells import CountCell, FclCell, FclScale, MapCell, OverSeeds, Training, over_seeds
from weatherproof.studies.fcl_trainings import FclTrainings
from weatherproof.studies.store import Store, digest
from weatherproof.studies.study import settings_text
from weatherproof.texts import read_json
from weatherproof.training import Plan

NOISE_SEED = 0  # of all damage in measurements: every method and every training meets the same images


class FclWorkshop:
    """The numbers of one scale.

    Args:
        scale: the settings.
        store: the folder where trained classifiers and what was measured of them are kept, so that a killed study
            repeats neither.
        data: the folder that ``$DATA`` stands for.
        seed: of the first training; the others follow it.
    """

    def __init__(self, scale: FclScale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.folder, self.device = scale, store, device
        self.trainings = FclTrainings(scale, store, data=data, seed=seed, device=device)
        self.others = {
            name: FclWorkshop(other, store, data=data, seed=seed, device=device) for name, other in scale.others.items()
        }

    @property
    def test(self) -> ImageSet:
        return self.trainings.sets.test("main")

    def classifier(self, method: str, start: str = "") -> nn.Module:
        """The trained classifier of the first seed."""
        return self.trainings.classifier(Training(method, start), self.trainings.stores[0])

    def measure(self, cell: FclCell | MapCell | CountCell) -> OverSeeds | Record | None:
        """The cell's number; None where this scale has no such data."""
        if cell.data != "main":
            other = self.others.get(cell.data)
            return None if other is None else other.measure(replace(cell, data="main"))
        match cell:
            case CountCell():
                return fcl_maps.count(self.trainings.sets.whole("main", cell.split), cell)
            case FclCell():
                found = [self._accuracy(cell, store) for store in self.trainings.stores]
            case MapCell():
                found = [self._map(cell, store) for store in self.trainings.stores]
        met = self.trainings.met(cell.training)
        return over_seeds([replace(record, trained_on=met) for record in found], self.trainings.seeds)

    def facts(self, cells: Iterable[FclCell | MapCell | CountCell]) -> dict[str, str]:
        """What the classifiers behind these cells were trained with, for the reader."""
        facts: dict[str, str] = {}
        trained = [cell for cell in cells if not isinstance(cell, CountCell)]
        for training in dict.fromkeys(cell.training for cell in trained if cell.data == "main"):
            settings = self.trainings.settings(training, Plan(**self.scale.plan(training.start)).epochs)
            damage = methods.damage_of(settings, None)
            said = settings.used(training.method) | ({} if damage is None else {"on images with": f"`{damage!r}`"})
            facts |= {f"settings of {training.name}": settings_text(said)} if said else {}
        for name, other in self.others.items():
            own = [replace(cell, data="main") for cell in trained if cell.data == name]
            facts |= {f"{name}, {what}": text for what, text in other.facts(own).items()}
        return facts

    def _accuracy(self, cell: FclCell, store: Store) -> Record:
        kind = fcl_cases.suite_of(cell.tested_on)
        most = self.scale.test_images if kind == "noisy" else self.scale.suite_images
        return fcl_cases.record_of(self._answers(cell, kind, most, store), cell.tested_on)

    def _answers(self, cell: FclCell, kind: str, most: int | None, store: Store) -> list[Record]:
        """The records of the cell's classifier on a whole suite, from the store or made now."""
        test = at_most(fcl_cases.of_classes(self.test, fcl_cases.RARE) if cell.rare else self.test, most)

        def answer() -> list[Record]:
            cases = [Case()] if cell.rare else fcl_cases.cases_of(kind, test, self._pixel_std)
            classifier = self.trainings.classifier(cell.training, store)
            found = evaluate_suite(
                classifier, test, cases, suite=kind, model=cell.training.name, seed=NOISE_SEED, device=self.device,
                readout=self.trainings.readout(cell.training),
                data=f"{test.name} (classes 10-14)" if cell.rare else None,
            )  # fmt: skip
            return [record for record in found.records if record.metric in fcl_cases.METRICS]

        return self._kept(cell, (kind, cell.rare, most), store, answer)

    def _map(self, cell: MapCell, store: Store) -> Record:
        def measure() -> list[Record]:
            classifier, name = self.trainings.classifier(cell.training, store), cell.training.name
            return [fcl_maps.measured(cell, classifier, self.test, self.scale, model=name, device=self.device)]

        numbers = (self.scale.map_images, self.scale.sensitivity_images, self.scale.corner)
        return self._kept(cell, (cell.measure, cell.of, cell.classes, numbers), store, measure)[0]

    def _kept(
        self, cell: FclCell | MapCell, key: tuple[Any, ...], store: Store, make: Callable[[], list[Record]]
    ) -> list[Record]:
        """Records beside the classifier that they are of."""
        file = self.trainings.home(cell.training, store) / f"measured-{digest(repr(key))}.json"

        def find() -> list[Record]:
            if file.is_file():
                kept = read_json(file)
                return [Record(**{**record, "seeds": tuple(record["seeds"])}) for record in kept]
            made = make()
            write_atomically(file, json.dumps([record.to_dict() for record in made]))
            return made

        return store.once(file, find)

    def noises(self, images: ImageSet) -> list[Case]:
        """UN and NUN for these images."""
        return fcl_cases.cases_of("noisy", images, self._pixel_std)[1:]

    def _pixel_std(self) -> Path:
        what = repr((self.scale.data, self.scale.train_images, self.scale.size))
        return fcl_cases.pixel_std(self.trainings.train, self.folder, what)
