"""`zero-shot`: images that are named by words, clean and damaged, before hardening and after. Hardening sees no words:
the text side stays as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weatherproof.data.cifar_classes import CIFAR_10
from weatherproof.methods import Curriculum
from weatherproof.studies.lab.claims import Below, at_most_below
from weatherproof.studies.lab.classifiers import Own
from weatherproof.studies.lab.measures import Damaged
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import FAST, Gated, Given, Hardened, plan_of
from weatherproof.studies.lab.sets import WHOLE, Images, Source
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Measurable, Scale, Study, Wanted, settings_text
from weatherproof.studies.lab.words import ByWords, FittedTower, Tower, TowerOf, WordHead
from weatherproof.studies.weather.scales import LARGE, LEVELS, SMALL, Kind

CLEAN = "clean"
COLUMNS = (CLEAN, *LEVELS)
BEFORE, AFTER = "as it was", "hardened"  # by the default: behind a gate
AGREEMENT, _SAME = "agreement with its own clean answer", "agreement"
OWN = "own classifier"
POINTS = 0.005  # within half a point

# None of these is among the prompts that are asked with, which are those of `words_of`.
FITTING = ("a picture of a {}", "a photo of a {}", "one {}", "the {}", "this is a {}", "a {} outside", "{}")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Subject:
    """An encoder, its words, its images, and how it is hardened.

    Attributes:
        encoder: its text; without a text tower of its own (`fitted`), one is fitted to its training images.
        classes: lines of `words_of`, or ("imagenet",).
        kinds: of damage.
        own: its own classifier is measured beside.
        whole: hardening reads its images whole, the longer side at most so many pixels, for `augment` to crop them;
            None: as all others are read.
    """

    encoder: str
    data: Source
    classes: tuple[str, ...]
    kinds: Mapping[str, Kind]
    plan: Mapping[str, Any]
    fitted: bool = True
    own: bool = False
    outputs: int | None = None
    size: int | None = None
    whole: int | None = None
    augment: str | None = None
    train_images: int | None = None
    test_images: int | None = None

    @property
    def facts(self) -> str:
        """Its settings, for the reader."""
        side = "a text side fitted to the training images and their labels" if self.fitted else "its own text tower"
        counts = f"{self.train_images or 'all'} training images"
        return f"`{self.encoder}`, {side}, {counts}, {settings_text(self.plan)}, augmentation `{self.augment}`"

    @property
    def train(self) -> Images:
        return Images(self.data, "train", self.size, limit=self.train_images)

    @property
    def seen(self) -> Images:
        """The training images as hardening looks at them."""
        return self.train if self.whole is None else replace(self.train, size=None, uncropped=self.whole)

    @property
    def test(self) -> Images:
        return Images(self.data, "test", self.size, limit=self.test_images)

    def original(self, seed: int) -> Recipe:
        return Given(self.encoder, self.size, self.outputs, quiet=self.outputs is not None, seed=seed)

    def hardened(self, kind: Kind, seed: int) -> Recipe:
        """As `harden` does by default."""
        student = Hardened(
            self.original(seed), self.seen, kind.leaning, plan_of(self.plan, seed), augment=self.augment,
            curriculum=Curriculum(),
        )  # fmt: skip
        return Gated(self.original(seed), student, self.train, kind.whole, "embeddings", seed)

    def head(self, seed: int) -> WordHead:
        tower: Tower = TowerOf(self.encoder)
        if self.fitted:
            tower = FittedTower(self.original(seed), self.train, self.classes, FITTING)
        return WordHead(tower, self.classes)


@dataclass(frozen=True)
class Sizes:
    """The settings of a scale, encoders by name."""

    name: str
    note: str
    subjects: Mapping[str, Subject] = field(default_factory=dict)


def row(encoder: str, kind: str, how: str) -> str:
    """What a row is called: "ResNet-20, masks: as it was"."""
    return f"{encoder}, {kind}: {how}"


def grid(scale: Sizes, seed: int) -> Scale:
    """The study at a scale."""
    cells: dict[Key, Measurable | None] = {}
    facts = dict[str, str]()
    for name, subject in scale.subjects.items():
        facts[name] = subject.facts
        for kind_name, kind in subject.kinds.items():
            levels = ", ".join(f"{c} = `{o}`" for c, o in zip(LEVELS, kind.levels, strict=True))
            facts[f"{name}, {kind_name}"] = f"hardened on `{kind.whole}`; {levels}"
            rows = _rows(subject, kind, seed)
            for how, (model, about, metric) in rows.items():
                for column, operator in zip(COLUMNS, ("Chain()", *kind.levels), strict=True):
                    measured = Cell(model, Damaged(operator, 1, (metric,), seed), subject.test, about, Wanted(metric))
                    cells[row(name, kind_name, how), column] = None if (metric, column) == (_SAME, CLEAN) else measured
    return Scale(scale.name, scale.note, cells, facts)


def _rows(subject: Subject, kind: Kind, seed: int) -> dict[str, tuple[Recipe, About, str]]:
    """Model, what is said of it, and metric of each row."""
    encoders = {BEFORE: subject.original(seed), AFTER: subject.hardened(kind, seed)}
    trained = {BEFORE: None, AFTER: kind.whole}
    called = {BEFORE: "teacher", AFTER: "hardened"}
    made: dict[str, tuple[Recipe, About, str]] = {}
    for how, encoder in encoders.items():
        by_words = ByWords(encoder, subject.head(seed), subject.test)
        about = About(called[how], "zero-shot", trained_on=trained[how])
        made[how] = by_words, about, "top1"
        made[f"{how}, {AGREEMENT}"] = by_words, about, _SAME
    if subject.own:
        for how, encoder in encoders.items():
            own = Own(encoder, subject.train, among=True)
            made[f"{how}, {OWN}"] = own, About(called[how], "own-head", trained_on=trained[how]), "top1"
    return made


# the claims


def _pairs(columns: Sequence[str], by: float, how: str = "{}") -> list[Below]:
    return [
        ((row(name, kind, how.format(AFTER)), column), (row(name, kind, how.format(BEFORE)), column), by)
        for name in NAMES
        for kind in SMALL
        for column in columns
    ]


TINY, RESNET, RN101, VIT = "small CNN", "ResNet-20", "CLIP RN101", "CLIP ViT-B/32"
NAMES = (TINY, RESNET, RN101, VIT)


def _some(kinds: Mapping[str, Kind], *names: str) -> Mapping[str, Kind]:
    return {name: kinds[name] for name in names}


_SMOKE = Subject(
    encoder="small",
    data=Source("digits"),
    classes=tuple(f"{i}\t{word}" for i, word in enumerate(_DIGITS)),
    kinds=_some(SMALL, "masks"),
    plan={"epochs": 1, "batch_size": 64, "lr": 3e-3},
    own=True,
    outputs=10,
    train_images=128,
    test_images=48,
)
_RESNET = Subject(
    encoder="resnet20@$DATA/resnet20-12fca82f.th",
    data=Source("cifar10:$DATA/cifar10"),
    classes=CIFAR_10,
    kinds=_some(SMALL, "masks", "noise"),
    plan={"epochs": 3, "batch_size": 128, "lr": 3e-3, "precision": FAST},
    own=True,
    augment="HorizontalFlip()",
    train_images=5_000,
    test_images=1_000,
)
_CLIP = Subject(
    encoder="open_clip:RN101/openai",
    data=Source("imagenet100:$DATA/imagenet"),
    classes=("imagenet",),
    kinds=LARGE,
    plan={"epochs": 25, "batch_size": 256, "lr": 3e-4, "precision": "16-mixed", "workers": 8},
    fitted=False,
    size=224,
    whole=WHOLE,
    augment="Chain(RandomResizedCrop(224), HorizontalFlip())",
)

SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes("smoke", "Random weights and a handful of images: the numbers mean nothing.", {TINY: _SMOKE}),
    "desk": Sizes(
        "desk",
        "No CLIP: ResNet-20 on CIFAR-10 (JPEG copies) with 5,000 images, three epochs, and a small text side that is "
        "fitted to it. That counts groups of letters and has a linear map to the mean of the clean training images of "
        "each class: labels of clean images went into it, and it knows these ten classes alone. It is asked with "
        "prompts that it was not fitted with. What is tested is whether hardening, which sees neither words nor "
        "labels, leaves images where words find them.",
        {RESNET: _RESNET},
    ),
    "paper": Sizes(
        "paper",
        "CLIP with its own text tower, ImageNet-100 among the 1,000 classes of ImageNet in OpenAI's words: for a GPU.",
        {RN101: _CLIP, VIT: replace(_CLIP, encoder="open_clip:ViT-B-32/openai")},
    ),
}

TITLE = "Named by words: hardened images, and a text side that nobody touched (ours, of no paper)"
NOTE = (
    "Hardened is as `harden` does it by default: from none to severe, two fifths of the images in the worst "
    "quarter, growing, and behind a gate. Classes by words are the normalised mean over seven prompts. Agreement "
    "needs no label: how often the answer to the damaged image is the one that the same encoder gives to the clean one."
)
CLAIMS = (
    Claim(
        "by words, clean images: within half a point of the encoder as it was", at_most_below(_pairs((CLEAN,), POINTS))
    ),
    Claim("by words, every level: not below the encoder as it was", at_most_below(_pairs(LEVELS, 0.0))),
    Claim(
        "by words, strong and severe: at least ten points above the encoder as it was",
        at_most_below(_pairs(("strong", "severe"), -0.1)),
    ),
    Claim(
        "agreement, every level: not below the encoder as it was",
        at_most_below(_pairs(LEVELS, 0.0, f"{{}}, {AGREEMENT}")),
    ),
)

_STUDY: Study = sized("zero-shot", TITLE, SCALES, grid, CLAIMS, NOTE, ours=True)
STUDIES = {_STUDY.name: _STUDY}
