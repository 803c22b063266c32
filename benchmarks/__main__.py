"""Measure, print and write docs/results/benchmarks*.{json,md}. Limits that are missed are said, not hidden."""

import argparse
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks import page
from benchmarks.measure import machine

ROOMS = (
    "steps",
    "adapters",
    "one_gpu",
    "accumulation",
    "operators",
    "views",
    "pretraining",
    "distributed",
    "sharding",
    "corruptions",
    "augmix",
    "feature_contrast",
    "attacks",
    "finetuning",
    "gauge",
    "embedding",
    "export",
    "memory",
    "shards",
    "startup",
    "loading",
)
RESULTS = Path(__file__).parents[1] / "docs" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rooms", nargs="*", help=f"any of {', '.join(ROOMS)} (default: all); the others stay as they are"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    wanted = arguments.rooms or ROOMS
    if unknown := set(wanted) - set(ROOMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(ROOMS)})")
    file = RESULTS / ("benchmarks.json" if arguments.device == "cpu" else "benchmarks-gpu.json")
    threads = f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} " if "OMP_NUM_THREADS" in os.environ else ""
    found = json.loads(file.read_text()) if file.is_file() else {}
    for room in wanted:
        print(f"measuring {room} ...", flush=True)
        found[room] = {
            "command": f"{threads}python -m benchmarks {room} --device {arguments.device}",
            "machine": machine(arguments.device),
            "rows": [row.to_dict() for row in import_module(f"benchmarks.{room}").run(arguments.device)],
        }
        _write(file, {name: found[name] for name in ROOMS if name in found})
    print(file.with_suffix(".md").read_text())


def _write(file: Path, found: dict[str, Any]) -> None:
    """After every room, so that stopping loses one at most."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(page.render(found))


if __name__ == "__main__":
    main()
