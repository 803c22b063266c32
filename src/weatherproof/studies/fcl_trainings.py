"""Trains the classifiers of a study of feature contrastive learning, once for every seed; they are kept in a store."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from weatherproof import views
from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder, save_encoder
from weatherproof.methods import FeatureSettings, met_in_training
from weatherproof.readouts import Classifier, Readout, fit_probe, save_readout
from weatherproof.studies.fcl_cells import HARDENED_ON, PRETRAINED_BY, FclScale, Training, settings_words
from weatherproof.studies.pretraining_cells import PretrainingCell
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop
from weatherproof.studies.sets import Sets
from weatherproof.studies.store import Store, load_classifier
from weatherproof.studies.study import Cell
from weatherproof.studies.workshop import Workshop
from weatherproof.training import RunFolder, check_own_head, train_classifier
from weatherproof.training.recipes import settings_for

FROZEN = "frozen"  # beside `methods.LABELLED`: the encoder as it is, under its own classifier or a probe


class FclTrainings:
    """The classifiers of one scale and the images that they are trained on.

    Args:
        scale: the settings.
        store: the folder where they are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
        seed: of the first training; the others follow it.
    """

    def __init__(self, scale: FclScale, store: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.scale, self.folder, self.data, self.seed, self.device = scale, store, data, seed, device
        self.seeds = tuple(seed + i for i in range(scale.seeds))
        self.stores = [Store(store, data=data, seed=own, device=device) for own in self.seeds]
        self.sets = Sets(
            {"main": scale.data}, folder=data, size=scale.size, crop_fraction=scale.crop_fraction,
            train_images=scale.train_images,
        )  # fmt: skip

    @property
    def train(self) -> ImageSet:
        return self.sets.train("main")

    def classifier(self, training: Training, store: Store) -> nn.Module:
        """The trained classifier, of the store's seed."""
        return Classifier(*self._trained(training, store)).to(self.device)

    def home(self, training: Training, store: Store) -> Path:
        """The folder where it lies."""
        return store.home(self._trained(training, store)[0])

    def _trained(self, training: Training, store: Store) -> tuple[Encoder, nn.Module]:
        method, start = training.method, training.start
        scale, plan = self.scale, store.plan(self.scale.plan(start))
        head: Literal["own", "new"] = "own" if start in scale.own_heads else "new"
        settings = self.settings(training, plan.epochs)
        recipe = {
            "kind": f"labelled-{method}", "start": self._text(start), "data": repr(scale.data), "head": head,
            "images": str(scale.train_images), "size": str(scale.size), "seed": str(store.seed),
        }  # fmt: skip
        if method != FROZEN:
            recipe |= {"plan": repr(plan), "augment": str(scale.augment), "settings": settings_words(settings)}

        def make(run: RunFolder) -> tuple[Encoder, nn.Module]:
            begun = self.begin(start, store)
            if method == FROZEN:
                encoder = begun.clone().eval()
                top = self._frozen_head(encoder, head, store)
            else:
                augment = None if scale.augment is None else views.parse(scale.augment)
                encoder, top = train_classifier(
                    begun, self.train, plan=plan, method=method, settings=settings, head=head, augment=augment, run=run
                )
            return self._saved(encoder, top, self.readout(training), run, recipe)

        return store.kept(recipe, make, load_classifier)

    def _frozen_head(self, encoder: Encoder, head: str, store: Store) -> nn.Module:
        """What the trainings from the same start begin with where that is a classifier, else a probe."""
        if head == "new":
            classes = len(self.train.classes)
            return fit_probe(encoder, self.train, num_classes=classes, seed=store.seed, device=self.device)
        check_own_head(encoder, len(self.train.classes))
        assert encoder.head is not None
        return encoder.head

    def readout(self, training: Training) -> str:
        """What records call the classifier on the encoder."""
        if training.method != FROZEN:
            return "end-to-end"
        return "own-head" if training.start in self.scale.own_heads else "probe"

    def met(self, training: Training) -> str | None:
        """The text of the damage that its images met in training, and those of a hardened start before it."""
        hardening = self.scale.hardening if training.start == "hardened" else None
        before = None if hardening is None else hardening.damages[HARDENED_ON]
        own = None if training.method == FROZEN else met_in_training(training.method, self.settings(training, 1.0))
        return ", ".join(filter(None, (before, own))) or None

    def settings(self, training: Training, epochs: float) -> FeatureSettings:
        """The published settings with this scale's changes; those of "supervised" for a frozen encoder: it has none."""
        method = training.method
        published = settings_for("supervised" if method == FROZEN else method, self.train, epochs)
        own = replace(published, **self.scale.changed(method))
        return replace(own, weight=own.weight * training.weight_times)

    def _saved(
        self, encoder: Encoder, head: nn.Module, kind: str, run: RunFolder, recipe: Mapping[str, str]
    ) -> tuple[Encoder, nn.Module]:
        save_readout(Readout(head.cpu(), self.train.classes, kind), run.path, provenance=recipe)
        save_encoder(encoder, run.path, provenance=recipe)
        return encoder, head

    # what a training starts from

    def begin(self, start: str, store: Store) -> Encoder:
        """The encoder that a training starts from."""
        match start:
            case "hardened":
                return self._hardening.hardened(Cell("probe", HARDENED_ON, "clean"))
            case "pretrained":
                return self._pretraining.pretrained(PretrainingCell("probe", PRETRAINED_BY, "SimCLR"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*randomly initialised")  # as it should be
            return store.start(self.scale.encoder, self.scale.size)

    @cached_property
    def _hardening(self) -> Workshop:
        assert self.scale.hardening is not None
        return Workshop(self.scale.hardening, self.folder, data=self.data, seed=self.seed, device=self.device)

    @cached_property
    def _pretraining(self) -> PretrainingWorkshop:
        assert self.scale.pretraining is not None
        made = self.scale.pretraining
        return PretrainingWorkshop(made, self.folder, data=self.data, seed=self.seed, device=self.device)

    def _text(self, start: str) -> str:
        """What a start is called in a recipe: everything that decides what it is."""
        if not start:
            return self.scale.encoder
        made = self.scale.hardening if start == "hardened" else self.scale.pretraining
        assert made is not None
        return f"{start}, seed {self.seed}, {replace(made, note='')!r}"
