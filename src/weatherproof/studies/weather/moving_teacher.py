"""`moving-teacher`: a teacher whose last stage moves with the student, with an anchor to what it was and without one.

Rows are objective and teacher. Columns: accuracy on clean images and under masks, by a probe of each row's own clean
embeddings; on clean images under the original's own head; and how spread out the clean embeddings are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weatherproof.methods import Anchor
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.classifiers import Own, Probed
from weatherproof.studies.lab.joins import OverSeeds
from weatherproof.studies.lab.measures import Damaged, Spread
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Hardened, TaughtByMoving, Unit, plan_of
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Measurable, Scale, Study, Wanted
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import DESK, PAPER, RESNET, SMALL, SMOKE, TINY, Subject

ORIGINAL, FIXED = "as it was", "fixed teacher"
ANCHORED, SIMILAR, LOOSE = "moving, with an anchor", "moving, its similarities too", "moving, without an anchor"
ANCHORS: Mapping[str, Anchor] = {ANCHORED: Anchor(1.0), SIMILAR: Anchor(1.0, similarity=1.0), LOOSE: Anchor(0.0)}
OBJECTIVES: Mapping[str, str] = {"contrastive": "StudentTeacher()", "least squares": "MSE()"}

CLEAN, OWN_HEAD, RANK, DEVIATION = "clean", "clean, own head", "effective rank", "standard deviation"
MASKS: Mapping[str, str] = {f"mask {share}": f"RandomMask({share})" for share in (0.5, 0.75, 0.9)}
FAR = "mask 0.9"  # where student and teacher are far apart
_POINT, _HALF_POINT = 0.01, 0.005


@dataclass(frozen=True)
class Moving:
    """The settings of a scale.

    Attributes:
        teachers: the rows of each objective.
        seeds: so many trainings of each row.
    """

    name: str
    note: str
    subject: Subject
    teachers: tuple[str, ...]
    seeds: int = 1


def row(objective: str, teacher: str) -> str:
    """What a row is called: "contrastive: fixed teacher"."""
    return f"{objective}: {teacher}"


def encoder(subject: Subject, seed: int, objective: str, teacher: str) -> Recipe:
    """The student of a row."""
    models, operator = Models(subject, seed), SMALL["masks"].severe
    plan = plan_of(subject.plan, seed)
    if teacher == FIXED:
        return Hardened(models.original, models.train, operator, plan, OBJECTIVES[objective], subject.augment)
    return TaughtByMoving(
        models.original, models.train, operator, plan, ANCHORS[teacher], OBJECTIVES[objective], subject.augment
    )


def grid(scale: Moving, seed: int) -> Scale:
    """The study at a scale."""
    seeds = tuple(seed + i for i in range(scale.seeds))
    cells: dict[Key, Measurable | None] = {
        (ORIGINAL, column): cell
        for column, cell in _cells(scale.subject, seed, seed, Models(scale.subject, seed).original, "teacher").items()
    }
    for objective in OBJECTIVES:
        for teacher in scale.teachers:
            made = [
                _cells(
                    scale.subject, own, seed, encoder(scale.subject, own, objective, teacher), row(objective, teacher)
                )
                for own in seeds
            ]
            for column in made[0]:
                trained = tuple(own[column] for own in made)
                joined = OverSeeds(trained, seeds) if len(seeds) > 1 else trained[0]
                cells[row(objective, teacher), column] = joined
    anchors = {teacher: repr(ANCHORS[teacher]) for teacher in scale.teachers if teacher in ANCHORS}
    trained_on = {"trained on": SMALL["masks"].severe, "encoder": scale.subject.facts}
    return Scale(scale.name, scale.note, cells, {**trained_on, **OBJECTIVES, **anchors})


def _cells(subject: Subject, training: int, seed: int, student: Recipe, called: str) -> dict[str, Cell]:
    """A row of one training, by column. The damage is that of the run's seed whatever the training's."""
    models = Models(subject, training)
    damage = None if called == "teacher" else SMALL["masks"].severe
    probed, own_head, bare = (
        About(called, readout, trained_on=damage) for readout in ("clean-probe", "own-head", None)
    )
    probe = Probed(Unit(student), models.train, seed=training)
    clean, spread = Damaged("Chain()", 1, seed=seed), Spread()
    return {
        CLEAN: Cell(probe, clean, models.test, probed),
        **{name: Cell(probe, Damaged(mask, 1, seed=seed), models.test, probed) for name, mask in MASKS.items()},
        OWN_HEAD: Cell(Own(student, models.train, among=True), clean, models.test, own_head),
        RANK: Cell(student, spread, models.test, bare, Wanted("effective_rank")),
        DEVIATION: Cell(student, spread, models.test, bare, Wanted("embedding_deviation")),
    }


@awaiting_values
def beside(values: Values, pairs: Sequence[tuple[Key, Key]], gain: float = 0.0, share: float = 1.0) -> Verdict:
    """Each first cell above `share` of the second plus `gain`; the detail has all pairs."""
    there = [(one, other) for one, other in pairs if one in values and other in values]
    held = sum(values[one] > share * values[other] + gain for one, other in there)
    comparisons = (f"{_row_words(one)} {values[one]:.3g} against {values[other]:.3g}" for one, other in there)
    return held, len(there), ", ".join(comparisons)


def _row_words(key: Key) -> str:
    return f"{key[0]}, {key[1]}"


def _pairs(column: str, teacher: str, other: str) -> list[tuple[Key, Key]]:
    """Of each objective, the cell of one teacher and that of another."""
    return [((row(objective, teacher), column), (row(objective, other), column)) for objective in OBJECTIVES]


def _turned(pairs: Sequence[tuple[Key, Key]]) -> list[tuple[Key, Key]]:
    return [(other, one) for one, other in pairs]


CLAIMS = (
    Claim(
        "where student and teacher are far apart (90 % masked), a moving teacher with an anchor helps: more than a "
        "point above the fixed one", beside(_pairs(FAR, ANCHORED, FIXED), _POINT),
    ),
    Claim(
        "it costs nothing on clean images: within half a point of the fixed teacher",
        beside(_pairs(CLEAN, ANCHORED, FIXED), -_HALF_POINT),
    ),
    Claim(
        "it stays a drop-in: under the original's own head, clean images are within half a point of the fixed teacher",
        beside(_pairs(OWN_HEAD, ANCHORED, FIXED), -_HALF_POINT),
    ),
    Claim(
        "without the anchor it collapses: the effective rank is below half of the fixed teacher's",
        beside(_turned(_pairs(RANK, LOOSE, FIXED)), share=2.0),
    ),
    Claim(
        "with the anchor it does not: the effective rank is above 0.9 of the fixed teacher's",
        beside(_pairs(RANK, ANCHORED, FIXED), share=0.9),
    ),
    Claim(
        "holding the similarity matrix too helps where they are far apart",
        beside(_pairs(FAR, SIMILAR, ANCHORED)),
    ),
)  # fmt: skip
TITLE = "A moving teacher: its last stage trains too, with and without an anchor (ours, of no paper)"
NOTE = (
    "The future work of contrastive inversion. The teacher's trunk stays, its last stage trains with the student, and "
    "its batch normalisation keeps its statistics. The anchor is the mean of 1 - cos between the moving and the frozen "
    "teacher on clean images. Contrastive: the paper's objective, which pushes other images away; least squares pulls "
    "alone, so that one point for all images would be its optimum. Accuracies are those of a probe on each row's own "
    "clean embeddings, since a moved space is another one; the own head's stand beside them. Effective rank: the "
    "exponential of the entropy of the normalised singular values of the unit embeddings, 1 where these are one point; "
    "standard deviation: the mean over their features, times the root of the number of features, 0 for one point."
)
EVERY = (FIXED, ANCHORED, SIMILAR, LOOSE)
SCALES: Mapping[str, Moving] = {
    "smoke": Moving(
        "smoke", SMOKE.note,
        replace(SMOKE.subjects[TINY], plan={**SMOKE.subjects[TINY].plan, "epochs": 2}), (FIXED, ANCHORED, LOOSE),
    ),
    "desk": Moving(
        "desk",
        "ResNet-20 on CIFAR-10 (JPEG copies), 10,000 training images, three epochs of each training, one seed.",
        DESK.subjects[RESNET], EVERY,
    ),
    "paper": Moving(
        "paper", "ResNet-20 on CIFAR-10, three training seeds: for a GPU.", PAPER.subjects[RESNET], EVERY, 3
    ),
}  # fmt: skip

_STUDY: Study = sized("moving-teacher", TITLE, SCALES, grid, CLAIMS, NOTE, ours=True)
STUDIES = {_STUDY.name: _STUDY}
