"""How the settings of the demo and of desk scale were chosen: on images cut from the training set, the same number of
configurations for ours and for the rival, with seeds that no result reports. Writes docs/results/settings.{json,md}.

    python -m benchmarks.settings demo
    python -m benchmarks.settings desk --data DIR
    python -m benchmarks.settings transfer --data DIR
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measure import machine
from weatherproof import operators, views
from weatherproof.data import ImageSet, label_fraction, load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.evaluation import evaluate
from weatherproof.objectives import StudentTeacher
from weatherproof.protocols import Operator
from weatherproof.readouts import Classifier, Logistic, fit_probe
from weatherproof.studies.lab.sets import located
from weatherproof.studies.papers.contrastive_inversion.scales import DESK, DESK_TRANSFER, Hardening
from weatherproof.training import Plan, harden_encoder, pretrain_encoder, train_classifier
from weatherproof.verbs.demo import tasks as demo_tasks

RESULTS = Path(__file__).parents[1] / "docs" / "results"
Row = dict[str, Any]
NOISY = operators.GaussianNoise((0.0, 0.3))
MASKS = demo_tasks.MASKS
DRAWS = {0.02: 64, 0.1: 32, 1.0: 16}  # of each labelled image: few images, warped, need more of them
PROBED = {"look": "warp+noise", "teacher_temperature": 0.5, "teacher_lr": 1e-2, "temperature": 0.5, "lr": 2.4e-2}


def split(train: ImageSet, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Four fifths to learn from and the rest to choose by, with the same share of every class."""
    labelled = label_fraction(train.labels, 0.8, seed)
    left = torch.ones(len(train), dtype=torch.bool)
    left[labelled] = False
    return train.subset(labelled), train.subset(left.nonzero().flatten())


def accuracy(model: nn.Module, images: ImageSet, damages: tuple[Operator, ...], seed: int) -> float:
    """Mean top-1 over the damages, one draw each."""
    records = [evaluate({"model": model}, images, operator=d, realizations=1, seed=seed) for d in damages]
    return statistics.mean(r.value for found in records for r in found if r.metric == "top1")


def demo(seeds: tuple[int, ...], measured: Callable[[Row], bool]) -> Iterator[Row]:
    """Digits, masks: twenty trainings a side. For each fraction of the labels ours chooses the penalty of its probe (of
    the best training also what its labelled images go through), the rival its augmentation, rate and weight decay."""
    whole = load_images("digits", "train")
    looks: dict[str, Operator] = {"warp": demo_tasks.WARP, "warp+noise": views.Chain(demo_tasks.WARP, NOISY)}
    augments: dict[str, Operator | None] = {"none": None, "mild warp": demo_tasks.MILD_WARP, **looks}
    ours = [
        *({"look": look, "teacher_temperature": 0.5, "teacher_lr": 4e-3, "temperature": t, "lr": lr}
          for look, t, lr in product(looks, (0.2, 0.5), (3e-3, 6e-3, 1.2e-2))),
        *({"look": "warp+noise", "teacher_temperature": t, "teacher_lr": teacher_lr, "temperature": 0.5, "lr": lr}
          for t, teacher_lr, lr in product((0.2, 0.5), (4e-3, 1e-2), (1.2e-2, 2.4e-2))
          if (t, teacher_lr, lr) != (0.5, 4e-3, 1.2e-2)),
        {"look": "warp+noise", "teacher_temperature": 0.5, "teacher_lr": 4e-3, "temperature": 1.0, "lr": 1.2e-2},
    ]  # fmt: skip
    rival = [
        *({"augment": name, "lr": lr, "weight_decay": 0.0}
          for name, lr in product(augments, (3e-3, 6e-3, 1.2e-2, 2.4e-2))),
        *({"augment": name, "lr": 1.2e-2, "weight_decay": 1e-4} for name in augments),
    ]  # fmt: skip
    assert len(ours) == len(rival)
    for seed in seeds:
        train, held = split(whole, seed)
        teachers: dict[tuple[Any, ...], Encoder] = {}
        for settings in ours:
            probed = ("none", "mild warp", "warp") if settings == PROBED else ("none",)
            wanted = [
                {"side": "ours", "labels": fraction, "augment": name, "l2": l2, "seed": seed, **settings}
                for fraction, name, l2 in product(MASKS.fractions, probed, (1e-3, 1e-2))
            ]
            if all(map(measured, wanted)):
                continue
            which = (settings["look"], settings["teacher_temperature"], settings["teacher_lr"])
            if which not in teachers:
                teachers[which] = pretrain_encoder(
                    demo_tasks.fresh(seed), train, views=views.Twice(looks[which[0]]), temperature=which[1],
                    plan=replace(demo_tasks.teacher_plan(seed), lr=which[2]), progress=False,
                )  # fmt: skip
            student = harden_encoder(
                teachers[which], train, operator=MASKS.trained_on, objective=StudentTeacher(settings["temperature"]),
                plan=replace(demo_tasks.student_plan(seed), lr=settings["lr"]), progress=False,
            )  # fmt: skip
            for row in wanted:
                augment = augments[row["augment"]]
                probe = fit_probe(
                    student, train, num_classes=10, seed=seed,
                    operator=operators.Chain(augment, MASKS.trained_on) if augment else MASKS.trained_on,
                    fit=Logistic(DRAWS[row["labels"]] if augment else 16, row["l2"]),
                    labels=label_fraction(train.labels, row["labels"], seed),
                )  # fmt: skip
                yield {**row, "top1": accuracy(Classifier(student, probe), held, MASKS.tested_on, seed)}
        for settings, fraction in product(rival, MASKS.fractions):
            row = {"side": "rival", "labels": fraction, "seed": seed, **settings}
            if measured(row):
                continue
            labelled = demo_tasks.filled(train, label_fraction(train.labels, fraction, seed))
            plan = replace(demo_tasks.student_plan(seed), lr=settings["lr"], weight_decay=settings["weight_decay"])
            encoder, head = train_classifier(
                demo_tasks.fresh(seed), labelled, plan=plan, operator=MASKS.trained_on,
                augment=augments[settings["augment"]], progress=False,
            )  # fmt: skip
            yield {**row, "top1": accuracy(Classifier(encoder, head), held, MASKS.tested_on, seed)}


def desk(seeds: tuple[int, ...], measured: Callable[[Row], bool], data: str) -> Iterator[Row]:
    """CIFAR-10, 75 % of the pixels missing, one pass: three learning rates and two batch sizes a side."""
    return searched(DESK, seeds, measured, data, batches=(128, 256), rates=(1e-3, 3e-3, 1e-2))


def transfer(seeds: tuple[int, ...], measured: Callable[[Row], bool], data: str) -> Iterator[Row]:
    """Imagenette at 96 px, EfficientNet-Lite0, 75 % of the pixels missing, two passes: three learning rates a side."""
    return searched(DESK_TRANSFER, seeds, measured, data, batches=(64,), rates=(3e-4, 1e-3, 3e-3))


def searched(
    scale: Hardening, seeds: tuple[int, ...], measured: Callable[[Row], bool], data: str, *, batches: tuple[int, ...],
    rates: tuple[float, ...],
) -> Iterator[Row]:  # fmt: skip
    """Trainings of both sides on the images and with the plan of a scale."""
    whole = load_images(located(scale.data["main"].text, data), "train", size=scale.size)
    damage, flip = operators.RandomMask(0.75), views.HorizontalFlip()
    start: Encoder = load_encoder(located(scale.encoder, data), size=scale.size)
    for seed in seeds:
        train, held = split(whole, seed)
        for batch_size, lr in product(batches, rates):
            plan = replace(Plan(**scale.plan), batch_size=batch_size, lr=lr, seed=seed, device="cpu")
            settings = {"batch_size": batch_size, "lr": lr, "seed": seed}
            rival, ours = {"side": "rival", "labels": 1.0, **settings}, {"side": "ours", "labels": 0.1, **settings}
            if not measured(rival):
                encoder, head = train_classifier(start, train, plan=plan, operator=damage, augment=flip, progress=False)
                yield {**rival, "top1": accuracy(Classifier(encoder, head), held, (damage,), seed)}
            if not measured(ours):
                student = harden_encoder(
                    start, train, operator=damage, objective=StudentTeacher(), plan=plan, augment=flip, progress=False
                )
                labels = label_fraction(train.labels, 0.1, seed)
                probe = fit_probe(
                    student, train, num_classes=10, fit=Logistic(2), operator=damage, labels=labels, seed=seed
                )
                yield {**ours, "top1": accuracy(Classifier(student, probe), held, (damage,), seed)}


SEARCHES = {"desk": desk, "transfer": transfer}


def summary(rows: list[Row]) -> list[Row]:
    """One row a side, fraction of labels and configuration: mean over the seeds, the best first."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple((k, v) for k, v in sorted(row.items()) if k not in ("seed", "top1"))
        groups.setdefault(key, []).append(row)
    means = [{**dict(key), "top1": statistics.mean(r["top1"] for r in found), "seeds": len(found)}
             for key, found in groups.items()]  # fmt: skip
    return sorted(means, key=lambda r: (r["side"], r["labels"], -r["top1"]))


def page(found: dict[str, Any]) -> str:
    """The tables, best first."""
    parts = [
        "# How the settings were chosen",
        "By top-1 accuracy (mean over the damages, in per cent) on a fifth of the *training* images, learnt from the "
        "rest; as many configurations for ours as for the supervised rival; the seeds are none of those that results "
        "report.",
    ]
    for name, part in found.items():
        parts.append(
            f"## {name.capitalize()}\n\n{part['about']}\n\n`{part['command']}`, {part['machine']['processor']}."
        )
        for side in ("ours", "rival"):
            means = [r for r in summary(part["rows"]) if r["side"] == side]
            columns = [k for k in means[0] if k not in ("side", "top1", "labels", "seeds")]
            head = ["labels", *(c.replace("_", " ") for c in columns), "top-1", "seeds"]
            lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
            for r in means:
                cells = [f"{r['labels']:.0%}", *(f"{r[c]}" for c in columns), f"{100 * r['top1']:.2f}", f"{r['seeds']}"]
                lines.append(f"| {' | '.join(cells)} |")
            parts.append(f"### {side.capitalize()}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settings", description=__doc__)
    parser.add_argument("which", choices=("demo", *SEARCHES))
    parser.add_argument("--data", default="data")
    parser.add_argument("--seeds", type=int, nargs="+", default=None)
    arguments = parser.parse_args()
    data = arguments.which in SEARCHES
    seeds = tuple(arguments.seeds or ((100, 101, 102) if arguments.which == "demo" else (100,)))
    file = RESULTS / "settings.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    rows: list[Row] = found.get(arguments.which, {}).get("rows", [])
    known = {_key(row) for row in rows}

    def measured(row: Row) -> bool:
        return _key(row) in known

    search = SEARCHES[arguments.which](seeds, measured, arguments.data) if data else demo(seeds, measured)
    for row in search:
        print(json.dumps(row), flush=True)
        rows.append(row)
    found = json.loads(file.read_text()) if file.is_file() else {}  # the other search may have ended meanwhile
    about = (SEARCHES[arguments.which] if data else demo).__doc__ or ""
    found[arguments.which] = {
        "about": " ".join(about.split()),
        "command": f"python -m benchmarks.settings {arguments.which}" + " --data DIR" * data,
        "machine": machine("cpu"), "rows": rows,
    }  # fmt: skip
    file.write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(page(found))


def _key(row: Row) -> tuple[tuple[str, Any], ...]:
    return tuple((k, v) for k, v in sorted(row.items()) if k != "top1")


if __name__ == "__main__":
    main()
