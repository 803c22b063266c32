"""The learning rates of the small ViT of `all-weather`, chosen on training images alone: two of its pretraining, and
three of hardening it against masks, for the default and for the specialist alike.

Writes docs/results/rates.{json,md}; what is trained already is taken from the store, which is the study's own.

    python -m benchmarks.rates --data DIR --store STORE
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.trials import JUDGES, Row, run, top1
from weatherproof.data import ImageSet
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import DESK, GROWING, LEVELS, ORIGINAL, SEVERE_GROWING, VIT, Subject

SUBJECT = DESK.subjects[VIT]
KIND = SUBJECT.kinds["masks"]
PRETRAINING, HARDENING = (1e-3, 3e-3), (3e-4, 1e-3, 3e-3)


def pretrained(rate: float) -> Subject:
    """With that rate of its pretraining."""
    assert SUBJECT.pretraining is not None
    return replace(SUBJECT, pretraining={**SUBJECT.pretraining, "lr": rate})


def measured(store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
    """Top-1 on clean images after each pretraining; after the best, clean and at every level after each hardening."""
    clean: dict[float, float] = {}
    for rate in PRETRAINING:
        model = store.get(Models(pretrained(rate), seed).classifier(ORIGINAL, KIND))
        clean[rate] = top1(model, images, "Chain()")
        yield {"recipe": "pretraining", "lr": rate, "top1": {"clean": clean[rate]}}
    best = pretrained(max(clean, key=clean.__getitem__))
    operators = {"clean": "Chain()", **dict(zip(LEVELS, KIND.levels, strict=True))}
    for recipe in (SEVERE_GROWING, GROWING):
        for rate in HARDENING:
            subject = replace(best, plan={**best.plan, "lr": rate})
            model = store.get(Models(subject, seed).classifier(recipe, KIND))
            yield {
                "recipe": recipe,
                "lr": rate,
                "top1": {name: top1(model, images, own) for name, own in operators.items()},
            }


def page(found: Mapping[str, Any]) -> str:
    """The table."""
    lines = [
        "# The rates of the small ViT", "",
        f"`{SUBJECT.encoder}`, pretrained by SimCLR on {SUBJECT.train_images:,} training images of CIFAR-10 and "
        "hardened on them against masks, as in [all-weather](all-weather/all-weather.md); top-1 of the pretrained "
        f"encoder's linear probe, in per cent, on {JUDGES:,} *other training* images, one draw of each damage, seed "
        f"{found['seed']}. The specialist has as many trials as the default, which is shown without its gate.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        f"| recipe | rate | clean | {' | '.join(LEVELS)} | mean of the levels |", "|---" * (len(LEVELS) + 4) + "|",
    ]  # fmt: skip
    for row in found["rows"]:
        levels = [row["top1"][level] for level in LEVELS if level in row["top1"]]
        cells = [f"{100 * row['top1']['clean']:.1f}", *(f"{100 * own:.1f}" for own in levels)]
        cells += [f"{100 * statistics.mean(levels):.1f}"] if levels else [""] * (len(LEVELS) + 1)
        lines.append(f"| {row['recipe']} | {row['lr']:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("rates", __doc__, SUBJECT, measured, page)
