"""What clean images may lose to a gate before an encoder with a classifier: limits without labels, judged with labels
on training images. Writes docs/results/gate-promise.{json,md}; what is trained already is taken from the store.

    python -m benchmarks.gate_promise --data DIR --store STORE
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gate_criteria import Judged, every_number
from benchmarks.trials import Row, judges, run
from weatherproof.data import ImageSet, at_most, held_out
from weatherproof.encoders import Encoder, fit_gauge
from weatherproof.encoders.gate_fit import CLEAN_LOST, SHUT, Clean, best_extents, by_answers, observed
from weatherproof.evaluation.class_sets import class_fit, head_of
from weatherproof.operators import parse
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.all_weather import CLEAN, Models
from weatherproof.studies.weather.scales import DESK, GROWING, LEVELS, LITE, RESNET, SQUEEZE

HELD, JUDGES = 500, 1_000  # images on which it opens, and at most on which it is judged
ENCODERS = (RESNET, LITE, SQUEEZE)
KINDS = ("blur", "JPEG", "contrast")  # whose mild levels look like clean images
COLUMNS = (CLEAN, *LEVELS)

Lost = Callable[[Tensor], Tensor]  # of the difference in the original's probability -> what each clean image counts
LIMITS: Mapping[str, tuple[float, Lost]] = {  # a share of the clean images, and what of each counts
    "0.5 % given to the hardened encoder, as before": (0.005, torch.ones_like),
    "0.5 % with another answer": (0.005, torch.sign),
    **{
        f"{100 * share:g} points by the original's probabilities": (share, torch.clone)
        for share in (0.0025, CLEAN_LOST, 0.01)
    },
}


def answers(encoder: Encoder, pixels: Tensor) -> Tensor:
    """What the encoder's own classifier says."""
    logits = encoder.see(pixels, judged=True).logits
    assert logits is not None
    return logits


def least(clean: Clean, share: float, lost: Lost) -> float:
    """The extent from which on the gate may open, by a limit."""
    return replace(clean, lost=lost(clean.lost)).least(0, share)


def measured(store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
    """Top-1 on clean images and at each level behind the gate of every limit, of the original and of the hardened."""
    for name in ENCODERS:
        subject = DESK.subjects[name]
        models = Models(subject, seed)
        train = store.images(models.train)
        own = at_most(images if name == RESNET else judges(str(store.data), subject), JUDGES)
        original = store.encoder(models.original)
        order = class_fit(head_of(original), train).order  # of the outputs that are the images' classes
        labels = own.labels if order is None else torch.tensor(order)[own.labels]
        for kind_name in KINDS:
            kind = subject.kinds[kind_name]
            both = original, store.encoder(models.encoder(GROWING, kind))
            taught, held = held_out(train)
            operator = parse(kind.whole)
            gauge = fit_gauge(taught, operator, preprocessing=original.preprocessing, seed=seed, device=store.device)
            clean, damaged = observed(*both, at_most(held, HELD), operator, gauge, judged=True, seed=seed)
            columns = [
                Judged(both, gauge, own, labels, text, seed + 1, answers, Tensor.clone)
                for text in ("Chain()", *kind.levels)
            ]
            loss = by_answers(clean, damaged)
            ends = {"as it was": SHUT, "hardened": (-2.0, -1.0)} | {
                words: best_extents(clean, damaged, least(clean, *limit), loss) for words, limit in LIMITS.items()
            }
            for words, (low, high) in ends.items():
                top1 = [column.top1(low, high) for column in columns]
                yield {"encoder": name, "kind": kind_name, "limit": words, "low": low, "high": high, "top1": top1}


def page(found: Mapping[str, Any]) -> str:
    """What each limit comes to, and every number."""
    top1 = {(row["encoder"], row["kind"], row["limit"]): row["top1"] for row in found["rows"]}
    cases = list(dict.fromkeys((encoder, kind) for encoder, kind, _ in top1))
    lines = [
        "# What clean images may lose to a gate", "",
        f"{', '.join(ENCODERS)} of [all-weather](all-weather/all-weather.md), hardened as by default against each of "
        f"{len(KINDS)} kinds whose mild levels look like clean images; seed {found['seed']}. On up to {HELD} training "
        "images a gate finds, without a label, the extents between which it opens, and each limit says how far down "
        f"these may begin; judged by the network's own classifier, top-1 in per cent, on up to {JUDGES:,} *other "
        "training* images.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        f"| limit | worst loss on clean images | {' | '.join(f'mean gain, {level}' for level in LEVELS)} |",
        "|---" * (len(LEVELS) + 2) + "|",
    ]  # fmt: skip
    for words in LIMITS:
        gains = [[a - b for a, b in zip(top1[*case, words], top1[*case, "as it was"], strict=True)] for case in cases]
        clean, *levels = zip(*gains, strict=True)
        cells = [f"{min(0.0, 100 * min(clean)):.1f}", *(f"{100 * statistics.mean(level):.1f}" for level in levels)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    lines += every_number(found["rows"], "limit", COLUMNS)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("gate_promise", __doc__, DESK.subjects[RESNET], measured, page)
