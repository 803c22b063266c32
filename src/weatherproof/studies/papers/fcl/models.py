"""The models of feature contrastive learning and their cells, at a scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.methods import FeatureSettings, damage_of, feature_settings, training_damage
from weatherproof.studies.lab.classifiers import Labelled, OwnLinear, Probed, Validated
from weatherproof.studies.lab.joins import OverSeeds
from weatherproof.studies.lab.measures import Clean, Suite
from weatherproof.studies.lab.recipes import Given, plan_of
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.store import Measure, Recipe, Store
from weatherproof.studies.lab.study import About, Cell, Number, Wanted, settings_text
from weatherproof.studies.papers.contrastive_inversion.models import Models as HardeningModels
from weatherproof.studies.papers.fcl.maps import CornerUtility, IdentityError, Output, RankCorrelation
from weatherproof.studies.papers.fcl.noisy import Noisy
from weatherproof.studies.papers.fcl.scales import FclScale
from weatherproof.studies.papers.pretraining.models import Models as PretrainingModels
from weatherproof.studies.papers.pretraining.scales import Network

Damage = str  # "clean", "uniform_noise", "nonuniform_noise", a suite or group of `_WHOLE`, or one of `COMMON_19`
RARE = tuple(range(10, 15))  # classes of synthetic MNIST
FROZEN = "frozen"  # beside `methods.LABELLED`: the encoder as it is, under its own classifier or a probe
HARDENED_ON, PRETRAINED_BY = "noise-range", "simclr"
NOISE_SEED = 0  # of all damage in measurements: every method and every training meets the same images

_NOISY = ("clean", "uniform_noise", "nonuniform_noise")
_WHOLE = ("common-15", "common-19", "noise", "blur", "weather", "digital")


@dataclass(frozen=True)
class Training:
    """Which classifier a number is of.

    Attributes:
        method: of `methods.LABELLED`; "frozen": the encoder that the training starts from as it is, under its own
            classifier where `FclScale.own_heads` says so, else under a linear probe.
        start: what the training starts from: "" the scale's encoder, "hardened", or "pretrained".
        weight_times: the scale's lambda is multiplied by it.
        among: or by that of these factors with which the first seed is most often right on validation images, clean and
            under both noises alike.
        changes: settings in place of the scale's, by name. k is at most half of an image's elements where the image has
            no more than k.
    """

    method: str
    start: str = ""
    weight_times: float = 1.0
    changes: tuple[tuple[str, int | float | str], ...] = ()
    among: tuple[float, ...] = ()

    @property
    def trials(self) -> "tuple[Training, ...]":
        """One for each factor of `among`."""
        return tuple(replace(self, weight_times=times, among=()) for times in self.among)

    @property
    def name(self) -> str:
        """What records call the classifier: "fcl", "hardened, fcl", "fcl, lambda x 0.1", "fcl, k 512"."""
        times = "" if self.weight_times == 1 else f"lambda x {self.weight_times:g}"
        times = "lambda by validation" if self.among else times
        changed = (f"{name} {value}" for name, value in self.changes)
        return ", ".join(filter(None, (self.start, self.method, times, *changed)))


@dataclass(frozen=True)
class Counted:
    """How many images of a class, the mean over its classes, a split has."""

    data: Images

    @property
    def cells(self) -> tuple[Cell, ...]:
        return ()

    def number(self, store: Store) -> Number:
        own = store.images(self.data)
        facts = protocol_facts(own, None, (), self.data.called(own))
        mean = len(own) / len(self.data.only)
        return Number(make_record("images_of_a_class", [mean], len(own), self.data.split, 0, facts, readout=None))


@dataclass(frozen=True)
class Models:
    """Cells of one scale, over its training seeds; None where the scale has no such data.

    Attributes:
        seed: of the first training; the others follow it.
    """

    scale: FclScale
    seed: int

    # cells

    def accuracy(
        self, training: Training, damage: Damage = "clean", data: str = "main", rare: bool = False
    ) -> OverSeeds | None:
        """On clean images, under a noise of the paper, the mean over the severities of a corruption, or the mean of
        these over the corruptions of a suite or group.

        Args:
            data: the data set of training and measurement: "main", or a name of `FclScale.others`.
            rare: on the classes 10 to 14 alone.
        """
        if data != "main":
            other = self._others((data,)).get(data)
            return None if other is None else other.accuracy(training, damage, rare=rare)
        scale, corruption, files = self.scale, None if damage == "clean" else damage, None
        if damage in _NOISY:
            measure: Measure = Clean(NOISE_SEED) if rare else Noisy(self._fixed, NOISE_SEED)
            test = replace(self.test, limit=scale.test_images, only=RARE if rare else ())
        else:
            measure = Suite("common-15" if damage == "common-15" else "common-19", seed=NOISE_SEED)
            test = replace(self.test, limit=scale.suite_images)
            files = None if scale.corrupted is None else Images(Source(scale.corrupted), "test", scale.size)
        wanted = Wanted("mca" if damage in _WHOLE else "top1", corruption)
        return self._over_seeds(training, measure, test, wanted, self.readout(training), files)

    def corner_utility(self, training: Training, classes: tuple[int, ...]) -> OverSeeds:
        """The share of all utility in the four corner boxes, for the images of these classes."""
        test = replace(self.test, limit=self.scale.map_images, only=classes)
        return self._over_seeds(training, CornerUtility(self.scale.corner), test, Wanted("corner_utility"))

    def rank_correlation(self, training: Training, of: Output = "embedding") -> OverSeeds:
        """Of every image's utility and the sensitivity of `of`, the mean over images."""
        return self._over_seeds(training, RankCorrelation(of), self.few, Wanted("rank_correlation"))

    def identity_error(self, training: Training) -> OverSeeds:
        """How far the utility is from |d f_y / d x| / f_y, relative to its size."""
        return self._over_seeds(training, IdentityError(), self.few, Wanted("identity_error"))

    def count(self, split: Literal["train", "validation", "test"], classes: tuple[int, ...]) -> Counted:
        """How many images of each of these classes a split has, on average."""
        return Counted(replace(self.test, split=split, only=classes, whole=True))

    def _over_seeds(
        self, training: Training, measure: Measure, test: Images, wanted: Wanted, readout: str | None = None,
        files: Images | None = None,
    ) -> OverSeeds:  # fmt: skip
        about = About(training.name, readout, trained_on=self.damage_met(training))
        seeds = tuple(self.seed + i for i in range(self.scale.seeds))
        cells = tuple(Cell(self.model(training, seed), measure, test, about, wanted, files) for seed in seeds)
        return OverSeeds(cells, seeds)

    # models

    def model(self, training: Training, seed: int) -> Recipe:
        """The classifier of this training with this seed."""
        if training.among:
            return self._validated(training, seed)
        scale, start = self.scale, self.start(training.start, seed)
        own_head = training.start in scale.own_heads
        if training.method == FROZEN:
            return OwnLinear(start, self.train) if own_head else Probed(start, self.train, seed=seed)
        plan = plan_of(scale.plan(training.start), seed)
        return Labelled(
            start, self.train, plan, training.method, "own" if own_head else "new", augment=scale.augment,
            settings=self.settings(training, plan.epochs),
        )  # fmt: skip

    def _validated(self, training: Training, seed: int) -> Validated:
        trials, models = (tuple(self.model(one, at) for one in training.trials) for at in (self.seed, seed))
        validation = replace(self.test, split="validation", limit=self.scale.test_images)
        return Validated(trials, models, Noisy(self._fixed, NOISE_SEED), validation)

    def start(self, name: str, seed: int) -> Recipe:
        """What a training starts from; those of other papers are the same for all seeds."""
        scale = self.scale
        match name:
            case "hardened":
                assert scale.hardening is not None
                return HardeningModels(scale.hardening, self.seed).hardened(HARDENED_ON)
            case "pretrained":
                assert scale.pretraining is not None
                network = Network("probe", PRETRAINED_BY, "SimCLR")
                return PretrainingModels(scale.pretraining, self.seed).pretrained(network)
        return Given(scale.encoder, scale.size, quiet=True, seed=seed)

    def settings(self, training: Training, epochs: float) -> FeatureSettings:
        """The published settings with this scale's changes; those of "supervised" for a frozen encoder: it has none."""
        size, channels, classes = self.scale.kind
        method = "supervised" if training.method == FROZEN else training.method
        published = feature_settings(method, size=size, channels=channels, classes=classes, epochs=epochs)
        own = replace(published, **self.scale.changed(training.method))
        changes = dict[str, Any](training.changes)
        if changes.get("k", 0) >= size * size * channels:
            changes["k"] = size * size * channels // 2
        return replace(own, weight=own.weight * training.weight_times, **changes)

    def readout(self, training: Training) -> str:
        """What records call the classifier on the encoder."""
        if training.method != FROZEN:
            return "end-to-end"
        return "own-head" if training.start in self.scale.own_heads else "probe"

    def damage_met(self, training: Training) -> str | None:
        """The text of the damage that its images met in training, and those of a hardened start before it."""
        hardening = self.scale.hardening if training.start == "hardened" else None
        before = None if hardening is None else hardening.damages[HARDENED_ON]
        own = None if training.method == FROZEN else training_damage(training.method, self.settings(training, 1.0))
        return ", ".join(filter(None, (before, own))) or None

    # images

    @property
    def train(self) -> Images:
        """The images for fitting; whole where the augmentation crops them."""
        scale = self.scale
        if scale.whole is not None:
            return Images(scale.data, "train", limit=scale.train_images, uncropped=scale.whole)
        return self._fixed

    @property
    def _fixed(self) -> Images:
        """Those as test images are read."""
        scale = self.scale
        return Images(scale.data, "train", scale.size, scale.crop_fraction, limit=scale.train_images)

    @property
    def test(self) -> Images:
        """All test images."""
        return Images(self.scale.data, "test", self.scale.size, self.scale.crop_fraction)

    @property
    def few(self) -> Images:
        """Those whose sensitivity is taken."""
        return replace(self.test, limit=self.scale.sensitivity_images)

    # words

    def facts(self, trainings: Sequence[Training], data: Sequence[str] = ()) -> dict[str, str]:
        """What these trainings start from, how they go and their settings of feature contrastive learning and its
        rivals, for the reader.

        Args:
            data: the data sets beside "main".
        """
        sets = {"": self, **{f"{name}, ": other for name, other in self._others(data).items()}}
        plans = {f"{name}{what}": text for name, at in sets.items() for what, text in at._plans(trainings)}
        return plans | {f"{name}{what}": text for name, at in sets.items() for what, text in at._settings(trainings)}

    def chosen_facts(self, trainings: Sequence[Training], store: Store) -> dict[str, str]:
        """Which lambda validation images chose, and what they said of each."""
        return {f"lambda of {own.method}": self._chosen(own, store) for own in trainings if own.among}

    def _chosen(self, training: Training, store: Store) -> str:
        own = self._validated(training, self.seed)
        weights = [self.settings(trial, 1.0).weight for trial in training.trials]
        right = [store.mean_top1(trial, own.measure, own.data, name="a trial") for trial in own.trials]
        tried = ", ".join(f"{weight:g} {100 * value:.1f} %" for weight, value in zip(weights, right, strict=True))
        return f"{weights[own.chosen(store)]:g}; validation images, the mean of clean, UN and NUN: {tried}"

    def _plans(self, trainings: Sequence[Training]) -> Iterator[tuple[str, str]]:
        for start in dict.fromkeys(training.start for training in trainings):
            yield start or "encoder", self._start_words(start)
            head = "its own classifier goes on" if start in self.scale.own_heads else "new classifier"
            yield f"training{start and ', '}{start}", f"{settings_text(self.scale.plan(start))}, {head}"
        yield "augmentation", f"`{self.scale.augment}`" if self.scale.augment else "none"
        for method, changes in self.scale.settings.items():
            yield f"other than published, {method or 'all methods'}", settings_text(changes)

    def _settings(self, trainings: Sequence[Training]) -> Iterator[tuple[str, str]]:
        for training in trainings:
            settings = self.settings(training, plan_of(self.scale.plan(training.start), self.seed).epochs)
            damage = damage_of(settings, None)
            used = settings.used(training.method) | ({} if damage is None else {"on images with": f"`{damage!r}`"})
            if training.among:
                used["weight"] = "among " + ", ".join(f"{settings.weight * times:g}" for times in training.among)
            if used:
                yield f"settings of {training.name}", settings_text(used)

    def _others(self, data: Sequence[str]) -> "dict[str, Models]":
        return {name: Models(other, self.seed) for name, other in self.scale.others.items() if name in data}

    def _start_words(self, start: str) -> str:
        if start == "hardened" and self.scale.hardening is not None:
            made = self.scale.hardening
            return f"`{made.encoder}` hardened against `{made.damages[HARDENED_ON]}`, {settings_text(made.plan)}"
        if start == "pretrained" and self.scale.pretraining is not None:
            plan = settings_text(self.scale.pretraining.plans[PRETRAINED_BY])
            return f"`{self.scale.pretraining.encoder}` pretrained by {PRETRAINED_BY} without labels, {plan}"
        return f"`{self.scale.encoder}`"
