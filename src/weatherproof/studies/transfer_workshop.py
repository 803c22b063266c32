"""Measures the cells of a study of fine-tuning: on clean, attacked and corrupted images."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from weatherproof import attacks
from weatherproof.benchmark import COMMON_15
from weatherproof.data import CorruptedImages, ImageSet, at_most, load_images
from weatherproof.evaluation import (
    Case,
    Record,
    SuiteResult,
    cases_of_parts,
    cases_on_the_fly,
    evaluate_suite,
    protocol_hash,
    robust_accuracy,
    sanity_certificate,
)
from weatherproof.files import write_atomically
from weatherproof.operators.suites import suite
from weatherproof.reports.training.search import regularizer_words
from weatherproof.studies.attack_cells import CertifiedRecord
from weatherproof.studies.sets import located
from weatherproof.studies.store import digest
from weatherproof.studies.transfer_cells import EVERY, TransferCell, TransferScale
from weatherproof.studies.transfer_trainings import TransferTrainings
from weatherproof.texts import read_json

_METRICS = {  # what a suite's records call a cell's number
    "corrupted": "mca",
    "calibration_error": "mean_rms_calibration_error",
    "pooled_calibration_error": "rms_calibration_error",
}
Number = Record | CertifiedRecord


class TransferWorkshop:
    """The numbers of one scale.

    Args:
        scale: the settings.
        store: the folder where trained encoders and, beside each, what was measured of it are kept, so that a killed
            study goes on.
        data: the folder that ``$DATA`` stands for.
    """

    def __init__(self, scale: TransferScale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.seed, self.device, self.folder = scale, seed, device, data
        self.trainings = TransferTrainings(scale, store, data=data, seed=seed, device=device)

    def measure(self, cell: TransferCell) -> Number | None:
        """The cell's number; None where this scale has no such data, or the start knows its labels."""
        if cell.data == EVERY:
            found = [self.measure(replace(cell, data=name)) for name in self.scale.data]
            kept = [number for number in found if number is not None]
            return mean_of(kept) if len(kept) == len(found) else None
        if not self._has(cell):
            return None
        if cell.attack is not None:
            return self._attacked(cell)
        if cell.metric == "top1":
            return self._kept(cell, ("clean", self.scale.test_images), lambda: self._clean(cell))[0]
        numbers = ("corrupted", self.scale.suite_images, self.scale.severities, self.scale.corrupted.get(cell.data))
        records = self._kept(cell, numbers, lambda: self._corrupted(cell))
        return next(record for record in records if record.metric == _METRICS[cell.metric])

    def facts(self, cells: Iterable[TransferCell]) -> dict[str, str]:
        """What the validation splits chose, by model."""
        chosen: dict[str, dict[str, str]] = {}
        for cell in cells if self.scale.search else ():
            written = cell.as_written and cell.regularizers  # nothing but the rate, which is that of none
            if self._has(cell) and not (cell.adversarial or written) and cell.alpha > 0:
                setting = self.trainings.setting(cell)
                words = [f"lr {setting.lr:g}", *(regularizer_words(repr(r)) for r in setting.regularizers)]
                chosen.setdefault(model_name(replace(cell, alpha=1.0)), {})[cell.data] = ", ".join(words)
        return {
            f"chosen, {model}": "; ".join(f"{data}: {words}" for data, words in own.items())
            for model, own in chosen.items()
        }

    def _has(self, cell: TransferCell) -> bool:
        return cell.data in self.scale.data and cell.data not in self.scale.known.get(cell.start, ())

    def _clean(self, cell: TransferCell) -> list[Record]:
        found = self._met(cell, self._test(cell, self.scale.test_images), [Case()])
        return [record for record in found.records if record.metric == "top1"]

    def _corrupted(self, cell: TransferCell) -> list[Record]:
        """Of the whole suite."""
        test, cases = self._suite(cell)
        found = self._met(cell, test, cases)
        whole = "common-15" if self.scale.severities == (1, 2, 3, 4, 5) else "all"
        return [r for r in found.records if r.corruption == whole and r.metric in _METRICS.values()]

    def _suite(self, cell: TransferCell) -> tuple[ImageSet, list[Case]]:
        made = self.scale.corrupted.get(cell.data)
        conditions = [c for c in suite("common-15") if c.severity in self.scale.severities]
        if made is None:
            test = self._test(cell, self.scale.suite_images)
            return test, cases_on_the_fly(test, conditions)
        images = load_images(located(made, self.folder), "test", size=self.scale.size)
        assert isinstance(images, CorruptedImages)
        return images, cases_of_parts(images.parts, COMMON_15)

    def _met(self, cell: TransferCell, test: ImageSet, cases: list[Case]) -> SuiteResult:
        return evaluate_suite(
            self.trainings.classifier(cell), test, cases, model=model_name(cell), seed=self.seed, device=self.device,
            readout=_readout(cell),
        )  # fmt: skip

    def certificates(self, cells: Iterable[TransferCell]) -> list[dict[str, Any]]:
        """One for each attack, over all classifiers of these cells: a point holds where it does for all of them."""
        there = [cell for cell in cells if cell.attack is not None and cell.data != EVERY]
        entries = [self._under_attack(cell)["certificate"] for cell in there if self._has(cell)]
        return [
            joint([e for e in entries if e["attack"] == own]) for own in dict.fromkeys(e["attack"] for e in entries)
        ]

    def _attacked(self, cell: TransferCell) -> CertifiedRecord:
        found = self._under_attack(cell)
        entry = found["certificate"]
        named = f"{entry['attack']} on {entry['model']}"
        failed = tuple(f"{named}: {c['claim']} ({c['detail']})" for c in entry["checks"] if not c["passed"])
        return CertifiedRecord(_record(found["record"], cell), failed)

    def _under_attack(self, cell: TransferCell) -> dict[str, Any]:
        """The record and the certificate of the cell's attack."""
        attack, images = attacks.parse(str(cell.attack)), self._test(cell, self.scale.attack_images)
        limit = min(self.scale.certificate_images, len(images))

        def measure() -> dict[str, Any]:
            name, classifier = model_name(cell), self.trainings.classifier(cell)
            _, record = robust_accuracy(
                {name: classifier}, images, attack, readout=_readout(cell), seed=self.seed,
                device=self.device,
            )  # fmt: skip
            checks = sanity_certificate(
                classifier, images, attack, name=name, limit=limit, seed=self.seed, device=self.device
            )
            entry = {"attack": repr(attack), "images": limit, "checks": checks}
            return {"record": record.to_dict(), "certificate": entry}

        found = self._file(cell, (repr(attack), self.scale.attack_images, limit), measure)
        return {**found, "certificate": {**found["certificate"], "model": f"{model_name(cell)}, {cell.data}"}}

    def _test(self, cell: TransferCell, most: int | None) -> ImageSet:
        return at_most(self.trainings.sets.test(cell.data), most)

    # what was measured before

    def _kept(self, cell: TransferCell, numbers: tuple[Any, ...], make: Callable[[], list[Record]]) -> list[Record]:
        found = self._file(cell, numbers, lambda: {"records": [record.to_dict() for record in make()]})
        return [_record(record, cell) for record in found["records"]]

    def _file(self, cell: TransferCell, numbers: tuple[Any, ...], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gave, beside the classifier that it is of."""
        scale = self.scale
        key: tuple[Any, ...] = (numbers, cell.data, scale.data[cell.data], scale.size, self.seed)
        key += (cell.alpha, sorted(scale.probe.items())) if cell.alpha < 1 else ()
        file = self.trainings.home(cell) / f"measured-{digest(repr(key))}.json"

        def find() -> dict[str, Any]:
            if not file.is_file():
                write_atomically(file, json.dumps(make(), ensure_ascii=False) + "\n")
            kept: dict[str, Any] = read_json(file)
            return kept

        found: dict[str, Any] = self.trainings.store.once(file, find)
        return found


def _record(kept: dict[str, Any], cell: TransferCell) -> Record:
    """Under the cell's own name: another study may have measured the same classifier."""
    return Record(**{**kept, "seeds": tuple(kept["seeds"]), "model": model_name(cell)})


def joint(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several classifiers' certificates of one attack as one: a failed point says of whom."""
    checks = []
    for place, check in enumerate(entries[0]["checks"]):
        lost = [f"{e['model']} ({e['checks'][place]['detail']})" for e in entries if not e["checks"][place]["passed"]]
        told = (
            f"fails for {len(lost)} of {len(entries)}: {'; '.join(lost)}" if lost else f"holds for all {len(entries)}"
        )
        checks.append({"claim": check["claim"], "passed": not lost, "detail": told})
    images = min(e["images"] for e in entries)
    return {"attack": entries[0]["attack"], "model": f"{len(entries)} classifiers", "images": images, "checks": checks}


def mean_of(numbers: Iterable[Number]) -> Number:
    """The mean over data sets, with the standard error of independent sets, and all failed points."""
    numbers = list(numbers)
    records = [n.record if isinstance(n, CertifiedRecord) else n for n in numbers]
    errors = [r.stderr for r in records if r.stderr is not None]
    whole = replace(
        records[0], value=sum(r.value for r in records) / len(records), data=f"mean of {len(records)} data sets",
        stderr=math.sqrt(sum(e * e for e in errors)) / len(records) if len(errors) == len(records) else None,
        images=sum(r.images for r in records), protocol=protocol_hash(parts=[r.protocol for r in records]),
    )  # fmt: skip
    failed = [point for n in numbers if isinstance(n, CertifiedRecord) for point in n.failed]
    return CertifiedRecord(whole, tuple(failed)) if isinstance(numbers[0], CertifiedRecord) else whole


def model_name(cell: TransferCell) -> str:
    """What records call the classifier: "URRL, SR", "MoCo v2, alpha 0.5", "adversarial training"."""
    if cell.adversarial:
        return "adversarial training"
    told = {"SimilarityMatrix": "SR", "L2SP": "L2-SP", "InputGradient": "Tikhonov"}
    kinds = [text if cell.as_written else told[text.partition("(")[0]] for text in cell.regularizers]
    return ", ".join([cell.start, *kinds, *([f"alpha {cell.alpha:g}"] if cell.alpha < 1 else [])])


def _readout(cell: TransferCell) -> str:
    return "end-to-end" if cell.alpha == 1 else "probe"
