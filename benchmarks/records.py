"""The records of studies, from run folders into docs/results and back.

`keep` puts a finished run into docs/results/FOLDER: its table as STUDY.md, with its pictures as STUDY.png where it
has some, its records and claims as STUDY.json, and then today's claims into all pages. `take` fills a run that was
begun and stopped with the numbers of docs/results, so that only the others are measured: `--rows` says of which rows
nothing has changed since, and whoever takes them answers for that, and says beside the table that they were taken. A
number that the run has over more seeds than were recorded is measured under the others now, and joined.

    python -m benchmarks.records keep RUN FOLDER
    python -m benchmarks.records take RUN --data DIR --store STORE [--rows REGEX]
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import claims
from benchmarks.pictures import keep_pictures
from weatherproof.evaluation import standard_error
from weatherproof.studies import STUDIES
from weatherproof.studies.lab.joins import OverSeeds, at_seeds
from weatherproof.studies.lab.run import CELLS, OF, digest_of
from weatherproof.studies.lab.store import Store
from weatherproof.texts import read_json, read_yaml


def keep(run: Path, folder: Path) -> None:
    """The page and the records of a run."""
    study = _study(run)
    records, checks = read_json(run / "results.json")["records"], read_json(run / "checks.json")
    claims.found_in(STUDIES[study], {"records": records})
    _write(folder / f"{study}.json", {"records": records, "checks": checks})
    page = folder / f"{study}.md"
    page.write_text((run / "table.md").read_text("utf-8"), "utf-8")
    keep_pictures(run, page)
    claims.main()


def take(run: Path, rows: str, data: str, store: Path) -> None:
    """Fills cells.json with those recorded rows that the expression is found in."""
    recipe, shelf = read_yaml(run / "recipe.yaml"), Store(store, data=data, device=torch.device("cpu"))
    study = STUDIES[recipe["study"]]
    scale = at_seeds(study, claims.SCALE, recipe["seed"], recipe.get("seeds", 1))
    found = claims.found_in(study, read_json(claims.files()[study.name]))
    cells, of = (read_json(file) if (file := run / name).is_file() else {} for name in (CELLS, OF))
    for key, own in scale.cells.items():
        if key in found and re.search(rows, key[0]):
            name = " | ".join(key)
            cells[name] = with_all_seeds(own, found[key], shelf) if isinstance(own, OverSeeds) else found[key]
            of[name] = digest_of(own, shelf)
    print(f"{len(cells)} cells stand in {run / CELLS}")
    _write(run / CELLS, cells)
    _write(run / OF, of)


def with_all_seeds(own: OverSeeds, record: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    """A record that has a number under each seed: those that it lacks are measured."""
    recorded = dict(zip(record["seeds"], record.get("samples", [record["value"]]), strict=True))
    trainings = dict(zip(own.seeds, own.trainings, strict=True))
    for seed in trainings.keys() - recorded.keys():
        number = trainings[seed].number(store)
        assert number is not None  # the recorded trainings have one
        print(f"seed {seed} of {record['model']}, {record['operator']}: {number.value:.4g}", flush=True)
        recorded[seed] = number.value
    samples = [recorded[seed] for seed in own.seeds]
    mean, error = sum(samples) / len(samples), standard_error(samples)
    return {**record, "value": mean, "stderr": error, "seeds": list(own.seeds), "samples": samples}


def _study(run: Path) -> str:
    return str(read_yaml(run / "recipe.yaml")["study"])


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    kept, taken = acts.add_parser("keep"), acts.add_parser("take")
    for own in (kept, taken):
        own.add_argument("run", type=Path)
    kept.add_argument("folder", choices=sorted(p.name for p in claims.RESULTS.iterdir() if p.is_dir()))
    taken.add_argument("--data", required=True)
    taken.add_argument("--store", type=Path, required=True)
    taken.add_argument("--rows", default="")
    given = parser.parse_args()
    if given.act == "keep":
        keep(given.run, claims.RESULTS / given.folder)
    else:
        take(given.run, given.rows, given.data, given.store)


if __name__ == "__main__":
    main()
