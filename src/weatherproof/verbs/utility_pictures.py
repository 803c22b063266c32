"""What the page of a supervised training shows beside its numbers: what counts in the images, and what is felt."""

from collections.abc import Mapping
from pathlib import Path

import torch

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.utility.curve import utility_curve
from weatherproof.evaluation.utility.examples import utility_examples
from weatherproof.evaluation.utility.means import (
    AnyClassifier,
    affordable,
    class_utility,
    model_and_encoder,
    utility_and_sensitivity,
)
from weatherproof.progress import phase
from weatherproof.reports import save_utility_curve, save_utility_images, save_utility_maps


@phase("pictures for the page")
def save_utility_pictures(
    folder: str | Path,
    classifiers: Mapping[str, AnyClassifier],
    images: ImageSet,
    *,
    k: int,
    sigma: float,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    limit: int = 2000,
    most: int = 20,
    count: int = 6,
    sensitivity_images: int | None = None,
) -> None:
    """Write `utility_maps.safetensors`, `utility_images.safetensors` and `utility_curve.json` into a run folder, for
    its report.

    Args:
        classifiers: by name; the maps and the images are of the last, the plot is of all, the first in grey where
            there are several. Modules with an `encoder`, or (encoder, head); used in evaluation mode, left on `device`.
        images: the test images; those without a label are left out.
        k, sigma: of the noise on the elements of most and of least utility, as trained.
        seed: of the noise.
        limit: the maps are means over at most so many images, evenly spaced.
        most: classes that get a map.
        count: single images.
        sensitivity_images: in the plot; None: as many as take about a minute of a CPU core for each classifier, up to
            16. There is no plot where that is none.

    Raises:
        InputError: no classifier, no image with a label, or images of fewer than k elements.
    """
    if not classifiers:
        raise InputError("expected at least one classifier to look into, got none")
    last = list(classifiers.values())[-1]
    maps = class_utility(last, images, most=most, limit=limit, device=device, batch_size=batch_size, workers=workers)
    save_utility_maps(folder, maps)
    examples = utility_examples(last, images, k=k, sigma=sigma, count=count, seed=seed, device=device)
    save_utility_images(folder, examples)
    curves = {}
    for name, classifier in classifiers.items():
        _, encoder = model_and_encoder(classifier, device)
        if encoder is None:
            continue
        number = affordable(encoder, images, device) if sensitivity_images is None else sensitivity_images
        if number:
            pair = utility_and_sensitivity(classifier, images, limit=number, device=device, workers=workers)
            curves[name] = utility_curve(*pair)
    if curves:
        save_utility_curve(folder, curves)
