"""A study shared out over the tasks of a cluster: each takes every n-th training, and all write into one store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weatherproof.errors import InputError, shown
from weatherproof.progress import phase
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.studies.lab.study import Cell, Number, Scale
from weatherproof.training import Plan, RunFolder

_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Share:
    """The k-th of n shares of a study's trainings, k from 1 to n: "3/8"."""

    own: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """The share of a text. Raises `InputError`."""
        match = _TEXT.fullmatch(text)
        own, of = map(int, match.groups()) if match else (0, 0)
        if not 1 <= own <= of:
            raise InputError(f"cells is a share of a study such as 3/8, from 1/8 to 8/8; got {shown(text)}")
        return cls(own, of)

    def __str__(self) -> str:
        return f"{self.own}/{self.of}"

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of this share: trainings are counted in the order in which the cells name them, and of every n-th all
        that is measured of it is taken. Each cell is in one share."""
        place: dict[object, int] = {}
        trainings = [_training(cell.model) for cell in cells]
        for training in trainings:
            place.setdefault(training, len(place))
        return [cell for cell, own in zip(cells, trainings, strict=True) if place[own] % self.of == self.own - 1]

    def fill(self, name: str, scale: Scale, store: Store, run: RunFolder) -> None:
        """Measure this share's cells into the store, where the whole study finds them. A model that another task is
        training is waited for."""
        every = [cell for own in scale.cells.values() if own is not None for cell in own.cells]
        mine = self.cells(list(dict.fromkeys(every)))
        for cell in mine:
            cell.check(store)
        numbers: list[Number] = []
        with phase(f"{name}, share {self}", len(mine), "cells") as meter, store.waiting():
            for cell in mine:
                meter.note = cell.about.model
                if (number := cell.number(store)) is not None:
                    numbers.append(number)
                meter.advance()
        run.write_json("results.json", {"records": [number.to_dict() for number in numbers]})


def _training(model: Recipe) -> object:
    """The training that a model stands on, and which holds those before it: of a linear layer the encoder's, of a gate
    the hardening. Of a model without one itself."""
    trainings = [part for part in parts(model) if any(isinstance(own, Plan) for own in vars(part).values())]
    return max(trainings, key=lambda own: sum(1 for _ in parts(own)), default=model)
