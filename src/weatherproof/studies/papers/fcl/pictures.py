"""What the page of a study of feature contrastive learning shows beside its numbers: the paper's Figures 1, 3 and 4,
and sensitivity against utility. Of the first training seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from weatherproof import random, reports
from weatherproof.data import ImageSet, batches
from weatherproof.evaluation import (
    EVAL_STREAM,
    class_utility,
    utility_and_sensitivity,
    utility_curve,
    utility_examples,
)
from weatherproof.readouts import evaluating
from weatherproof.studies.lab.store import Store
from weatherproof.studies.papers.fcl.models import NOISE_SEED, Models, Training
from weatherproof.studies.papers.fcl.noisy import noisy_cases
from weatherproof.types import Images

_CURVE_IMAGES = 64  # the plot's lines change little beyond
_EXAMPLES = 8


def save_figures(at: Models, store: Store, folder: Path) -> None:
    """Write utility_maps.safetensors, utility_images.safetensors and the gallery."""
    trained, test = _first(at, store, "fcl"), store.images(at.test)
    maps = class_utility(trained, test, limit=at.scale.map_images, device=store.device)
    reports.save_utility_maps(folder, maps.grouped(_panels(maps.classes)))
    settings = at.settings(Training("fcl"), 1.0)
    examples = utility_examples(
        trained, test, k=settings.k, sigma=settings.sigma, count=_EXAMPLES, seed=NOISE_SEED, device=store.device
    )
    reports.save_utility_images(folder, examples)
    classifiers = {name: _first(at, store, name) for name in ("supervised", "fcl")}
    reports.save_gallery(folder, _noisy(at, store, classifiers))


def save_curves(at: Models, store: Store, folder: Path, *, starts: Sequence[str]) -> None:
    """Write utility_curve.json: sensitivity against utility after XE and after FCL, for each start."""
    found, limit = {}, min(_CURVE_IMAGES, at.scale.sensitivity_images)
    for start in starts:
        for name, method in (("XE", "supervised"), ("FCL", "fcl")):
            classifier, test = _first(at, store, method, start), store.images(at.test)
            pair = utility_and_sensitivity(classifier, test, limit=limit, device=store.device)
            found[f"{start}{start and ', '}{name}"] = utility_curve(*pair)
    reports.save_utility_curve(folder, found)


def _first(at: Models, store: Store, method: str, start: str = "") -> nn.Module:
    """The classifier of the first seed."""
    return store.get(at.model(Training(method, start), at.seed))


def _panels(classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The panels of Figure 4, whose classes are modulo 10, and then the contexts that it merges, 0-4 and 10-14, apart.

    >>> _panels(["0", "5", "10"])
    {'0 and 10': ('0', '10'), '5': ('5',), '0': ('0',), '10': ('10',)}
    """
    modulo = [tuple(name for name in (str(digit), str(digit + 10)) if name in classes) for digit in range(10)]
    apart = [(name,) for start in (0, 10) for name in map(str, range(start, start + 5)) if name in classes]
    return {" and ".join(names): names for names in (*modulo, *apart) if names}


def _noisy(at: Models, store: Store, classifiers: Mapping[str, nn.Module]) -> list[reports.GalleryEntry]:
    """One test image of every class, under UN and NUN in turn, as the measurements make them."""
    chosen = _one_of_every_class(store.images(at.test))
    batch = next(batches(chosen, len(chosen), device=store.device))
    keys = random.fold(random.keys(NOISE_SEED, batch.index), EVAL_STREAM, 0)
    found = []
    for part, case in enumerate(noisy_cases(chosen, at.train, store)[1:]):
        assert case.operator is not None
        damaged, places = case.operator(batch.images, keys), range(part, len(chosen), 2)
        guesses = {name: _guesses(classifier, damaged) for name, classifier in classifiers.items()}
        for i in places:
            predictions = {
                name: [(chosen.classes[label], share) for share, label in zip(*best[i], strict=True)]
                for name, best in guesses.items()
            }
            truth, text = chosen.classes[int(batch.labels[i])], case.text or repr(case.operator)
            found.append((i, reports.GalleryEntry(batch.images[i], damaged[i], text, predictions, truth)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _one_of_every_class(images: ImageSet) -> ImageSet:
    firsts = [(images.labels == label).nonzero()[:1, 0] for label in range(len(images.classes))]
    return images.subset(torch.cat(firsts))


@torch.no_grad()
def _guesses(classifier: nn.Module, images: Images) -> list[tuple[list[float], list[int]]]:
    with evaluating(classifier):
        best: tuple[Tensor, Tensor] = classifier(images).float().softmax(dim=1).topk(3, dim=1)
    return list(zip(best[0].tolist(), best[1].tolist(), strict=True))
