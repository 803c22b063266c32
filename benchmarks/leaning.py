"""How far hardening leans to severe damage, and how many images it leaves clean: trials on training images alone.

Writes docs/results/leaning.{json,md}; what is measured already is taken from the store.

    python -m benchmarks.leaning --data DIR --store STORE
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.trials import JUDGES, Row, run, top1
from weatherproof.data import ImageSet
from weatherproof.methods import Curriculum, KeepClean
from weatherproof.operators import OneOf, parse
from weatherproof.operators.severe import worst_part
from weatherproof.readouts import Classifier
from weatherproof.studies.lab.recipes import Hardened, plan_of
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import DESK, LEVELS, RESNET, SMALL, Kind

SUBJECT = DESK.subjects[RESNET]
POINT = 0.01

GROWS = Curriculum()


@dataclass(frozen=True)
class Trial:
    """A recipe.

    Attributes:
        parts: how many parts of the images are damaged at any level of the range from none, at those of its upper half,
            of its worst quarter, and of the severe range that the paper trains on.
        clean: share of the images that stay clean.
    """

    parts: tuple[int, int, int, int]
    clean: float = 0.0
    curriculum: Curriculum | None = GROWS

    def operator(self, kind: Kind) -> str:
        """The damage that is trained on."""
        whole, severe = parse(kind.whole), parse(kind.severe)
        parts = (whole, worst_part(whole, 0.5), worst_part(whole, 0.25), severe)
        chosen = [own for own, count in zip(parts, self.parts, strict=True) for _ in range(count)]
        return repr(chosen[0] if len(chosen) == 1 else OneOf(*chosen))

    def recipe(self, kind: Kind, seed: int) -> Hardened:
        """The encoder that it makes."""
        models = Models(SUBJECT, seed)
        return Hardened(
            models.original, models.train, self.operator(kind), plan_of(SUBJECT.plan, seed), augment=SUBJECT.augment,
            keep=KeepClean(self.clean, 0.0) if self.clean else None, curriculum=self.curriculum,
        )  # fmt: skip


SPECIALISTS: Mapping[str, Trial] = {
    "specialist, severe range": Trial((0, 0, 0, 1), curriculum=None),
    "specialist, severe range, growing": Trial((0, 0, 0, 1)),
    "specialist, range from none": Trial((1, 0, 0, 0), curriculum=None),
}
OURS: Mapping[str, Trial] = {
    "a third of the worst quarter, a tenth clean": Trial((2, 0, 1, 0), 0.1),
    "two fifths of the worst quarter": Trial((3, 0, 2, 0)),
    "half of the worst quarter": Trial((1, 0, 1, 0)),
    "a third of the upper half, a third of the worst quarter": Trial((1, 1, 1, 0)),
}


def measured(store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
    """Top-1 of every recipe under every kind, clean and at its four levels."""
    for kind_name, kind in SMALL.items():
        for name, trial in {**SPECIALISTS, **OURS}.items():
            encoder = store.encoder(trial.recipe(kind, seed))
            assert encoder.head is not None
            model = Classifier(encoder, encoder.head)
            operators = {"clean": "Chain()", **dict(zip(LEVELS, kind.levels, strict=True))}
            yield {
                "kind": kind_name,
                "recipe": name,
                "top1": {level: top1(model, images, text) for level, text in operators.items()},
            }


def gaps(rows: list[Row], recipe: str) -> list[float]:
    """Of a recipe, its distance to the best specialist at each level of each kind."""
    top1 = {(row["kind"], row["recipe"]): row["top1"] for row in rows}
    return [
        top1[kind, recipe][level] - max(top1[kind, own][level] for own in SPECIALISTS)
        for kind in dict.fromkeys(row["kind"] for row in rows)
        for level in LEVELS
    ]


def page(found: Mapping[str, Any]) -> str:
    """The tables: what each recipe comes to, and every number."""
    rows = found["rows"]
    lines = [
        "# How far hardening leans to severe damage", "",
        f"{RESNET}, {SUBJECT.train_images:,} training images of CIFAR-10, three epochs, as in "
        f"[all-weather](all-weather/all-weather.md); top-1 under its own head, in per cent, on {JUDGES:,} *other "
        f"training* images, one draw of each damage, training seed {found['seed']}. {len(SPECIALISTS)} "
        f"trainings of specialists and {len(OURS)} of ours for each of {len(SMALL)} kinds of damage; no gate stands "
        "before ours.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        "| recipe of ours | levels within a point of the best specialist | mean distance to it | worst |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for name in OURS:
        own = gaps(rows, name)
        near = sum(gap >= -POINT - 1e-9 for gap in own)  # a point is 30 images: a gap of 30 is within it
        lines.append(f"| {name} | {near} of {len(own)} | {100 * statistics.mean(own):+.2f} | {100 * min(own):+.2f} |")
    lines += ["", f"| | clean | {' | '.join(LEVELS)} |", "|---" * (len(LEVELS) + 2) + "|"]
    lines += [
        f"| {row['kind']}: {row['recipe']} | " + " | ".join(f"{100 * v:.1f}" for v in row["top1"].values()) + " |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("leaning", __doc__, SUBJECT, measured, page)
