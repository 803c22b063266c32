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


def command_line(name: str, about: str | None) -> argparse.ArgumentParser:
    """What every `python -m benchmarks.NAME` takes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def rows_of(
    command: str, given: argparse.Namespace, subject: Subject, measured: Callable[[Store, ImageSet, int], Iterable[Row]]
) -> dict[str, Any]:
    """Every row, said as it is found, and how it was measured."""
    store = Store(given.store, data=given.data, device=torch.device("cpu"))
    rows = []
    for row in measured(store, judges(given.data, subject), given.seed):
        print(json.dumps(row), flush=True)
        rows.append(row)
    whole = f"python -m benchmarks.{command} --data DIR --store STORE --seed {given.seed}"
    return {"command": whole, "machine": machine("cpu"), "seed": given.seed, "rows": rows}


def record_of(name: str) -> Path:
    """Where the results of `python -m benchmarks.NAME` are."""
    return RESULTS / f"{name.replace('_', '-')}.json"


def write(name: str, found: Mapping[str, Any], page: Callable[[Mapping[str, Any]], str]) -> None:
    """Into docs/results/NAME.{json,md}."""
    file = record_of(name)
    file.write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(page(found))


def run(
    name: str,
    about: str | None,
    subject: Subject,
    measured: Callable[[Store, ImageSet, int], Iterable[Row]],
    page: Callable[[Mapping[str, Any]], str],
) -> None:
    """The whole of `python -m benchmarks.NAME`."""
    write(name, rows_of(name, command_line(name, about).parse_args(), subject, measured), page)
