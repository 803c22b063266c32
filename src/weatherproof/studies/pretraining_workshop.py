"""Makes what the cells of a pretraining study need, once: encoders are kept in a store."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof import methods, random, views
from weatherproof.data import ImageSet, at_most, label_fraction
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.encoders.taps import stages
from weatherproof.evaluation import Case, Record, cases_on_the_fly, evaluate_suite
from weatherproof.methods.layers import NO_PENALTY, LayerwiseSimCLR, layer_projectors
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.operators.suites import suite
from weatherproof.protocols import Views
from weatherproof.readouts import Classifier, Readout, finetune_encoder, fit_probe, load_readout, save_readout
from weatherproof.studies.pretraining_cells import PretrainingCell, PretrainingScale
from weatherproof.studies.sets import Sets
from weatherproof.studies.store import Store, digest, load_classifier
from weatherproof.training import Plan, RunFolder, fit, train_classifier

SUITE = "common-15"
_LAYERS = 0x6C617972  # "layr": the seed of the projectors
_CLEAN = ("top1", "clean_calibration_error")
_RECORDS = {  # which of the records is the cell's number; the first that is there
    "top1": ("top1",),
    "clean_calibration_error": ("rms_calibration_error",),
    "corruption_error": ("mce", "unnormalised_mce"),  # in units of AlexNet's errors where the images are ImageNet's
    "calibration_error": ("mean_rms_calibration_error",),
    "pooled_calibration_error": ("rms_calibration_error",),
}


class PretrainingWorkshop:
    """The encoders, readouts and images of one scale.

    Args:
        scale: the settings.
        store: the folder where trained encoders are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
    """

    def __init__(
        self, scale: PretrainingScale, store: Path, *, data: str | None, seed: int, device: torch.device
    ) -> None:
        self.scale, self.seed, self.device = scale, seed, device
        self.store = Store(store, data=data, seed=seed, device=device)
        self.sets = Sets(
            scale.data, folder=data, size=scale.size, crop_fraction=scale.crop_fraction,
            train_images=scale.train_images, channels=scale.channels, train_size=scale.train_size,
        )  # fmt: skip

    def measure(self, cell: PretrainingCell) -> Record:
        """The cell's number."""
        what = replace(cell, metric="top1")  # all metrics of one classifier come from the same two passes
        clean = cell.metric in _CLEAN
        records = self.store.once((what, clean), lambda: (self._clean if clean else self._corrupted)(what))
        wanted = _RECORDS[cell.metric]
        return next(r for r in records if r.metric in wanted and r.corruption == (None if clean else SUITE))

    def _clean(self, cell: PretrainingCell) -> tuple[Record, ...]:
        test = at_most(self.sets.test("main"), self.scale.test_images)
        return self._met(cell, test, [Case()], "clean")

    def _corrupted(self, cell: PretrainingCell) -> tuple[Record, ...]:
        test = at_most(self.sets.test("main"), self.scale.suite_images)
        return self._met(cell, test, cases_on_the_fly(test, suite(SUITE)), SUITE)

    def _met(self, cell: PretrainingCell, test: ImageSet, cases: list[Case], name: str) -> tuple[Record, ...]:
        return evaluate_suite(
            self.classifier(cell), test, cases, suite=name, model=model_name(cell), seed=self.seed, device=self.device,
            **self.about(cell),
        ).records  # fmt: skip

    def about(self, cell: PretrainingCell) -> dict[str, Any]:
        """What its records say beside the number."""
        return {
            "readout": {"probe": "probe", "supervised": "end-to-end", "fine-tuned": "mlp"}[cell.kind],
            "label_fraction": cell.labels,
            "trained_on": self.scale.views[cell.views] if cell.views else None,
        }

    # what classifies

    def classifier(self, cell: PretrainingCell) -> Classifier:
        """The cell's encoder and readout, trained."""
        match cell.kind:
            case "supervised":
                encoder, head = self.supervised(cell)
            case "fine-tuned":
                encoder, head = self.finetuned(cell)
            case "probe":
                encoder = self.pretrained(cell)
                head = self.store.once(replace(cell, metric="top1"), lambda: self._probe(cell))
        return Classifier(encoder, head).to(self.device)

    def home(self, cell: PretrainingCell) -> Path:
        """The folder of the cell's readout; of a network that was trained end to end its own."""
        match cell.kind:
            case "supervised":
                return self.store.home(self.supervised(cell)[0])
            case "fine-tuned":
                return self.store.home(self.finetuned(cell)[0])
        return self.store.home(self.pretrained(cell)) / f"probe-{digest(self._probe_recipe(cell))}"

    def _probe_recipe(self, cell: PretrainingCell) -> str:
        return repr((cell.labels, sorted(self.scale.probe.items()), self.scale.probe_augment))

    def _probe(self, cell: PretrainingCell) -> nn.Module:
        encoder, train = self.pretrained(cell), self.sets.train("main")
        recipe, folder = self._probe_recipe(cell), self.home(cell)
        kept = load_readout(folder)
        if kept is not None:
            return kept.head
        augment = self.scale.probe_augment
        head = fit_probe(
            encoder, train, num_classes=len(train.classes), operator=None if augment is None else views.parse(augment),
            labels=self._labelled(cell.labels), seed=self.seed, device=self.device, **self.scale.probe,
        )  # fmt: skip
        folder.mkdir(exist_ok=True)
        save_readout(Readout(head, train.classes, label_fraction=cell.labels), folder, provenance={"settings": recipe})
        return head

    def _labelled(self, fraction: float) -> Tensor | None:
        """Which training images keep their label; None: all of them."""
        return None if fraction == 1 else label_fraction(self.sets.train("main").labels, fraction, self.seed)

    # encoders, kept in the store

    def pretrained(self, cell: PretrainingCell) -> Encoder:
        """The encoder after learning from the cell's views, without labels."""
        scale, plan = self.scale, self.store.plan(self.scale.plans[cell.method])
        settings = self._settings(cell)
        layers = {} if cell.layers is None else dict(scale.layers[cell.layers])
        recipe = {
            "kind": "pretrained", "method": cell.method, "views": scale.views[cell.views],
            "settings": repr(sorted(settings.items())), "layers": repr(sorted(layers.items())), **self._start_of(plan),
        }  # fmt: skip

        def make(run: RunFolder) -> Encoder:
            train = self.sets.train("main")
            method = self._method(cell, train, plan)
            fit(method, train, plan, run, label=f"pretraining, {cell.views}")
            encoder = method.encoder
            assert isinstance(encoder, Encoder)
            return self._saved(encoder, run, recipe)

        return self.store.kept(recipe, make, load_encoder)

    def _method(self, cell: PretrainingCell, train: ImageSet, plan: Plan) -> nn.Module:
        encoder, looks = self._start(), views.parse(self.scale.views[cell.views])
        settings = self._settings(cell)
        with random.framework_seed(self.seed, _LAYERS):
            if "projector" in settings:
                settings["projector"] = methods.make_projector(settings["projector"], encoder.feature_dim)
            if cell.layers is None:
                return methods.build(
                    cell.method, encoder, views=looks, images=train.index, batch_size=plan.batch_size, **settings
                )
            return layer_wise(encoder, looks, **{**settings, **self.scale.layers[cell.layers]})

    def supervised(self, cell: PretrainingCell) -> tuple[Encoder, nn.Module]:
        """The same network from random weights, trained end to end."""
        labels, penalty = cell.labels, self.scale.penalty_of(cell)
        plan = self._plan_of(self.scale.supervised_plan, labels)
        recipe = {"kind": "supervised", "labels": str(labels), **self._start_of(plan), **self._augment}
        recipe |= {"tikhonov": repr(penalty)} if penalty is not None else {}

        def make(run: RunFolder) -> tuple[Encoder, nn.Module]:
            train, kept = self.sets.train("main"), self._labelled(labels)
            encoder, head = train_classifier(
                self._start(), train if kept is None else train.subset(kept), plan=plan, augment=self._look,
                tikhonov=penalty, run=run,
            )  # fmt: skip
            return self._saved_both(encoder, head, labels, run, recipe)

        return self.store.kept(recipe, make, load_classifier)

    def finetuned(self, cell: PretrainingCell) -> tuple[Encoder, nn.Module]:
        """The pretrained encoder and a new two-layer classifier, trained together."""
        plan = self._plan_of(self.scale.finetuning_plan, cell.labels)
        start = self.pretrained(cell)
        recipe = {
            "kind": "finetuned", "from": self.store.home(start).name, "labels": str(cell.labels),
            **self._start_of(plan), **self._augment,
        }  # fmt: skip

        def make(run: RunFolder) -> tuple[Encoder, nn.Module]:
            encoder, head = finetune_encoder(
                start, self.sets.train("main"), plan=plan, labels=self._labelled(cell.labels), augment=self._look,
                run=run,
            )  # fmt: skip
            return self._saved_both(encoder, head, cell.labels, run, recipe)

        return self.store.kept(recipe, make, load_classifier)

    def _start(self) -> Encoder:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*randomly initialised")  # as it should be
            encoder = self.store.start(self.scale.encoder, num_classes=0)
        encoder.set_preprocessing(replace(encoder.preprocessing, size=None))  # views have their size, puzzles another
        return encoder

    def _saved(self, encoder: Encoder, run: RunFolder, recipe: dict[str, str]) -> Encoder:
        save_encoder(encoder, run.path, provenance=recipe)
        return encoder

    def _saved_both(
        self, encoder: Encoder, head: nn.Module, labels: float, run: RunFolder, recipe: dict[str, str]
    ) -> tuple[Encoder, nn.Module]:
        readout = Readout(head.cpu(), self.sets.train("main").classes, "end-to-end", label_fraction=labels)
        save_readout(readout, run.path, provenance=recipe)
        return self._saved(encoder, run, recipe), head

    # settings

    def _settings(self, cell: PretrainingCell) -> dict[str, Any]:
        """What the pretraining method is given."""
        penalty = self.scale.penalty_of(cell)
        return {**self.scale.methods.get(cell.method, {}), **({} if penalty is None else {"tikhonov": penalty})}

    def _plan_of(self, settings: Any, labels: float) -> Plan:
        """With fewer labels for as many steps as with all, or for as many epochs."""
        plan = self.store.plan(settings)
        kept = self._labelled(labels)
        if kept is None or not self.scale.same_steps:
            return plan
        whole, few = (max(1, n // plan.batch_size) for n in (len(self.sets.train("main")), len(kept)))
        return replace(plan, epochs=plan.epochs * whole / few)

    def _start_of(self, plan: Plan) -> dict[str, str]:
        """What every training's recipe says."""
        scale = self.scale
        return {
            "encoder": scale.encoder, "data": repr(scale.data["main"]), "plan": repr(plan), "size": str(scale.size),
            "images": str(scale.train_images),
        }  # fmt: skip

    @property
    def _look(self) -> Callable[..., Tensor] | None:
        return None if self.scale.augment is None else views.parse(self.scale.augment)

    @property
    def _augment(self) -> dict[str, str]:
        return {"augment": str(self.scale.augment)}


def model_name(cell: PretrainingCell) -> str:
    """What records call the classifier: "mocov2, URRL", "supervised, Tikhonov 0.1"."""
    tuned = "" if cell.kind == "probe" else cell.kind
    penalty = f"Tikhonov {cell.tikhonov:g}" if cell.tikhonov else ""
    return ", ".join(filter(None, (cell.method, cell.views, cell.layers, tuned, penalty)))


def layer_wise(
    encoder: Encoder, looks: Views, *, temperature: float, everywhere: bool, penalty: InputGradient = NO_PENALTY
) -> LayerwiseSimCLR:
    """SimCLR with losses at the encoder's stages.

    Args:
        everywhere: at every stage, with weights that rise by ten from one to the next (eq. 4 and 5); False: at the end.
        penalty: at the same places.
    """
    places = len(stages(encoder))
    end = (*(0.0 for _ in range(places - 1)), 1.0)
    return LayerwiseSimCLR(
        encoder, looks, layer_projectors(encoder), NTXent(temperature),
        alphas=None if everywhere else end,
        betas=None if everywhere else tuple(penalty.weight / 2 * weight for weight in end),
        penalty=penalty,
    )  # fmt: skip
