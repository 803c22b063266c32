"""The learning rates of `unseen-kinds`, three for hardening and three for each of its rivals, on training images alone.

Writes docs/results/rivals.{json,md}; what is trained already is taken from the store, which is the study's own.

    python -m benchmarks.rivals --data DIR --store STORE
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.trials import Row, run, top1
from weatherproof.data import ImageSet, at_most
from weatherproof.data.images import mixed
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.studies.weather.scales import FAMILIES
from weatherproof.studies.weather.unseen_kinds import Trainings

SUBJECT = FAMILIES["desk"].subject
JUDGES = 1_024  # four batches, as the adaptations meet them
TRAINING, ADAPTING = (1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2)
WITHOUT = "CommonCorruptions(without='noise')"
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "pixelate")  # one of each group, the first never met
SEVERITY = 3


def models(seed: int) -> Iterator[tuple[str, float, Recipe]]:
    """(row, rate, classifier) of every trial."""
    for rate in TRAINING:
        own = Trainings(replace(SUBJECT, plan={**SUBJECT.plan, "lr": rate}), seed)
        yield "hardened on all other kinds", rate, own.hardened(WITHOUT)
        yield "with labels: cross-entropy on all other kinds", rate, own.labelled("supervised", WITHOUT)
        yield "with labels: AugMix consistency", rate, own.labelled("augmix")
    for rate in ADAPTING:
        for steps in (1, 5):
            text = f"Tent(steps={steps}, lr={rate!r})"
            yield f"at test time: TENT, {steps} steps", rate, Trainings(SUBJECT, seed).adapting(text)


def measured(store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
    """Top-1 of every trial, on clean images and under each corruption."""
    judges = mixed(at_most(images, JUDGES), seed)
    operators = {"clean": "Chain()", **{own: f"Corruption({own!r}, {SEVERITY})" for own in CORRUPTIONS}}
    for name, rate, recipe in models(seed):
        model = store.get(recipe)
        found = {column: top1(model, judges, text) for column, text in operators.items()}
        yield {"recipe": name, "lr": rate, "top1": found}


def page(found: Mapping[str, Any]) -> str:
    """The table, trial beside trial of a row."""
    lines = [
        "# The rates of hardening and of its rivals under kinds that were never met", "",
        f"ResNet-20 on {SUBJECT.train_images:,} training images of CIFAR-10, two epochs, as in "
        "[unseen-kinds](all-weather/unseen-kinds.md); trained on all common corruptions but noise. Top-1 in per cent "
        f"on {JUDGES:,} *other training* images, in mixed batches of 256, clean and under one corruption of each group "
        f"at severity {SEVERITY}, seed {found['seed']}. As many trials for each row.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        f"| recipe | rate | clean | {' | '.join(CORRUPTIONS)} | mean of the four |",
        "|---" * (len(CORRUPTIONS) + 4) + "|",
    ]  # fmt: skip
    for row in sorted(found["rows"], key=lambda row: (row["recipe"], row["lr"])):
        four = [row["top1"][own] for own in CORRUPTIONS]
        cells = [row["top1"]["clean"], *four, statistics.mean(four)]
        lines.append(f"| {row['recipe']} | {row['lr']:g} | {' | '.join(f'{100 * own:.1f}' for own in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("rivals", __doc__, SUBJECT, measured, page)
