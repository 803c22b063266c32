"""`all-weather`: what a hardened encoder is worth from clean images to severe damage, recipe by recipe.

Rows are encoder, kind of damage and recipe; columns clean images, four levels of that kind, and another kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from weatherproof.methods import Curriculum, KeepClean
from weatherproof.studies.lab.claims import Below, at_most_below, awaiting_values, place
from weatherproof.studies.lab.classifiers import Headed, Own, Probed
from weatherproof.studies.lab.joins import OverSeeds
from weatherproof.studies.lab.measures import Damaged
from weatherproof.studies.lab.paired import Comparison, PairedClaim, Samples, measured
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Between, Gated, Given, Hardened, Pretrained, Unit, plan_of, settings_of
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Measurable, Scale, Study
from weatherproof.studies.weather.scales import (
    DEFAULT,
    FIFTH,
    GROWING,
    GROWN,
    HALF,
    HALFWAY,
    JOINT,
    KINDS,
    LEANING,
    LEVELS,
    ORIGINAL,
    PROMISE,
    SCALES,
    SEVERE,
    SEVERE_GROWING,
    SPECIALISTS,
    SUBJECTS,
    TOGETHER,
    TOGETHER_GATED,
    WHOLE,
    WHOLE_GROWING,
    Kind,
    Subject,
    Weather,
    one_of,
)

CLEAN, UNSEEN = "clean", "another kind"
COLUMNS = (CLEAN, *LEVELS, UNSEEN)
POINTS = {"nothing lost": 0.005, "specialist": 0.01}  # of the promise: within half a point, within one

_KEPT = {
    SEVERE: None,
    FIFTH: KeepClean(0.2, 0.0),
    HALF: KeepClean(0.5, 0.0),
    WHOLE: None,
    PROMISE: KeepClean(),
    LEANING: None,
    SEVERE_GROWING: None,
    WHOLE_GROWING: None,
    GROWING: None,
    TOGETHER: None,
}
_SEVERE = (SEVERE, FIFTH, HALF, SEVERE_GROWING)
_LEANING = (LEANING, GROWING)
_GROWING = (SEVERE_GROWING, WHOLE_GROWING, GROWING, TOGETHER)


def row(encoder: str, kind: str, recipe: str) -> str:
    """What a row is called: "ResNet-20, masks: as it was"."""
    return f"{encoder}, {kind}: {recipe}"


@dataclass(frozen=True)
class Models:
    """The models of one encoder and one training seed."""

    subject: Subject
    seed: int

    def classifier(self, recipe: str, kind: Kind) -> Recipe:
        """The encoder of a row under its head."""
        return self.headed(self.encoder(recipe, kind))

    def headed(self, encoder: Recipe) -> Recipe:
        """An encoder under its head: its own one, or a probe of the original's."""
        if self.subject.head == "own":
            return Own(encoder, self.train, among=True)
        return Headed(Unit(encoder), Probed(Unit(self.original), self.train, seed=self.seed))

    def encoder(self, recipe: str, kind: Kind) -> Recipe:
        """The encoder of a row."""
        if recipe == ORIGINAL:
            return self.original
        if recipe == HALFWAY:
            return Between(self.original, self.encoder(SEVERE, kind), 0.5, self.train)
        if recipe == DEFAULT:
            return self._gated(self.encoder(GROWING, kind), kind.whole)
        if recipe == TOGETHER_GATED:
            return self._gated(self.encoder(TOGETHER, kind), self.subject.every_kind)
        if recipe == TOGETHER:
            return self._hardened(recipe, one_of(own.leaning for own in self.subject.kinds.values()))
        operator = kind.severe if recipe in _SEVERE else kind.leaning if recipe in _LEANING else kind.whole
        return self._hardened(recipe, operator)

    def _hardened(self, recipe: str, operator: str) -> Hardened:
        return Hardened(
            self.original, self.train, operator, plan_of(self.subject.plan, self.seed), augment=self.subject.augment,
            keep=_KEPT[recipe], curriculum=Curriculum() if recipe in _GROWING else None,
        )  # fmt: skip

    def _gated(self, hardened: Recipe, operator: str) -> Gated:
        by: Literal["answers", "embeddings"] = "answers" if self.subject.head == "own" else "embeddings"
        return Gated(self.original, hardened, self.train, operator, by, self.seed)

    @property
    def original(self) -> Recipe:
        """The encoder before all hardening."""
        subject = self.subject
        if subject.pretraining is None:
            return Given(
                subject.encoder, subject.size, subject.classes, quiet=subject.classes is not None, seed=self.seed
            )
        start = Given(subject.encoder, subject.size, classes=0, quiet=True, seed=self.seed)
        plan, side = plan_of(subject.pretraining, self.seed), subject.size or 32
        method = settings_of({"temperature": 0.5, "projector": "mlp"})
        return Pretrained(start, self.train, "simclr", f"SimCLR({side})", plan, method)

    @property
    def train(self) -> Images:
        subject = self.subject
        return Images(subject.data, "train", subject.size, limit=subject.train_images)

    @property
    def test(self) -> Images:
        subject = self.subject
        return Images(subject.data, "test", subject.size, limit=subject.test_images)


def grid(scale: Weather, seed: int) -> Scale:
    """The study at a scale."""
    cells: dict[Key, Measurable | None] = {}
    facts, sources = dict[str, str](), [subject.data for subject in scale.subjects.values()]
    for encoder, subject in scale.subjects.items():
        facts[encoder] = subject.facts
        for name, asked in subject.asked.items():
            kind = subject.kinds[name]
            facts[f"{encoder}, {name}"] = _levels(kind)
            for recipe, count in [(recipe, own.seeds) for own in asked for recipe in own.rows]:
                seeds = tuple(seed + i for i in range(count))
                called = "teacher" if recipe == ORIGINAL else recipe
                about = f"{encoder}: {called}" if sources.count(subject.data) > 1 else called
                made = [_cells(Models(subject, own), recipe, kind, about, seed) for own in seeds]
                for column, *own in zip(COLUMNS, *made, strict=True):
                    joined = OverSeeds(tuple(own), seeds) if len(seeds) > 1 else own[0]
                    cells[row(encoder, name, recipe), column] = joined
    return Scale(scale.name, scale.note, cells, facts)


def _damages(kind: Kind) -> tuple[str, ...]:
    return "Chain()", *kind.levels, kind.unseen


def _levels(kind: Kind) -> str:
    levels = ", ".join(f"{column} = `{operator}`" for column, operator in zip(COLUMNS, _damages(kind), strict=True))
    return f"trained on `{kind.severe}` (severe) or `{kind.whole}`; {levels}"


def _cells(models: Models, recipe: str, kind: Kind, called: str, seed: int) -> list[Cell]:
    """A row of one training, in the order of the columns. The damage is that of the run's seed whatever the training's:
    all meet the same images."""
    about = About(
        called, "own-head" if models.subject.head == "own" else "clean-probe",
        trained_on=_trained_on(models.subject, recipe, kind),
    )  # fmt: skip
    classifier, test = models.classifier(recipe, kind), models.test
    return [Cell(classifier, Damaged(operator, 1, seed=seed), test, about) for operator in _damages(kind)]


def _trained_on(subject: Subject, recipe: str, kind: Kind) -> str | None:
    """The damage, without how it leans or grows."""
    if recipe == ORIGINAL:
        return None
    if recipe in JOINT:
        return subject.every_kind
    return kind.severe if recipe in (*_SEVERE, HALFWAY) else kind.whole


# the promise, as comparisons of rows


def clean_is_kept(recipe: str) -> list[Below]:
    """Clean, within half a point of the original."""
    return [(own(recipe), own(ORIGINAL), POINTS["nothing lost"]) for own in _of(CLEAN)]


def levels_are_no_loss(recipe: str) -> list[Below]:
    """At every level, within half a point of the original, or above it."""
    return [(own(recipe), own(ORIGINAL), POINTS["nothing lost"]) for level in LEVELS for own in _of(level)]


def levels_are_specialists(recipe: str, specialists: Sequence[str]) -> list[Below]:
    """At every level, within a point of each specialist, so of the best."""
    return [
        (own(recipe), own(other), POINTS["specialist"])
        for level in LEVELS
        for own in _of(level)
        for other in specialists
    ]


def mild_is_no_loss(recipe: str) -> list[Below]:
    """At the mild level, not below the original."""
    return [(own(recipe), own(ORIGINAL), 0.0) for own in _of(LEVELS[0])]


class _Place:
    """Cells of one encoder, kind and column, by recipe."""

    def __init__(self, encoder: str, kind: str, column: str) -> None:
        self.encoder, self.kind, self.column = encoder, kind, column

    def __call__(self, recipe: str) -> Key:
        return row(self.encoder, self.kind, recipe), self.column


def _of(column: str) -> Iterator[_Place]:
    return (_Place(encoder, kind, column) for encoder in SUBJECTS for kind in KINDS)


@awaiting_values
def shown(samples: Samples, pairs: Sequence[Below]) -> list[Comparison]:
    """The same over the training seeds."""
    return [
        Comparison(f"{place(high)} against {low[0].partition(': ')[2]}", tuple(samples[high]), tuple(samples[low]), by)
        for high, low, by in pairs
        if measured(samples, high, low)
    ]


def _claims(recipe: str, words: str) -> tuple[Claim | PairedClaim, ...]:
    comparisons = {
        f"{words} on clean images: within half a point of the encoder as it was": clean_is_kept(recipe),
        f"{words} at every level: at most half a point below the encoder as it was": levels_are_no_loss(recipe),
        f"{words} at every level: within a point of the best specialist of that kind": levels_are_specialists(
            recipe, SPECIALISTS
        ),
        f"{words} at every level: within a point of the best specialist that grows too": levels_are_specialists(
            recipe, GROWN
        ),
        f"{words} at the mild level: not below the encoder as it was": mild_is_no_loss(recipe),
    }
    means = (Claim(text, at_most_below(pairs), independent=False) for text, pairs in comparisons.items())
    paired = (PairedClaim(f"{text}, shown over the seeds", shown(pairs)) for text, pairs in comparisons.items())
    return (*means, *paired)


TITLE = "All weather: one encoder for clean and damaged images (ours, of no paper)"
NOTE = (
    "All recipes of an encoder see as many images in as many steps. A specialist is trained on one kind alone: on its "
    "severe range, or on the range from none. Halfway in weights between as it was and the severe range's, batch "
    "normalisation takes its statistics anew, over clean images. Promised: a fifth of the images are clean, and a "
    "multiplier holds their mean cosine to 0.95. Leaning: two fifths of the images draw their level from the worst "
    "quarter of the range. Growing: in the first two fifths of the steps levels lie at a share of their way from none "
    "that grows from 0.3 to 1. The default is that encoder and the one as it was behind a gate: a gauge, which sees "
    "pixels and no labels, says which of them answers. One for all five kinds is trained and gated as the default is, "
    "in as many steps, and each image meets one of the five, so that another kind is no unseen one. The mild level is "
    "25 % masked, noise of 0.05, a blur of 0.5 pixels, JPEG of quality 80, a quarter of the contrast gone. Rows "
    "without ± are of one training."
)

CLAIMS = (
    *_claims(DEFAULT, "the default"),
    *_claims(GROWING, "the same without a gate"),
    *_claims(TOGETHER_GATED, "one encoder for all five kinds, behind its gate"),
)

_STUDY: Study = sized("all-weather", TITLE, SCALES, grid, CLAIMS, NOTE, ours=True)
STUDIES = {_STUDY.name: _STUDY}
