"""The networks of pretraining studies as recipes, and their cells, at a scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from weatherproof.studies.lab.classifiers import Finetuned, Labelled, Probed
from weatherproof.studies.lab.measures import Clean, Suite
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Given, Pretrained, plan_of, settings_of
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Check, Key, Scale, Study, Wanted
from weatherproof.studies.papers.pretraining.scales import Network, Pretraining

SUITE = "common-15"
Metric = Literal["top1", "clean_calibration_error", "corruption_error", "calibration_error", "pooled_calibration_error"]
Table = Mapping[Key, tuple[Network, Metric]]

TOP1, ERROR, CALIBRATION = "top-1", "corruption error", "calibration error"
POOLED = "calibration error, pooled"  # not in the paper, which does not say how it puts its sets together
METRICS: Mapping[str, Metric] = {
    TOP1: "top1",
    ERROR: "corruption_error",
    CALIBRATION: "calibration_error",
    POOLED: "pooled_calibration_error",
}
ROBUSTNESS_NOTE = (
    "Linear evaluation on clean images. Corruption error: the mean top-1 error over the 15 common corruptions at five "
    "severities; on ImageNet (paper scale) in units of AlexNet's, the mCE as published; with other classes these units "
    "mean nothing, so elsewhere it is the error itself. Calibration error: RMS with bins of 100 images, the mean of "
    "the 75 sets; pooled: of all their images together (the paper does not say which). Frost is synthetic where "
    "corruptions are made on the fly."
)

_CLEAN: Mapping[str, Wanted] = {"top1": Wanted("top1"), "clean_calibration_error": Wanted("rms_calibration_error")}
_CORRUPTED = {
    "corruption_error": Wanted(("mce", "unnormalised_mce"), SUITE),  # in units of AlexNet's errors on ImageNet
    "calibration_error": Wanted("mean_rms_calibration_error", SUITE),
    "pooled_calibration_error": Wanted("rms_calibration_error", SUITE),
}
_READOUTS = {"probe": "probe", "supervised": "end-to-end", "fine-tuned": "mlp"}


@dataclass(frozen=True)
class Models:
    """The networks of one scale and seed."""

    scale: Pretraining
    seed: int

    def cell(self, network: Network, metric: Metric) -> Cell:
        """A number of a network.

        Args:
            metric: "top1" and "clean_calibration_error", the RMS calibration error, on all clean test images;
                "corruption_error", the mean over the 15 common corruptions at their five severities;
                "calibration_error", the mean RMS calibration error of these 75 sets; "pooled_calibration_error", that
                of all their images together.
        """
        model, about = self.recipe(network), self.about(network)
        if metric in _CLEAN:
            return Cell(model, Clean(self.seed), self.test(self.scale.test_images), about, _CLEAN[metric])
        suite = Suite(SUITE, seed=self.seed)
        test, made = self.test(self.scale.suite_images), self.scale.corrupted
        files = None if made is None else Images(Source(made), "test", self.scale.size, channels=self.scale.channels)
        return Cell(model, suite, test, about, _CORRUPTED[metric], files)

    def about(self, network: Network) -> About:
        """What its records say beside the number."""
        views = self.scale.views[network.views] if network.views else None
        return About(network.name, _READOUTS[network.kind], network.labels, views)

    def recipe(self, network: Network) -> Recipe:
        """The encoder and its readout."""
        match network.kind:
            case "supervised":
                return self.supervised(network)
            case "fine-tuned":
                return self._finetuned(network)
        scale = self.scale
        return Probed(
            self.pretrained(network), self.train, scale.fit, augment=scale.fit_augment,
            labels=network.labels, seed=self.seed, workers=scale.fit_workers,
        )  # fmt: skip

    def pretrained(self, network: Network) -> Pretrained:
        """The encoder after learning from the network's views, without labels."""
        scale, penalty = self.scale, self.scale.penalty_of(network)
        settings = {**scale.methods.get(network.method, {}), **({} if penalty is None else {"tikhonov": penalty})}
        return Pretrained(
            self._start, self.train, network.method, scale.views[network.views],
            plan_of(scale.plans[network.method], self.seed), settings_of(settings),
            None if network.layers is None else settings_of(scale.layers[network.layers]),
        )  # fmt: skip

    def supervised(self, network: Network) -> Labelled:
        """The same network from random weights, trained end to end."""
        scale = self.scale
        return Labelled(
            self._start, self.train, plan_of(scale.supervised_plan, self.seed), augment=scale.augment,
            labels=network.labels, same_steps=scale.same_steps, tikhonov=scale.penalty_of(network),
        )  # fmt: skip

    def _finetuned(self, network: Network) -> Finetuned:
        """The pretrained encoder and a new two-layer classifier, trained together."""
        scale = self.scale
        return Finetuned(
            self.pretrained(network), self.train, plan_of(scale.finetuning_plan, self.seed), augment=scale.augment,
            labels=network.labels, same_steps=scale.same_steps, begins=network.begins,
        )  # fmt: skip

    @property
    def _start(self) -> Given:
        return Given(self.scale.encoder, classes=0, bare=True, quiet=True, seed=self.seed)

    @property
    def train(self) -> Images:
        """The images for fitting; uncropped where views cut out of whole ones."""
        scale, source = self.scale, self.scale.data["main"]
        if scale.whole is not None:
            return Images(source, "train", channels=scale.channels, limit=scale.train_images, uncropped=scale.whole)
        return Images(source, "train", scale.size, scale.crop_fraction, scale.channels, scale.train_images)

    def test(self, limit: int | None) -> Images:
        """The images for measuring."""
        scale = self.scale
        return Images(scale.data["main"], "test", scale.size, scale.crop_fraction, scale.channels, limit)


def study(
    name: str, title: str, table: Table, scales: Mapping[str, Pretraining], claims: tuple[Check, ...], note: str
) -> Study:  # fmt: skip
    """A table of networks and metrics as a study."""

    def at(settings: Pretraining, seed: int) -> Scale:
        models = Models(settings, seed)
        cells = {key: models.cell(*own) for key, own in table.items()}
        return Scale(settings.name, settings.note, cells, settings.facts(network for network, _ in table.values()))

    return sized(name, title, scales, at, claims, note)
