"""Makes what the cells of a hardening study need, once: encoders are kept in a store."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from weatherproof import objectives, operators, restoration, views
from weatherproof.benchmark import COMMON_19
from weatherproof.data import ImageSet, at_most, label_fraction
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.evaluation import Record, cases_on_the_fly, evaluate, evaluate_suite
from weatherproof.evaluation.class_sets import class_fit, head_of
from weatherproof.operators.suites import suite
from weatherproof.protocols import Operator
from weatherproof.readouts import Classifier, OwnHead, Readout, UnitLength, fit_probe, load_readout, save_readout
from weatherproof.studies.sets import Sets
from weatherproof.studies.store import Store, digest
from weatherproof.studies.study import Cell, Scale
from weatherproof.training import RunFolder, harden_encoder, train_classifier

MODELS = {
    "supervised": "supervised",
    "rival-probe": "supervised",
    "probe": "hardened",
    "clean-probe": "hardened",
    "own-head": "hardened",
    "teacher-own-head": "teacher",
    "restored": "restored",
}


class Workshop:
    """The encoders, readouts and images of one scale.

    Args:
        scale: the settings.
        store: the folder where trained encoders are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
    """

    def __init__(self, scale: Scale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.seed, self.device = scale, seed, device
        self.store = Store(store, data=data, seed=seed, device=device)
        self.sets = Sets(
            scale.data, folder=data, size=scale.size, crop_fraction=scale.crop_fraction,
            train_images=scale.train_images,
        )  # fmt: skip

    def measure(self, cell: Cell) -> Record | None:
        """The cell's number; None where this scale has no such data or the encoder no head of its own."""
        if cell.data not in self.scale.data:
            return None
        classifier = self._classifier(cell)
        if classifier is None:
            return None
        restored = cell.kind == "restored"
        test = at_most(self.sets.test(cell.data), self.scale.restored_images if restored else self.scale.test_images)
        if cell.tested_on in COMMON_19:
            return self._corrupted(cell, classifier, test)
        (record,) = evaluate(
            {MODELS[cell.kind]: classifier}, test, operator=self._operator(cell.tested_on),
            realizations=1 if restored else self.scale.realizations, seed=self.seed, metrics=(cell.metric,),
            device=self.device, batch_size=256, readout=_readout(cell), label_fraction=cell.labels,
            trained_on=None if cell.kind in ("restored", "teacher-own-head") else self.scale.damages[cell.trained_on],
        )  # fmt: skip
        return record

    def _corrupted(self, cell: Cell, classifier: nn.Module, test: ImageSet) -> Record:
        """Mean over the five severities of a common corruption; the classifier meets all 19 of them at once."""

        def meet() -> dict[str, Record]:
            found = evaluate_suite(
                classifier, test, cases_on_the_fly(test, suite("common-19")), suite="common-19",
                model=MODELS[cell.kind], seed=self.seed, device=self.device, readout=_readout(cell),
                label_fraction=cell.labels, trained_on=self.scale.damages[cell.trained_on],
            )  # fmt: skip
            return {
                r.corruption: r
                for r in found.records
                if r.corruption in COMMON_19 and r.severity is None and r.metric == cell.metric
            }

        return self.store.once(("suite", replace(cell, tested_on="")), meet)[cell.tested_on]

    # what classifies

    def _classifier(self, cell: Cell) -> nn.Module | None:
        match cell.kind:
            case "supervised":
                encoder, readout = self.rival(cell.trained_on, cell.data, cell.labels)
                return Classifier(encoder, readout.head.to(self.device))
            case "rival-probe":
                encoder, _ = self.rival(cell.trained_on, "main")
                return Classifier(encoder, self._probe(encoder, cell))
            case "probe":
                encoder = self.hardened(cell)
                return Classifier(encoder, self._probe(encoder, cell))
            case "clean-probe":
                return Classifier(UnitLength(self.hardened(cell)), self._clean_probe)
            case "own-head" | "teacher-own-head":
                encoder = self.hardened(cell) if cell.kind == "own-head" else self.teacher
                fit = class_fit(head_of(encoder), self.sets.train(cell.data))
                return fit.classifier(OwnHead(encoder)) if fit.believed and fit.among is None else None
            case "restored":
                assert cell.restoration is not None
                text = self.scale.restoration.get(cell.restoration, cell.restoration)
                return restoration.Restored(
                    restoration.parse(text), Classifier(UnitLength(self.teacher), self._clean_probe)
                )

    def _probe(self, encoder: Encoder, cell: Cell) -> nn.Module:
        """The cell's probe; it is kept beside its encoder, since other studies ask for the same one."""
        settings = repr((cell.trained_on, cell.labels, self.scale.data[cell.data], sorted(self.scale.probe.items())))
        folder = self.store.home(encoder) / f"probe-{digest(settings)}"

        def find() -> nn.Module:
            kept = load_readout(folder)
            if kept is not None:
                return kept.head.to(self.device)
            head = self._fit_probe(encoder, cell)
            folder.mkdir(exist_ok=True)
            readout = Readout(head, self.sets.train(cell.data).classes, label_fraction=cell.labels)
            save_readout(readout, folder, provenance={"settings": settings})
            return head

        return self.store.once(folder, find)

    def _fit_probe(self, encoder: Encoder, cell: Cell) -> nn.Linear:
        train = self.sets.train(cell.data)
        labels = None if cell.labels == 1 else label_fraction(train.labels, cell.labels, self.seed)
        damage: Operator = self._operator(cell.trained_on)
        settings = dict(self.scale.probe)
        if settings.get("mode") == "paper":
            if self.scale.augment:
                damage = operators.Chain(views.parse(self.scale.augment), damage)
            settings["probe_batch_size"] = 128 if cell.labels == 1 else 8  # Appendix D.1
            settings["schedule"] = "constant" if cell.data in ("main", "shift") else "cosine"
        return fit_probe(
            encoder, train, num_classes=len(train.classes), operator=damage, labels=labels, seed=self.seed,
            device=self.device, **settings,
        )  # fmt: skip

    @cached_property
    def _clean_probe(self) -> nn.Linear:
        train = self.sets.train("main")
        return fit_probe(
            UnitLength(self.teacher), train, num_classes=len(train.classes), seed=self.seed, device=self.device
        )

    # encoders, kept in the store

    @cached_property
    def teacher(self) -> Encoder:
        return self._start(self.scale.encoder)

    def hardened(self, cell: Cell) -> Encoder:
        """The student of the cell's damage and objective, trained on the scale's main images."""
        data = "shift" if cell.data == "shift" and self.scale.data["shift"].without else "main"
        recipe = {
            "kind": "hardened", "encoder": self.scale.encoder, "data": repr(self.scale.data[data]),
            "operator": self.scale.damages[cell.trained_on], "objective": cell.objective,
            "plan": repr(self.store.plan(self.scale.plan)), **self._views,
        }  # fmt: skip

        def make(run: RunFolder) -> Encoder:
            student = harden_encoder(
                self.teacher, self.sets.train(data), operator=self._operator(cell.trained_on),
                objective=objectives.parse(cell.objective), plan=self.store.plan(self.scale.plan),
                augment=self._augment, run=run,
            )  # fmt: skip
            save_encoder(student, run.path, provenance=recipe)
            return student

        return self.store.kept(recipe, make, lambda folder: load_encoder(folder))

    def rival(self, damage: str, data: str, labels: float = 1.0) -> tuple[Encoder, Readout]:
        """The supervised baseline, fine-tuned end to end; with fewer labels for as many steps."""
        data = "shift" if data == "shift" and self.scale.data["shift"].without else "main"
        recipe = {
            "kind": "supervised", "encoder": self.scale.rival, "data": repr(self.scale.data[data]),
            "operator": self.scale.damages[damage], "plan": repr(self.store.plan(self.scale.rival_plan)), **self._views,
            **({} if labels == 1 else {"labels": str(labels)}),
        }  # fmt: skip

        def make(run: RunFolder) -> tuple[Encoder, Readout]:
            train, plan = self.sets.train(data), self.store.plan(self.scale.rival_plan)
            if labels < 1:
                whole = max(1, len(train) // plan.batch_size)
                train = train.subset(label_fraction(train.labels, labels, self.seed))
                plan = replace(plan, epochs=plan.epochs * whole / max(1, len(train) // plan.batch_size))
            encoder, head = train_classifier(
                self._start(self.scale.rival), train, plan=plan,
                operator=self._operator(damage), augment=self._augment, run=run,
            )  # fmt: skip
            readout = Readout(head.cpu(), train.classes, "end-to-end", label_fraction=labels)
            save_readout(readout, run.path, provenance=recipe)
            save_encoder(encoder, run.path, provenance=recipe)
            return encoder, readout

        def load(folder: str) -> tuple[Encoder, Readout]:
            readout = load_readout(folder)
            assert readout is not None
            return load_encoder(folder), readout

        return self.store.kept(recipe, make, load)

    def _start(self, text: str) -> Encoder:
        return self.store.start(text, self.scale.size)

    # settings

    def _operator(self, damage: str) -> Operator:
        return operators.parse(self.scale.damages[damage])

    @property
    def _augment(self) -> Operator | None:
        return None if self.scale.augment is None else views.parse(self.scale.augment)

    @property
    def _views(self) -> dict[str, str]:
        scale = self.scale
        return {"augment": str(scale.augment), "size": str(scale.size), "images": str(scale.train_images)}


def _readout(cell: Cell) -> str:
    return {
        "supervised": "end-to-end",
        "rival-probe": "probe",
        "restored": "clean-probe",
        "teacher-own-head": "own-head",
    }.get(cell.kind, cell.kind)
