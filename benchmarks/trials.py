"""Trials of settings on training images alone: whom they are judged by, and their page."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import machine
from weatherproof.data import ImageSet, load_images
from weatherproof.data.images import at_most
from weatherproof.evaluation import evaluate
from weatherproof.operators import parse
from weatherproof.studies.lab.sets import located
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.scales import Subject

RESULTS = Path(__file__).parents[1] / "docs" / "results"
JUDGES = 3_000  # training images that no training sees

Row = dict[str, Any]


def judges(data: str, subject: Subject) -> ImageSet:
    """Training images, evenly spaced, that the encoders of a subject are not trained on."""
    every = load_images(located(subject.data.text, data), "train", size=subject.size)
    seen = set(at_most(every, subject.train_images).index.tolist())
    return at_most(
        every.subset(torch.tensor([i for i in range(len(every)) if int(every.index[i]) not in seen])), JUDGES
    )


def top1(model: torch.nn.Module, images: ImageSet, operator: str) -> float:
    """Under one draw of a damage."""
    records = evaluate({"model": model}, images, operator=parse(operator), realizations=1, seed=1, metrics=("top1",))
    return records[0].value


def run(
    name: str,
    about: str | None,
    subject: Subject,
    measured: Callable[[Store, ImageSet, int], Iterable[Row]],
    page: Callable[[Mapping[str, Any]], str],
) -> None:
    """The command line of `python -m benchmarks.NAME`: every row as it is found, then docs/results/NAME.{json,md}."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    store = Store(args.store, data=args.data, device=torch.device("cpu"))
    rows = []
    for row in measured(store, judges(args.data, subject), args.seed):
        print(json.dumps(row), flush=True)
        rows.append(row)
    command = f"python -m benchmarks.{name} --data DIR --store STORE --seed {args.seed}"
    found = {"command": command, "machine": machine("cpu"), "seed": args.seed, "rows": rows}
    file = RESULTS / f"{name.replace('_', '-')}.json"
    file.write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(page(found))
