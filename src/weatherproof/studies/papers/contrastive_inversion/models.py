"""The models of contrastive inversion and their cells, at a scale. Damages and data sets go by the scale's names."""

from dataclasses import dataclass, replace
from typing import Literal

from weatherproof.operators import COMMON_19
from weatherproof.readouts import Adam
from weatherproof.studies.lab.classifiers import Headed, Labelled, Own, Probed, Restored
from weatherproof.studies.lab.measures import Damaged, Suite
from weatherproof.studies.lab.recipes import Given, Hardened, Unit, plan_of
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Wanted
from weatherproof.studies.papers.contrastive_inversion.pictures import ModelPair, OneSided
from weatherproof.studies.papers.contrastive_inversion.scales import Hardening

TOP = ("top1", "top5")  # measured together: a table and its top-5 look at the same answers
_OWN = ("main", "shift")  # the sets that the networks themselves are trained on


@dataclass(frozen=True)
class Models:
    """Cells of one scale and seed; None where the scale has no such data."""

    scale: Hardening
    seed: int

    # cells

    def supervised(self, trained: str, tested: str, *, data: str = "main", metric: str = "top1") -> Cell | None:
        """The rival network, trained end to end on damaged images."""
        if data not in self.scale.data:
            return None
        about = self._about("supervised", "end-to-end", trained)
        return self._cell(self.rival(trained, data), about, tested, data, metric)

    def probe(
        self, trained: str, tested: str, *, labels: float = 1.0, objective: str = "StudentTeacher()",
        data: str = "main", metric: str = "top1",
    ) -> Cell | None:  # fmt: skip
        """A linear layer fitted on the hardened encoder's embeddings of damaged images."""
        if data not in self.scale.data:
            return None
        model = self._probed(self.hardened(trained, data, objective), trained, data, labels)
        called = "hardened" if objective == "StudentTeacher()" else f"hardened, {objective.removesuffix('()')}"
        return self._cell(model, self._about(called, "probe", trained, labels), tested, data, metric)

    def rival_probe(self, trained: str, tested: str, *, data: str, metric: str = "top1") -> Cell | None:
        """The same on the frozen features of the supervised rival."""
        if data not in self.scale.data:
            return None
        model = self._probed(self.rival(trained, "main"), trained, data, 1.0)
        return self._cell(model, self._about("supervised", "probe", trained), tested, data, metric)

    def clean_probe(self, trained: str, tested: str) -> Cell:
        """A linear layer fitted on the teacher's embeddings of clean images, on the hardened encoder."""
        hardened = self.hardened(trained)
        body = hardened if self.scale.as_published else Unit(hardened)
        model = Headed(body, self._clean_probe(self.scale.encoder))
        return self._cell(model, self._about("hardened", "clean-probe", trained), tested)

    def own_head(self, trained: str, tested: str) -> Cell:
        """The pretrained model's own classifier, put on the hardened encoder."""
        model = Own(self.hardened(trained), self._train("main"))
        return self._cell(model, self._about("hardened", "own-head", trained), tested)

    def teacher(self, tested: str) -> Cell:
        """The pretrained model as it was, under its own classifier."""
        model = Own(self._pretrained(self.scale.encoder), self._train("main"))
        return self._cell(model, About("teacher", "own-head", 1.0), tested)

    def plain(self, tested: str) -> Cell:
        """The pretrained model as it was, under a linear layer that was fitted on clean images."""
        return self._cell(self.plain_model, About("teacher", "clean-probe", 1.0), tested)

    def one_sided(self, damage: str, of_ours: bool) -> OneSided:
        """How often ours alone is right, or the supervised baseline alone."""
        return OneSided(self.pair(damage), of_ours)

    def pair(self, damage: str) -> ModelPair:
        """Ours and the supervised baseline, both trained on this damage, on test images under it."""
        ours = self._probed(self.hardened(damage), damage, "main", 1.0)
        return ModelPair(ours, self.rival(damage, "main"), self.tested(), self.scale.damages[damage], self.seed)

    def restored(self, tested: str, restoration: str, draws: int = 1) -> Cell:
        """The image is restored in pixel space, then the rival's network with a clean probe classifies it.

        Args:
            draws: of the damage.
        """
        scale = self.scale
        model = Restored(scale.restoration.get(restoration, restoration), self._clean_probe(scale.rival))
        measure = Damaged(scale.damages[tested], draws, seed=self.seed)
        return Cell(model, measure, self._test("main", scale.restored_images), About("restored", "clean-probe", 1.0))

    def _cell(self, model: Recipe, about: About, tested: str, data: str = "main", metric: str = "top1") -> Cell:
        test, scale = self._test(data, self.scale.test_images), self.scale
        if tested in COMMON_19:  # the mean over its five severities; all 19 are met at once
            files = None if scale.corrupted is None else Images(Source(scale.corrupted), "test", scale.size)
            return Cell(model, Suite("common-19", seed=self.seed), test, about, Wanted(metric, tested), files)
        metrics = TOP if metric in TOP else (metric,)
        measure = Damaged(scale.damages[tested], scale.realizations, metrics, seed=self.seed)
        return Cell(model, measure, test, about, Wanted(metric))

    def _about(self, model: str, readout: str, trained: str, labels: float = 1.0) -> About:
        return About(model, readout, labels, self.scale.damages[trained])

    # recipes

    def hardened(self, trained: str, data: str = "main", objective: str = "StudentTeacher()") -> Hardened:
        """The student of this damage and objective, of the scale's main images."""
        scale = self.scale
        return Hardened(
            self._pretrained(scale.encoder), self._train(self._trains_on(data)), scale.damages[trained],
            plan_of(scale.plan, self.seed), objective, scale.augment,
        )  # fmt: skip

    def rival(self, trained: str, data: str) -> Labelled:
        """The supervised baseline, fine-tuned end to end."""
        scale = self.scale
        return Labelled(
            self._pretrained(scale.rival), self._train(self._trains_on(data)), plan_of(scale.rival_plan, self.seed),
            operator=scale.damages[trained], augment=scale.augment,
        )  # fmt: skip

    def _trains_on(self, data: str) -> Literal["main", "shift"]:
        """Where classes are left out of training the networks must not have seen them."""
        return "shift" if data == "shift" and self.scale.data["shift"].without else "main"

    def _probed(self, start: Recipe, trained: str, data: str, labels: float) -> Probed:
        scale, fit, augment = self.scale, self.scale.fit, None
        if isinstance(fit, Adam):
            augment = scale.augments.get(data, scale.augment)
            few, own = labels < 1, data in _OWN
            fit = replace(fit, batch_size=8 if few else 128, schedule="constant" if own else "cosine")  # Appendix D.1
        return Probed(
            start, self._train(data), fit, scale.damages[trained], augment, labels, self.seed, scale.fit_workers
        )

    @property
    def plain_model(self) -> Probed:
        """The pretrained model under a linear layer of clean images."""
        return self._clean_probe(self.scale.encoder)

    def _clean_probe(self, network: str) -> Probed:
        """A linear layer on a network as it is, fitted on clean images."""
        scale, given, train = self.scale, self._pretrained(network), self._train("main")
        if not scale.as_published:
            return Probed(Unit(given), train, seed=self.seed)
        return Probed(given, train, scale.fit, augment=scale.augment, seed=self.seed, workers=scale.fit_workers)

    def _pretrained(self, text: str) -> Given:
        return Given(text, self.scale.size, seed=self.seed)

    # images

    def _train(self, data: str) -> Images:
        scale = self.scale
        limit = scale.train_images if data in _OWN else None
        if scale.whole is not None and data not in scale.augments:
            return Images(scale.data[data], "train", limit=limit, uncropped=scale.whole)
        return Images(scale.data[data], "train", scale.size, scale.crop_fraction, limit=limit)

    def tested(self) -> Images:
        """The test images of the main set."""
        return self._test("main", self.scale.test_images)

    def _test(self, data: str, limit: int | None) -> Images:
        scale = self.scale
        return Images(scale.data[data], "test", scale.size, scale.crop_fraction, limit=limit)
