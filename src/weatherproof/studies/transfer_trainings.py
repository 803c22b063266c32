"""Trains what the cells of a study of fine-tuning need, once: encoders and chosen settings are kept in a store."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weatherproof import attacks, objectives, operators, views
from weatherproof.data import ImageSet, batches
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.evaluation.finetune_search import FILE, Search, Setting
from weatherproof.objectives import InputGradient, Regularizer, parse_regularizer
from weatherproof.protocols import Operator
from weatherproof.readouts import Classifier, Readout, finetune_encoder, fit_probe, save_readout
from weatherproof.studies.pretraining_cells import PretrainingCell
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop
from weatherproof.studies.sets import Sets
from weatherproof.studies.store import Store, load_classifier
from weatherproof.studies.transfer_cells import (
    ADVERSARIAL,
    HARDENED,
    MOCO,
    RANDOM,
    SUPERVISED,
    TransferCell,
    TransferScale,
)
from weatherproof.texts import read_json
from weatherproof.training import Plan, RunFolder, harden_encoder, train_classifier
from weatherproof.training.plan import Course


class TransferTrainings:
    """The classifiers of one scale and the images that they are trained on.

    Args:
        scale: the settings.
        store: the folder where they are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
    """

    def __init__(self, scale: TransferScale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.seed, self.device = scale, seed, device
        self.store = Store(store, data=data, seed=seed, device=device)
        self.pretraining = PretrainingWorkshop(scale.pretraining, store, data=data, seed=seed, device=device)
        self.sets = Sets(scale.data, folder=data, size=scale.size, channels=scale.pretraining.channels or 3)

    def classifier(self, cell: TransferCell) -> nn.Module:
        """The fine-tuned encoder with its classifier; between start and end with one fitted anew."""
        if cell.alpha == 1:
            return Classifier(*self.finetuned(cell)).to(self.device)
        start, train = self.start(cell.start), self.sets.train(cell.data)
        encoder = start if cell.alpha == 0 else between(start, self.finetuned(cell)[0], cell.alpha, train, self.device)
        head = fit_probe(
            encoder, train, num_classes=len(train.classes), seed=self.seed, device=self.device, **self.scale.probe
        )
        return Classifier(encoder, head).to(self.device)

    def home(self, cell: TransferCell) -> Path:
        """The folder of the fine-tuned encoder, or of its start where alpha is 0."""
        if cell.alpha == 0:
            self.start(cell.start)
            return self._folder(cell.start)
        return self.store.home(self.finetuned(cell)[0])

    # fine-tuning

    def finetuned(self, cell: TransferCell) -> tuple[Encoder, nn.Module]:
        """The start and a new linear classifier, trained together."""
        start, train = self.start(cell.start), self.sets.train(cell.data)
        setting = Setting(self.scale.plan["lr"], ()) if cell.adversarial else self.setting(cell)
        plan = self._plan(cell, train)
        plan = plan if cell.adversarial else replace(plan, lr=setting.lr)
        recipe = {
            "kind": "adversarial" if cell.adversarial else "transferred", "start": self._text(cell.start),
            "regularizers": repr(setting.regularizers), "plan": repr(plan), **self._images_of(cell),
        }  # fmt: skip

        def make(run: RunFolder) -> tuple[Encoder, nn.Module]:
            if cell.adversarial:
                encoder, head = train_classifier(
                    start, train, plan=plan, method="adversarial", augment=self._augment,
                    attack=attacks.parse(ADVERSARIAL), run=run,
                )  # fmt: skip
            else:
                encoder, head = finetune_encoder(
                    start, train, plan=plan, head="linear", regularizers=setting.regularizers, augment=self._augment,
                    run=run,
                )  # fmt: skip
            save_readout(Readout(head.cpu(), train.classes, "end-to-end"), run.path, provenance=recipe)
            save_encoder(encoder, run.path, provenance=recipe)
            return encoder, head

        return self.store.kept(recipe, make, load_classifier)

    def setting(self, cell: TransferCell) -> Setting:
        """Learning rate and regularizers, chosen on a validation split where the scale says so. Input gradients are
        added afterwards, with the weight that the cell says."""
        given = tuple(map(parse_regularizer, cell.regularizers))
        searched = tuple(r for r in given if not isinstance(r, InputGradient))
        added = tuple(r for r in given if isinstance(r, InputGradient))
        found = Setting(self.scale.plan["lr"], searched)
        if self.scale.search:
            found = self._searched(cell, () if cell.as_written else searched)
        kept = searched if cell.as_written else found.regularizers
        return Setting(found.lr, (*kept, *added))

    def _searched(self, cell: TransferCell, regularizers: tuple[Regularizer, ...]) -> Setting:
        plain = TransferCell(cell.start, tuple(map(repr, regularizers)), cell.data)
        train, start = self.sets.train(cell.data), self.start(cell.start)
        plan = self._plan(plain, train)
        recipe = {
            "kind": "search", "start": self._text(cell.start), "regularizers": repr(regularizers), "plan": repr(plan),
            **self._images_of(cell),
        }  # fmt: skip

        def find() -> Setting:
            folder = self.store.folder / self.store.name(recipe)
            kept = _read(folder / FILE)
            if kept is not None:
                return kept
            run = RunFolder.open(folder, recipe)
            try:
                reading = {"device": self.device, "batch_size": plan.batch_size, "seed": self.seed}
                positions = torch.arange(len(train))
                search = Search(run, start, train, positions, "linear", self._augment, plan, "top1", reading)
                return search.choose(Setting(plan.lr, regularizers), lr=True, weight=True)
            finally:
                run.close()

        return self.store.once(repr(sorted(recipe.items())), find)

    # what fine-tuning begins with

    def start(self, name: str) -> Encoder:
        """The encoder of this name."""
        made = self.pretraining
        match name:
            case "Supervised":
                if self.scale.supervised is not None:
                    return self.store.once(name, self._supervised)
                return made.supervised(PretrainingCell("supervised"))[0]
            case "hardened":
                return self._hardened
            case "random weights":
                return self.store.once(name, self._random)
        return made.pretrained(PretrainingCell("probe", "mocov2", name))

    @cached_property
    def _hardened(self) -> Encoder:
        teacher, plan = self.start(MOCO), self.store.plan(self.scale.hardening_plan)
        recipe = {
            "kind": "hardened", "start": self._text(MOCO), "operator": self.scale.damage, "plan": repr(plan),
            "data": repr(self.scale.pretraining.data["main"]),
        }  # fmt: skip

        def make(run: RunFolder) -> Encoder:
            student = harden_encoder(
                teacher, self.pretraining.sets.train("main"), operator=operators.parse(self.scale.damage),
                objective=objectives.parse("StudentTeacher()"), plan=plan, augment=self._augment, run=run,
            )  # fmt: skip
            save_encoder(student, run.path, provenance=recipe)
            return student

        return self.store.kept(recipe, make, load_encoder)

    def _supervised(self) -> Encoder:
        assert self.scale.supervised is not None
        return self.store.start(self.scale.supervised)

    def _random(self) -> Encoder:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*randomly initialised")  # as it should be
            return self.store.start(self.scale.pretraining.encoder, num_classes=0)

    def _text(self, name: str) -> str:
        """What a start is called in a recipe: everything that decides what it is."""
        self.start(name)
        if name == RANDOM:
            return self.scale.pretraining.encoder
        if name == SUPERVISED and self.scale.supervised is not None:
            return self.scale.supervised
        return self._folder(name).name

    def _folder(self, name: str) -> Path:
        store = self.store if name == HARDENED else self.pretraining.store
        return store.home(self.start(name))

    # settings

    def _plan(self, cell: TransferCell, train: ImageSet) -> Plan:
        scale = self.scale
        settings = {**scale.plan, **(scale.adversarial_plan if cell.adversarial else {})}
        plan = self.store.plan(settings)
        if any(isinstance(parse_regularizer(r), objectives.L2SP) for r in cell.regularizers):
            plan = replace(plan, weight_decay=0.0)  # which it replaces
        if scale.steps is not None:
            plan = replace(plan, epochs=scale.steps / Course(plan, len(train)).steps_per_epoch)
        thirds = (plan.epochs / 3, plan.epochs * 2 / 3)
        return replace(plan, milestones=thirds) if plan.schedule == "step" else plan

    def _images_of(self, cell: TransferCell) -> dict[str, str]:
        scale = self.scale
        return {"data": repr(scale.data[cell.data]), "size": str(scale.size), "augment": str(scale.augment)}

    @cached_property
    def _augment(self) -> Operator | None:
        return None if self.scale.augment is None else views.parse(self.scale.augment)


def between(start: Encoder, end: Encoder, alpha: float, images: ImageSet, device: torch.device) -> Encoder:
    """start + alpha (end - start), weight by weight (Wortsman et al. 2022); the running statistics of batch
    normalisation are taken anew over the images, since those of two networks do not add up to those of a third.

    Args:
        images: clean training images.
    """
    encoder = end.clone().to(device)
    there = dict(start.named_parameters())
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            weight.lerp_(there[name].to(weight), 1 - alpha)
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches(images, 256, device=device) if norms else ():
            encoder(batch.images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return encoder.eval()


def _read(file: Path) -> Setting | None:
    """What a search chose; None where it has not finished."""
    if not file.is_file():
        return None
    chosen: dict[str, Any] | None = read_json(file)["chosen"]
    return None if chosen is None else Setting(chosen["lr"], _parsed(chosen["regularizers"]))


def _parsed(texts: Sequence[str]) -> tuple[Regularizer, ...]:
    return tuple(map(parse_regularizer, texts))
