"""What the page of a study of feature contrastive learning shows beside its numbers: the paper's Figures 1, 3 and 4,
and sensitivity against utility. Of the first training seed."""

from collections.abc import Callable, Mapping, Sequence
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
from weatherproof.studies.fcl_cells import Training
from weatherproof.studies.fcl_workshop import NOISE_SEED, FclWorkshop
from weatherproof.types import Images

_CURVE_IMAGES = 64  # the plot's lines change little beyond
_EXAMPLES = 8


def save_pictures(workshop: FclWorkshop, study: str, folder: Path) -> None:
    """Write the pictures of a study into its run folder; nothing for a study that has none."""
    if study in _PICTURES:
        _PICTURES[study](workshop, folder)


def _figures(workshop: FclWorkshop, folder: Path) -> None:
    trained, test, device = workshop.classifier("fcl"), workshop.test, workshop.device
    maps = class_utility(trained, test, limit=workshop.scale.map_images, device=device)
    reports.save_utility_maps(folder, maps.grouped(_panels(maps.classes)))
    settings = workshop.trainings.settings(Training("fcl"), 1.0)
    examples = utility_examples(
        trained, test, k=settings.k, sigma=settings.sigma, count=_EXAMPLES, seed=NOISE_SEED, device=device
    )
    reports.save_utility_images(folder, examples)
    reports.save_gallery(folder, _noisy(workshop, {name: workshop.classifier(name) for name in ("supervised", "fcl")}))


def _panels(classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The panels of Figure 4, whose classes are modulo 10, and then the contexts that it merges, 0-4 and 10-14, apart.

    >>> _panels(["0", "5", "10"])
    {'0 and 10': ('0', '10'), '5': ('5',), '0': ('0',), '10': ('10',)}
    """
    modulo = [tuple(name for name in (str(digit), str(digit + 10)) if name in classes) for digit in range(10)]
    apart = [(name,) for start in (0, 10) for name in map(str, range(start, start + 5)) if name in classes]
    return {" and ".join(names): names for names in (*modulo, *apart) if names}


def _noisy(workshop: FclWorkshop, classifiers: Mapping[str, nn.Module]) -> list[reports.GalleryEntry]:
    """One test image of every class, under UN and NUN in turn, as the measurements make them."""
    chosen = _one_of_every_class(workshop.test)
    batch = next(batches(chosen, len(chosen), device=workshop.device))
    keys = random.fold(random.keys(NOISE_SEED, batch.index), EVAL_STREAM, 0)
    found = []
    for part, case in enumerate(workshop.noises(chosen)):
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


def _curves(*starts: str) -> Callable[[FclWorkshop, Path], None]:
    """Sensitivity against utility after XE and after FCL, for each start."""

    def save(workshop: FclWorkshop, folder: Path) -> None:
        found, limit = {}, min(_CURVE_IMAGES, workshop.scale.sensitivity_images)
        for start in starts:
            for name, method in (("XE", "supervised"), ("FCL", "fcl")):
                pair = utility_and_sensitivity(
                    workshop.classifier(method, start), workshop.test, limit=limit, device=workshop.device
                )
                found[f"{start}{start and ', '}{name}"] = utility_curve(*pair)
        reports.save_utility_curve(folder, found)

    return save


_PICTURES: Mapping[str, Callable[[FclWorkshop, Path], None]] = {
    "fcl-figures": _figures,
    "fcl-appendix-a": _curves(""),
    "fcl-on-encoders": _curves("hardened", "pretrained"),
}
