"""`dense`: what hardening position by position is worth to those who need more of an image than one embedding.

Rows are encoder and loss. Columns: at each level, the share of positions of the damaged image's last map, of a vision
transformer its patch tokens, whose nearest among all positions of the original's map of the clean image is the right
one; and the accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from weatherproof.methods import Curriculum
from weatherproof.objectives import Dense
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.measures import Damaged, Likeness
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Hardened, plan_of
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Measurable, Scale, Study, Wanted
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import DESK, LEVELS, LITE, PAPER, RESNET, SMOKE, TINY, VIT, Kind, Subject

ORIGINAL, ALONE = "as it was", "embeddings alone"
POSITIONS, WITH_GRAM = "positions too", "positions and their likeness too"
LOSSES: Mapping[str, Dense | None] = {ALONE: None, POSITIONS: Dense(0.5), WITH_GRAM: Dense(0.5, gram=1.0)}
CLEAN, KIND = "clean", "masks"
_POINT = 0.01


@dataclass(frozen=True)
class Setting:
    """The settings of a scale."""

    name: str
    note: str
    subjects: Mapping[str, Subject]


def row(encoder: str, loss: str) -> str:
    """What a row is called: "ResNet-20: embeddings alone"."""
    return f"{encoder}: {loss}"


def positions(level: str) -> str:
    """What the column of the positions' share is called."""
    return f"positions, {level}"


def accuracy(level: str) -> str:
    """What the column of the accuracy is called."""
    return f"top-1, {level}"


def _damages(kind: Kind) -> dict[str, str]:
    return {CLEAN: "Chain()", **dict(zip(LEVELS, kind.levels, strict=True))}


def grid(scale: Setting, seed: int) -> Scale:
    """The study at a scale."""
    cells: dict[Key, Measurable | None] = {}
    facts: dict[str, str] = {}
    for encoder, subject in scale.subjects.items():
        models, kind = Models(subject, seed), subject.kinds[KIND]
        levels = ", ".join(f"{level} = `{operator}`" for level, operator in _damages(kind).items())
        facts |= {encoder: subject.facts, f"{encoder}, {KIND}": f"trained on `{kind.leaning}`, growing; {levels}"}
        for loss in (ORIGINAL, *LOSSES):
            for column, cell in _cells(models, kind, loss, encoder, seed):
                cells[row(encoder, loss), column] = cell
    facts |= {name: f"`{loss!r}`" for name, loss in LOSSES.items() if loss is not None}
    return Scale(scale.name, scale.note, cells, facts)


def _cells(models: Models, kind: Kind, loss: str, encoder: str, seed: int) -> Iterator[tuple[str, Cell]]:
    made = models.original if loss == ORIGINAL else _hardened(models, kind, LOSSES[loss])
    called = row(encoder, "teacher" if loss == ORIGINAL else loss)
    trained_on = None if loss == ORIGINAL else kind.whole
    bare = About(called, trained_on=trained_on)
    headed = About(called, "own-head" if models.subject.head == "own" else "clean-probe", trained_on=trained_on)
    test: Images = models.test
    for level, operator in _damages(kind).items():
        alike = Likeness(models.original, operator, seed)
        yield positions(level), Cell(made, alike, test, bare, Wanted("position_recall"))
    for level, operator in _damages(kind).items():
        yield accuracy(level), Cell(models.headed(made), Damaged(operator, 1, seed=seed), test, headed)


def _hardened(models: Models, kind: Kind, dense: Dense | None) -> Recipe:
    return Hardened(
        models.original, models.train, kind.leaning, plan_of(models.subject.plan, models.seed),
        augment=models.subject.augment, curriculum=Curriculum(), dense=dense,
    )  # fmt: skip


@awaiting_values
def beside(
    values: Values, encoders: Sequence[str], columns: Sequence[str], high: str, low: str, gain: float
) -> Verdict:
    """In each of the columns, the loss `high` above the loss `low` plus `gain`."""
    pairs = [((row(encoder, high), column), (row(encoder, low), column)) for encoder in encoders for column in columns]
    there = [(one, other) for one, other in pairs if one in values and other in values]
    held = sum(values[one] > values[other] + gain for one, other in there)
    gaps = (f"{one[0].partition(':')[0]}, {one[1]} {100 * (values[one] - values[other]):+.1f}" for one, other in there)
    return held, len(there), ", ".join(gaps)


_ENCODERS = (TINY, RESNET, LITE, VIT)
_PLACES, _ACCURACIES = tuple(map(positions, LEVELS)), tuple(map(accuracy, (CLEAN, *LEVELS)))
CLAIMS = (
    Claim(
        "hardening by embeddings alone brings positions back, too: more of them find themselves than before, at every "
        "level", beside(_ENCODERS, _PLACES, ALONE, ORIGINAL, 0.0),
    ),
    Claim(
        "the dense term brings back more: over a point more positions at every level",
        beside(_ENCODERS, _PLACES, POSITIONS, ALONE, _POINT),
    ),
    Claim(
        "it costs no accuracy: at most a point less, on clean images and at every level",
        beside(_ENCODERS, _ACCURACIES, POSITIONS, ALONE, -_POINT),
    ),
    Claim(
        "holding their likeness too brings back more still, at every level",
        beside(_ENCODERS, _PLACES, WITH_GRAM, POSITIONS, 0.0),
    ),
)  # fmt: skip
TITLE = "Dense: positions of the map after hardening, with and without the dense term (ours, of no paper)"
NOTE = (
    "An encoder hardened against masks as the default of all-weather is, without a gate: by the embeddings alone, with "
    "the dense term (1 - cosine of student and teacher at every position of the last map), and with the likeness of "
    "positions to each other (the Gram matrix) too. Positions: the share of those of the damaged image whose nearest "
    "among all positions of the original's map of the clean image is the right one. Accuracy: under the original's "
    "own head, of the ViT under a linear layer fitted to its embeddings of clean images."
)
SCALES: Mapping[str, Setting] = {
    "smoke": Setting("smoke", SMOKE.note, {TINY: SMOKE.subjects[TINY]}),
    "desk": Setting(
        "desk",
        "ResNet-20 and the small ViT of all-weather, one training seed: 10,000 images of CIFAR-10 (JPEG copies), a map "
        "of 8x8 positions and 4x4 patch tokens.",
        {name: DESK.subjects[name] for name in (RESNET, VIT)},
    ),
    "paper": Setting(
        "paper", "The encoders of all-weather: for a GPU.", {name: PAPER.subjects[name] for name in (RESNET, LITE, VIT)}
    ),
}  # fmt: skip

_STUDY: Study = sized("dense", TITLE, SCALES, grid, CLAIMS, NOTE, ours=True)
STUDIES = {_STUDY.name: _STUDY}
