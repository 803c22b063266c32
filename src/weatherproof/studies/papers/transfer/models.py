"""The models of fine-tuning studies and their cells, at a scale."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from weatherproof.evaluation.finetune_search import Setting
from weatherproof.reports import save_certificates
from weatherproof.reports.words.regularizers import regularizer_words
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.classifiers import Finetuned, Labelled, Probed
from weatherproof.studies.lab.joins import MeanOf
from weatherproof.studies.lab.measures import Attacked, Clean, Suite
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Between, Given, Hardened, plan_of
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.studies.lab.study import (
    About,
    After,
    Cell,
    Check,
    Found,
    Key,
    Measurable,
    Scale,
    Study,
    Wanted,
    certificates,
    settings_text,
)
from weatherproof.studies.papers.pretraining.models import Models as PretrainingModels
from weatherproof.studies.papers.pretraining.scales import Network
from weatherproof.studies.papers.transfer.scales import SCALES, SUPERVISED, Transfer
from weatherproof.training import Plan

MOCO, URRL, HARDENED, RANDOM = "MoCo v2", "URRL", "hardened", "random weights"
EVERY = "Mean"  # of the data sets of a scale
ADVERSARIAL = "PGD(L2(0.5), steps=7, step_size=0.1)"  # what URRL's rival is trained on

Metric = Literal["top1", "corrupted", "calibration_error", "pooled_calibration_error"]
Table = Mapping[Key, Callable[["Models"], Measurable | None]]

_OF_SUITE = {
    "corrupted": "mca", "calibration_error": "mean_rms_calibration_error",
    "pooled_calibration_error": "rms_calibration_error",
}  # fmt: skip
_SHORT = {"SimilarityMatrix": "SR", "L2SP": "L2-SP", "InputGradient": "Tikhonov"}


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned encoder.

    Attributes:
        start: the encoder that fine-tuning begins with.
            "MoCo v2", "URRL": pretrained without labels by MoCo v2, with its own views or with URRL's;
            "Supervised": trained with the labels of the pretraining images (ImageNet's, as published);
            "hardened": MoCo v2's, hardened against `Transfer.damage`;
            "random weights".
        regularizers: texts of `objectives.REGULARIZERS`. Where the scale chooses weights, those of SimilarityMatrix and
            L2SP are where they start from; input gradients keep theirs.
        as_written: the regularizers' weights stay as they are.
        adversarial: trained on attacked images instead.
        alpha: the encoder is start + alpha (fine-tuned - start), weight by weight; at 0 it is the start itself.
    """

    start: str
    regularizers: tuple[str, ...] = ()
    as_written: bool = False
    adversarial: bool = False
    alpha: float = 1.0

    @property
    def name(self) -> str:
        """What records call it: "URRL, SR", "MoCo v2, alpha 0.5", "adversarial training"."""
        if self.adversarial:
            return "adversarial training"
        kinds = [text if self.as_written else _SHORT[text.partition("(")[0]] for text in self.regularizers]
        return ", ".join([self.start, *kinds, *([f"alpha {self.alpha:g}"] if self.alpha < 1 else [])])


@dataclass(frozen=True)
class Models:
    """Cells of one scale and seed; None where the scale has no such data, or the start knows its labels."""

    scale: Transfer
    seed: int

    # cells

    def number(
        self, model: Tuned, data: str = "CIFAR-10", *, attack: str | None = None, metric: Metric = "top1"
    ) -> Measurable | None:
        """A number of a model.

        Args:
            data: a name of `Transfer.data`, or "Mean" over all of them.
            attack: "top1" on attacked images; None: on clean ones.
            metric: "corrupted": mean accuracy over the corruptions of the suite; "calibration_error": mean RMS
                calibration error of their sets; "pooled_calibration_error": that of all their images together.
        """
        if data == EVERY:
            parts = [self._cell(model, name, attack, metric) for name in self.scale.data]
            found = tuple(part for part in parts if part is not None)
            return MeanOf(found) if len(found) == len(parts) else None
        return self._cell(model, data, attack, metric)

    def _cell(self, model: Tuned, data: str, attack: str | None, metric: Metric) -> Cell | None:
        scale = self.scale
        if not self.has(model, data):
            return None
        recipe, readout = self.recipe(model, data), "end-to-end" if model.alpha == 1 else "probe"
        about = About(model.name, readout, certified=f"{model.name}, {data}")
        if attack is not None:
            attacked = Attacked(attack, scale.certificate_images, self.seed)
            test, wanted = self.test(data, scale.attack_images), Wanted("top1", severity=attacked.eps)
            return Cell(recipe, attacked, test, about, wanted)
        if metric == "top1":
            return Cell(recipe, Clean(self.seed), self.test(data, scale.test_images), about)
        made, suite = scale.corrupted.get(data), Suite("common-15", scale.severities, self.seed)
        files = None if made is None else Images(Source(made), "test", scale.size)
        test = self.test(data, scale.suite_images)
        return Cell(recipe, suite, test, about, Wanted(_OF_SUITE[metric], suite.called), files)

    def has(self, model: Tuned, data: str) -> bool:
        return data in self.scale.data and data not in self.scale.known.get(model.start, ())

    # recipes

    def recipe(self, model: Tuned, data: str) -> Recipe:
        """The fine-tuned encoder with its classifier; between start and end with one fitted anew."""
        if model.adversarial:
            return self._adversarial(model, data)
        if model.alpha == 1:
            return self.finetuned(model, data)
        start, train = self.start(model.start), self.train(data)
        encoder = Between(start, self.finetuned(model, data), model.alpha, train) if model.alpha else start
        return Probed(encoder, train, self.scale.fit, seed=self.seed)

    def finetuned(self, model: Tuned, data: str) -> Finetuned:
        """The start and a new linear classifier, trained together."""
        scale = self.scale
        added = tuple(text for text in model.regularizers if text.startswith("InputGradient("))
        given = tuple(text for text in model.regularizers if text not in added)
        searched = () if model.as_written or not scale.search else given
        start, seen = self.start(model.start), self.finetuning_images(data)
        judged = self.train(data) if scale.whole is not None else None
        chosen = Chosen(start, seen, self._plan(searched), searched, scale.augment, scale.steps, judged)
        return Finetuned(
            start, seen, self._plan(given), "linear", scale.augment,
            regularizers=(*added,) if searched else (*given, *added), chosen=chosen if scale.search else None,
            steps=scale.steps,
        )  # fmt: skip

    def _adversarial(self, model: Tuned, data: str) -> Labelled:
        scale, plan = self.scale, plan_of({**self.scale.plan, **self.scale.adversarial_plan}, self.seed)
        return Labelled(
            self.start(model.start), self.finetuning_images(data), plan, "adversarial", augment=scale.augment,
            attack=ADVERSARIAL, steps=scale.steps,
        )  # fmt: skip

    def start(self, name: str) -> Recipe:
        """What fine-tuning begins with."""
        scale, made = self.scale, PretrainingModels(self.scale.pretraining, self.seed)
        match name:
            case "Supervised":
                if scale.supervised is not None:
                    return Given(scale.supervised, scale.side, seed=self.seed)
                return made.supervised(Network("supervised"))
            case "hardened":
                plan = plan_of(scale.hardening_plan, self.seed)
                return Hardened(self.start(MOCO), made.train, scale.damage, plan, augment=scale.augment)
            case "random weights":
                return Given(scale.pretraining.encoder, scale.side, classes=0, quiet=True, seed=self.seed)
        return made.pretrained(Network("probe", "mocov2", name))

    def _plan(self, regularizers: Sequence[str]) -> Plan:
        plan = plan_of(self.scale.plan, self.seed)
        replaced = any(text.startswith("L2SP(") for text in regularizers)
        return replace(plan, weight_decay=0.0) if replaced else plan

    # images

    def finetuning_images(self, data: str) -> Images:
        """The images for fine-tuning, which an augmentation looks at."""
        whole, train = self.scale.whole, self.train(data)
        return train if whole is None else replace(train, size=None, uncropped=whole)

    def train(self, data: str) -> Images:
        """The same as they are, for fitting and for the statistics of batch normalisation."""
        return Images(self.scale.data[data], "train", self.scale.size, channels=self.scale.pretraining.channels or 3)

    def test(self, data: str, limit: int | None) -> Images:
        """The images for measuring."""
        return replace(self.train(data), split="test", limit=limit)

    # words

    def facts(self, models: Iterable[Tuned]) -> dict[str, str]:
        """The settings behind these models, for the reader."""
        scale, models = self.scale, tuple(models)
        starts, made = {model.start for model in models}, scale.pretraining
        facts = {"encoder": f"`{made.encoder}`, images of {scale.size} px"}
        for start in (MOCO, URRL):
            if start in starts or (start == MOCO and HARDENED in starts):
                facts[f"start, {start}"] = f"`{made.views[start]}`, {settings_text(made.plans['mocov2'])}"
        if SUPERVISED in starts:
            own = f"the same network with all labels, {settings_text(made.supervised_plan)}"
            facts["start, Supervised"] = own if scale.supervised is None else f"`{scale.supervised}`"
        if HARDENED in starts:
            facts["start, hardened"] = f"MoCo v2's, against `{scale.damage}`, {settings_text(scale.hardening_plan)}"
        length = "" if scale.steps is None else f", for {scale.steps:,} steps"
        facts["fine-tuning"] = f"{settings_text(scale.plan)}{length}; a new linear classifier"
        facts["regularizers"] = ", ".join(f"`{r}`" for r in dict.fromkeys(r for m in models for r in m.regularizers))
        if scale.search:
            facts["chosen on a tenth of the training images"] = (
                "the learning rate (0.01 or 0.001) and, where they are not as written, the weights of "
                "SimilarityMatrix and L2SP: the heaviest within a standard error of the best accuracy"
            )
        if any(model.adversarial for model in models):
            plan = settings_text({**scale.plan, **scale.adversarial_plan})
            facts["adversarial training"] = f"`{ADVERSARIAL}`, {plan}"
        facts["augmentation"] = f"`{scale.augment}`"
        return facts

    def chosen_facts(self, models: Iterable[Tuned], sets: Sequence[str], store: Store) -> dict[str, str]:
        """What the validation splits of these data sets chose, by model."""
        searched = (
            replace(model, alpha=1.0)
            for model in models
            if model.alpha and not model.adversarial and not (model.as_written and model.regularizers)
        )  # of weights as they are written no more is chosen than the rate, which is that of none
        facts: dict[str, str] = {}
        for model in dict.fromkeys(searched) if self.scale.search else ():
            there = [data for data in sets if self.has(model, data)]
            chosen = [f"{data}: {_words(self.finetuned(model, data).setting(store))}" for data in there]
            facts |= {f"chosen, {model.name}": "; ".join(chosen)} if chosen else {}
        return facts


def _words(setting: Setting) -> str:
    return ", ".join([f"lr {setting.lr:g}", *(regularizer_words(repr(r)) for r in setting.regularizers)])


def study(
    name: str, title: str, cells: Table, models: Iterable[Tuned], claims: tuple[Check, ...],
    note: str, *, sets: Sequence[str] = ("CIFAR-10",), ours: bool = False, after: tuple[After, ...] = (),
) -> Study:  # fmt: skip
    """Numbers of these models on these data sets as a study.

    Args:
        after: what is written into the run folder beside the certificates.
    """
    tuned = tuple(models)

    def at(settings: Transfer, seed: int) -> Scale:
        made = Models(settings, seed)
        grid = {key: measured(made) for key, measured in cells.items()}

        def write(store: Store, folder: Path, _: Found) -> None:
            measured = [cell for number in grid.values() if number is not None for cell in number.cells]
            entries = certificates(measured, store)
            attacks = dict.fromkeys(entry["attack"] for entry in entries)
            save_certificates(folder, [joint([e for e in entries if e["attack"] == own]) for own in attacks])

        later_facts = partial(made.chosen_facts, tuned, sets)
        return Scale(settings.name, settings.note, grid, made.facts(tuned), later_facts, (write, *after))

    return sized(name, title, SCALES[name], at, claims, note, ours=ours)


def joint(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several classifiers' certificates of one attack as one: a point holds where it does for all of them; one that
    fails says of whom."""
    checks = []
    for place, check in enumerate(entries[0]["checks"]):
        lost = [f"{e['model']} ({e['checks'][place]['detail']})" for e in entries if not e["checks"][place]["passed"]]
        detail = (
            f"fails for {len(lost)} of {len(entries)}: {'; '.join(lost)}" if lost else f"holds for all {len(entries)}"
        )
        checks.append({"claim": check["claim"], "passed": not lost, "detail": detail})
    images = min(e["images"] for e in entries)
    return {"attack": entries[0]["attack"], "model": f"{len(entries)} classifiers", "images": images, "checks": checks}
