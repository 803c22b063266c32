"""Figures 1 and 11: three guesses of both models on images that are chosen, and the eight damages on one image each.

The damage is that of the measurements: image by image the same pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from weatherproof import operators, random, reports
from weatherproof.data import ImageSet, batches
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.readouts import evaluating
from weatherproof.reports import GalleryEntry
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.studies.lab.study import Cell, Number

GUESSES = 3
_BATCH = 256


@dataclass(frozen=True)
class ModelPair:
    """Two models on the same damaged images.

    Attributes:
        damage: its text.
    """

    ours: Recipe
    rival: Recipe
    data: Images
    damage: str
    seed: int

    def one_sided(self, store: Store) -> tuple[Tensor, Tensor]:
        """Positions of the images that ours has right and of which none of the rival's three guesses is, and the
        other way round."""
        return _one_sided(self, store)


@dataclass(frozen=True)
class OneSided:
    """The share of images that one model has right, and of which none of the other's three guesses is.

    Attributes:
        of_ours: ours is the one that is right.
    """

    pair: ModelPair
    of_ours: bool

    @property
    def cells(self) -> tuple[Cell, ...]:
        return ()

    def number(self, store: Store) -> Number:
        images = store.images(self.pair.data)
        found = self.pair.one_sided(store)[0 if self.of_ours else 1]
        operator = operators.parse(self.pair.damage)
        facts = protocol_facts(images, operator, (self.pair.seed,), self.pair.data.called(images))
        name = "hardened" if self.of_ours else "supervised"
        return Number(make_record("alone_right", [len(found) / len(images)], len(images), name, 0, facts))


@lru_cache(maxsize=8)
def _one_sided(pair: ModelPair, store: Store) -> tuple[Tensor, Tensor]:
    images = store.images(pair.data)
    places: tuple[list[Tensor], list[Tensor]] = [], []
    done = 0
    for batch in batches(images, _BATCH, device=store.device):
        damaged, labels = _damaged(pair.damage, batch.images, batch.index, pair.seed), batch.labels[:, None]
        hits = [_best(store, model, damaged)[1] == labels for model in (pair.ours, pair.rival)]
        for place, (one, other) in zip(places, (hits, hits[::-1]), strict=True):
            place.append((one[:, 0] & ~other.any(dim=1)).nonzero().flatten().cpu() + done)
        done += len(labels)
    return torch.cat(places[0]), torch.cat(places[1])


def save_guesses(pairs: Mapping[str, ModelPair], count: int, store: Store, folder: Path) -> None:
    """Write the gallery: for each damage the first images that ours has right and the rival's three guesses miss; the
    first of all where there is none."""
    entries = []
    for pair in pairs.values():
        found = pair.one_sided(store)[0][:count]
        chosen = store.images(pair.data).subset(found if len(found) else torch.arange(1))
        models = {"hardened": pair.ours, "supervised": pair.rival}
        entries += _entries(chosen, pair.damage, pair.seed, models, store)
    reports.save_gallery(folder, entries)


def save_damages(
    damages: Sequence[str], model: Recipe, data: Images, count: int, seed: int, store: Store, folder: Path
) -> None:
    """Write the gallery: the first image of each of so many classes under each damage, with a model's guesses."""
    images = store.images(data)
    firsts = [(images.labels == label).nonzero()[:1, 0] for label in range(len(images.classes))]
    chosen = images.subset(torch.cat(firsts)[:count])
    rows = [_entries(chosen, damage, seed, {"teacher": model}, store) for damage in damages]
    reports.save_gallery(folder, [entry for image in zip(*rows, strict=True) for entry in image])


def _entries(
    chosen: ImageSet, damage: str, seed: int, models: Mapping[str, Recipe], store: Store
) -> list[GalleryEntry]:
    batch = next(batches(chosen, len(chosen), device=store.device))
    damaged = _damaged(damage, batch.images, batch.index, seed)
    guesses = {name: _best(store, model, damaged) for name, model in models.items()}
    return [
        GalleryEntry(
            batch.images[i], damaged[i], damage,
            {
                name: [(chosen.classes[int(c)], float(p)) for p, c in zip(best[0][i], best[1][i], strict=True)]
                for name, best in guesses.items()
            },
            chosen.classes[int(batch.labels[i])],
        )
        for i in range(len(chosen))
    ]  # fmt: skip


def _damaged(damage: str, images: Tensor, index: Tensor, seed: int) -> Tensor:
    """As `evaluate` damages them in its first draw."""
    return operators.parse(damage)(images, random.fold(random.keys(seed, index), EVAL_STREAM, 0))


@torch.no_grad()
def _best(store: Store, model: Recipe, images: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities and labels of the three best guesses."""
    classifier = store.get(model)
    with evaluating(classifier):
        shares: Tensor = classifier(images).float().softmax(dim=1)
    best = shares.topk(min(GUESSES, shares.shape[1]), dim=1)
    return best.values, best.indices
