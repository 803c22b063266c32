"""What the page of an audit under attack shows of single images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from weatherproof import random
from weatherproof.attacks.described import facts_of
from weatherproof.data import ImageSet, batches, evenly_spaced
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.attacks.trials import reached
from weatherproof.evaluation.class_sets import output_names
from weatherproof.progress import phase
from weatherproof.protocols import Attack
from weatherproof.readouts import evaluating
from weatherproof.reports import AttackExamples, save_attack_images

_COUNT, _MOST = 6, 3  # images, and attacks that are shown


@phase("pictures for the page")
def save_attack_pictures(
    folder: str | Path,
    name: str,
    model: nn.Module,
    images: ImageSet,
    found: Sequence[Attack],
    seed: int,
    device: torch.device,
) -> None:
    """Write `attack_images.safetensors` into a run folder, for its report: a few images, spread evenly over the
    classes, under the first attacks on a classifier, drawn as in the measurement.

    Args:
        images: with labels.
    """
    model.to(device)
    by_class = images.labels.argsort(stable=True)
    places = evenly_spaced(len(images), _COUNT)
    batch = next(batches(images, len(places), order=by_class[places], device=device))
    keys = random.fold(random.keys(seed, batch.index), EVAL_STREAM, 0)
    examples = []
    for attack in found[:_MOST]:
        facts, given = facts_of(attack), attack(model, batch.images, batch.labels, keys)
        size, attacked = reached(facts, given, batch.images), given.nan_to_num()  # what is no image, as it was judged
        with evaluating(model):
            before, after = (model(looks).float().softmax(dim=1).cpu().max(dim=1) for looks in (batch.images, attacked))
        examples.append(
            AttackExamples(
                attack=repr(attack), model=name, norm=facts.norm, classes=output_names(model, images),
                clean=batch.images.cpu(), attacked=attacked.cpu(), labels=batch.labels.cpu(),
                before=before.indices.clone(), after=after.indices.clone(), sure_before=before.values.clone(),
                sure_after=after.values.clone(), size=size.cpu(),
            )
        )  # fmt: skip
    save_attack_images(folder, examples)
