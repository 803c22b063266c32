"""Measures classifiers under attack, each number with its sanity certificate."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from weatherproof.attacks.described import facts_of
from weatherproof.data import ImageSet, at_most
from weatherproof.evaluation import Record, run_attacks, sanity_certificate
from weatherproof.evaluation.attacks.perturbation import curve_records, levels_of
from weatherproof.evaluation.attacks.robust import accuracy_records
from weatherproof.files import write_atomically
from weatherproof.studies.attack_cells import AttackCell, AttackScale, CertifiedRecord
from weatherproof.studies.pretraining_cells import PretrainingCell
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop, model_name
from weatherproof.studies.store import digest
from weatherproof.texts import read_json

_SAME_SIZE = 1e-9


class AttackWorkshop:
    """The classifiers of one scale, and what attacks make of them.

    Args:
        scale: the settings.
        store: the folder where trained encoders are kept, and beside each what attacks came to, so that a killed study
            goes on.
        data: the folder that ``$DATA`` stands for.
    """

    def __init__(self, scale: AttackScale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.seed, self.device = scale, seed, device
        self.models = PretrainingWorkshop(scale.models, store, data=data, seed=seed, device=device)

    def measure(self, cell: AttackCell) -> CertifiedRecord:
        """The cell's number."""
        found = self.models.store.once((cell.model, cell.attack), lambda: self._attacked(cell.model, cell.attack))
        record = next(r for r in found if r.metric == cell.metric and _same_size(r.severity, cell.size))
        entry = self.certificate(cell.model, cell.attack)
        failed = (check for check in entry["checks"] if not check["passed"])
        named = f"{entry['attack']} on {entry['model']}"
        return CertifiedRecord(record, tuple(f"{named}: {c['claim']} ({c['detail']})" for c in failed))

    def certificates(self, cells: Iterable[AttackCell]) -> list[dict[str, Any]]:
        """One for each attack on each model of these cells."""
        pairs = dict.fromkeys((cell.model, cell.attack) for cell in cells)
        return [self.certificate(*pair) for pair in pairs]

    def certificate(self, model: PretrainingCell, name: str) -> dict[str, Any]:
        """An entry of `reports.save_certificates`; from the store, or made now."""
        file = self._home(model, name) / "certificate.json"

        def find() -> dict[str, Any]:
            if file.is_file():
                kept: dict[str, Any] = read_json(file)
                return kept
            made = self._tried(model, name)
            write_atomically(file, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
            return made

        found: dict[str, Any] = self.models.store.once(file, find)
        return found

    def _tried(self, model: PretrainingCell, name: str) -> dict[str, Any]:
        attack, images = self.scale.attacks[name], self._images(name)
        limit = min(self.scale.certificate_images[name], len(images))
        checks = sanity_certificate(
            self.models.classifier(model), images, attack, name=model_name(model), limit=limit, seed=self.seed,
            device=self.device,
        )  # fmt: skip
        return {"attack": repr(attack), "model": model_name(model), "images": limit, "checks": checks}

    def _attacked(self, model: PretrainingCell, name: str) -> list[Record]:
        attack, called = self.scale.attacks[name], model_name(model)
        levels, about = levels_of(attack), self.models.about(model)
        attacks = facts_of(attack).sweep(levels)
        result = run_attacks(
            {called: self.models.classifier(model)}, self._images(name), attacks, folder=self._home(model, name),
            seed=self.seed, device=self.device,
        )  # fmt: skip
        balls = [] if facts_of(attack).smallest else attacks
        return [
            *accuracy_records(result, [called], balls, **about),
            *curve_records(result, [called], attack, levels, **about),
        ]

    def _images(self, name: str) -> ImageSet:
        return at_most(self.models.sets.test("main"), self.scale.images[name])

    def _home(self, model: PretrainingCell, name: str) -> Path:
        """Where the answers of a model under an attack are kept."""
        scale = self.scale
        settings = (scale.attacks[name], scale.images[name], scale.certificate_images[name], self.seed)
        return self.models.home(model) / f"attacked-{digest(repr(settings))}"


def _same_size(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < _SAME_SIZE
