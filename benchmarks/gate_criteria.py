"""By what a gate before an encoder without a classifier should open: criteria without labels, judged with labels on
training images. Writes docs/results/gate-criteria.{json,md}; what is trained already is taken from the store.

    python -m benchmarks.gate_criteria --data DIR --store STORE
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.trials import Row, run
from weatherproof import random
from weatherproof.data import ImageSet, at_most, batches, held_out
from weatherproof.encoders import Encoder, Gauge, fit_gauge
from weatherproof.encoders.gate import opened
from weatherproof.encoders.gate_fit import (
    NEARNESS,
    SHUT,
    TEMPERATURE,
    Clean,
    Damaged,
    Loss,
    best_extents,
    by_neighbours,
    observed,
)
from weatherproof.modes import evaluating
from weatherproof.operators import parse
from weatherproof.readouts import Classifier
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import DESK, GROWING, KINDS, LEVELS, ORIGINAL, TINY, VIT

HELD, JUDGES = 500, 1_500  # images on which it opens, and at most on which it is judged
ENCODERS = (TINY, VIT)

Criterion = Callable[[Clean, Damaged], Loss]


def by_contrast(clean: Clean, damaged: Damaged, nearness: float) -> Loss:
    """The contrastive loss of hardening, and nearness (1 - mean cosine)."""

    def loss(cosines: Tensor, share: Tensor) -> float:
        far = 1 - cosines.gather(1, damaged.image[:, None]).mean()
        return float(F.cross_entropy(cosines / TEMPERATURE, damaged.image) + nearness * far)

    return loss


CRITERIA: Mapping[str, Criterion] = {
    "contrastive loss": partial(by_contrast, nearness=0.0),
    "contrastive loss + 6 (1 - cosine), as before": partial(by_contrast, nearness=6.0),
    "1 - cosine": partial(by_neighbours, nearness=1e6),
    "neighbours lost": partial(by_neighbours, nearness=0.0),
    **{
        f"neighbours lost + {weight:g} (1 - cosine)": partial(by_neighbours, nearness=weight)
        for weight in (1.0, 1.5, 2.0, NEARNESS, 3.0, 4.0)
    },
}


class Judged:
    """What both encoders make of images under one damage.

    Args:
        labels: of the images, as the answers have them.
        see: what is blended of an encoder and images: embeddings, or answers.
        answer: from what is blended.
    """

    def __init__(
        self, both: Sequence[Encoder], gauge: Gauge, images: ImageSet, labels: Tensor, operator: str, seed: int,
        see: Callable[[Encoder, Tensor], Tensor], answer: Callable[[Tensor], Tensor],
    ) -> None:  # fmt: skip
        self.labels, self.answer = labels, answer
        parts, damage = list[tuple[Tensor, ...]](), parse(operator)
        with evaluating(*both, gauge), torch.inference_mode():
            for batch in batches(images, 256):
                pixels = damage(batch.images, random.keys(seed, batch.index))
                reading = gauge(pixels)
                parts.append((reading.extent, reading.beyond, *(see(own, pixels) for own in both)))
        self.extent, self.beyond, self.original, self.hardened = map(torch.cat, zip(*parts, strict=True))

    @torch.inference_mode()
    def top1(self, low: float, high: float) -> float:
        """Behind a gate that opens from low to high."""
        share = opened(self.extent, self.beyond, torch.tensor(low), torch.tensor(high))[:, None]
        answers = self.answer(torch.lerp(self.original, self.hardened, share))
        return float((answers.argmax(dim=1) == self.labels).double().mean())


def embeddings(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Not normalised, as a gate blends them."""
    return encoder(pixels)


def by_probe(head: torch.nn.Module, blended: Tensor) -> Tensor:
    """The logits of a probe on embeddings of unit length."""
    logits: Tensor = head(F.normalize(blended, dim=1))
    return logits


def every_number(rows: Sequence[Row], of: str, columns: Sequence[str]) -> list[str]:
    """The lines of a table of top-1: each row's encoder, kind and what `of` says of it."""
    lines = ["", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = " | ".join(f"{100 * value:.1f}" for value in row["top1"])
        lines.append(f"| {row['encoder']}, {row['kind']}: {row[of]} | {cells} |")
    return lines


def measured(store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
    """Top-1 at each level behind the gate of every criterion, and of the original, whose gate is shut."""
    for name in ENCODERS:
        models = Models(DESK.subjects[name], seed)
        train = store.images(models.train)
        judges = at_most(images if name == VIT else train, JUDGES)
        for kind_name, kind in models.subject.kinds.items():
            both = store.encoder(models.original), store.encoder(models.encoder(GROWING, kind))
            probe = store.get(models.classifier(ORIGINAL, kind))
            assert isinstance(probe, Classifier)
            taught, held = held_out(train)
            operator, preprocessing = parse(kind.whole), both[0].preprocessing
            gauge = fit_gauge(taught, operator, preprocessing=preprocessing, seed=seed, device=store.device)
            clean, damaged = observed(*both, at_most(held, HELD), operator, gauge, judged=False, seed=seed)
            answer = partial(by_probe, probe.head)
            levels = [
                Judged(both, gauge, judges, judges.labels, text, seed + 1, embeddings, answer) for text in kind.levels
            ]
            ends = {"as it was": SHUT} | {
                own: best_extents(clean, damaged, clean.least(0), criterion(clean, damaged))
                for own, criterion in CRITERIA.items()
            }
            for own, (low, high) in ends.items():
                top1 = [level.top1(low, high) for level in levels]
                yield {"encoder": name, "kind": kind_name, "criterion": own, "low": low, "high": high, "top1": top1}


def page(found: Mapping[str, Any]) -> str:
    """What each criterion comes to, and every number."""
    top1 = {(row["encoder"], row["kind"], row["criterion"]): row["top1"] for row in found["rows"]}
    cases = [(name, kind) for name in ENCODERS for kind in KINDS]
    lines = [
        "# By what a gate without a classifier opens", "",
        "The demo's CNN on digits and the small ViT on CIFAR-10 of [all-weather](all-weather/all-weather.md), hardened "
        f"as by default against each of {len(KINDS)} kinds; seed {found['seed']}. On {HELD} training images (of the "
        "digits all that are held out) each criterion takes, without a label, the extents between which a gate opens; "
        f"judged by the original's probe, top-1 in per cent, on up to {JUDGES:,} training images, of the ViT others "
        "than it was trained on. Four levels of each kind, from mild to severe. A loss is against the original.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        "| criterion | mean of the levels | worst loss at a level | levels that lose half a point |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for own in CRITERIA:
        gains = [a - b for case in cases for a, b in zip(top1[*case, own], top1[*case, "as it was"], strict=True)]
        mean = statistics.mean(value for case in cases for value in top1[*case, own])
        lost = sum(gain < -0.005 for gain in gains)
        lines.append(f"| {own} | {100 * mean:.2f} | {min(0, 100 * min(gains)):.1f} | {lost} of {len(gains)} |")
    lines += every_number(found["rows"], "criterion", LEVELS)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("gate_criteria", __doc__, DESK.subjects[VIT], measured, page)
