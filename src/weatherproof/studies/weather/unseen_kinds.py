"""`unseen-kinds`: what an encoder gains under damage of a kind that it never met, and what knowing the kind is worth.

Columns are the four groups of common corruptions. In the column of a group, most rows are of a model of its own, which
is trained without it: leave one group out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from weatherproof.benchmark import GROUPS
from weatherproof.methods import KeepClean
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.classifiers import Adapting, Labelled, Own
from weatherproof.studies.lab.joins import OverModels, OverSeeds
from weatherproof.studies.lab.measures import Damaged, Suite
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.recipes import Hardened, plan_of
from weatherproof.studies.lab.store import Measure, Recipe
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Measurable, Scale, Study, Wanted
from weatherproof.studies.weather.all_weather import CLEAN, Models
from weatherproof.studies.weather.scales import FAMILIES, ORIGINAL, Family, Subject

OWN, OTHERS, ALL = "hardened on that kind", "hardened on all other kinds", "hardened on all kinds"
LABELS, AUGMIX = "with labels: cross-entropy on all other kinds", "with labels: AugMix consistency"
COMPOSED = "hardened on compositions of all other kinds"
STATISTICS = "at test time: statistics of the batch"
TENT, TENT_5 = "at test time: TENT, one step", "at test time: TENT, five steps"

SUITE = "common-15"
HALF, POINT = 0.005, 0.01
_KEEP = KeepClean()


@dataclass(frozen=True)
class Trainings:
    """Classifiers of one training seed."""

    subject: Subject
    seed: int

    def hardened(self, operator: str) -> Recipe:
        """Hardened as by default, under the original's own head."""
        models, plan = self._models, plan_of(self.subject.plan, self.seed)
        student = Hardened(models.original, models.train, operator, plan, augment=self.subject.augment, keep=_KEEP)
        return Own(student, models.train)

    def labelled(self, method: str, operator: str | None = None) -> Recipe:
        """Trained on with labels for as many steps, head and all; as many images stay clean."""
        models, plan = self._models, plan_of(self.subject.plan, self.seed)
        damage = None if operator is None else f"Sometimes({operator}, {1 - _KEEP.share:g})"
        return Labelled(
            models.original, models.train, plan, method, "own", damage, augment=self.subject.augment
        )  # fmt: skip

    def adapting(self, adaptation: str) -> Recipe:
        """The original, which adapts to each batch of test images."""
        return Adapting(adaptation, self.original)

    @property
    def original(self) -> Recipe:
        """As it was, under its own head."""
        return Own(self._models.original, self._models.train)

    @property
    def _models(self) -> Models:
        return Models(self.subject, self.seed)


@dataclass(frozen=True)
class Row:
    """How the models of a row come about.

    Attributes:
        make: of the trainings and of the damage that is trained on.
        model, readout: what records say.
        trained: that damage, for the column of a group; None: the model is the same in all columns.
    """

    make: Callable[[Trainings, str], Recipe]
    model: str
    trained: Callable[[str], str] | None = None
    readout: str = "own-head"


def _only(group: str) -> str:
    return f"CommonCorruptions({group!r})"


def _without(group: str) -> str:
    return f"CommonCorruptions(without={group!r})"


def _composed_without(group: str) -> str:
    return f"MixedChains({_without(group)})"


ROWS: Mapping[str, Row] = {
    ORIGINAL: Row(lambda own, _: own.original, "teacher"),
    OWN: Row(Trainings.hardened, "hardened", _only),
    OTHERS: Row(Trainings.hardened, "hardened", _without),
    ALL: Row(lambda own, _: own.hardened("CommonCorruptions()"), "hardened"),
    COMPOSED: Row(Trainings.hardened, "hardened", _composed_without),
    LABELS: Row(lambda own, damage: own.labelled("supervised", damage), "supervised", _without, "end-to-end"),
    AUGMIX: Row(lambda own, _: own.labelled("augmix"), "augmix", readout="end-to-end"),
    STATISTICS: Row(lambda own, _: own.adapting("BatchStatistics()"), "adapted"),
    TENT: Row(lambda own, _: own.adapting("Tent(lr=0.01)"), "adapted"),
    TENT_5: Row(lambda own, _: own.adapting("Tent(steps=5, lr=0.01)"), "adapted"),
}


def grid(scale: Family, seed: int) -> Scale:
    """The study at a scale. The damage is that of the run's seed whatever the training's."""
    seeds = tuple(seed + i for i in range(scale.seeds))
    test = Models(scale.subject, seed).test
    clean = Damaged("Chain()", 1, seed=seed)
    cells: dict[Key, Measurable | None] = {}
    for name, own in ROWS.items():

        def cell(training: int, group: str, measure: Measure, wanted: Wanted, own: Row = own) -> Cell:
            damage = own.trained(group) if own.trained else ""
            about = About(own.model, own.readout, trained_on=damage or None)
            model = own.make(Trainings(scale.subject, training), damage)
            return Cell(model, measure, replace(test, mixed=isinstance(model, Adapting)), about, wanted)

        for group in GROUPS:
            suite = Suite(SUITE, seed=seed, group=group if own.trained else None)
            trained = tuple(cell(training, group, suite, Wanted("mca", group)) for training in seeds)
            cells[name, group] = trained[0] if len(seeds) == 1 else OverSeeds(trained, seeds)
        groups = tuple(GROUPS) if own.trained else (next(iter(GROUPS)),)
        cells[name, CLEAN] = OverModels(
            tuple(cell(training, group, clean, Wanted()) for group in groups for training in seeds)
        )
    held = {group: ", ".join(names) for group, names in GROUPS.items()}
    return Scale(scale.name, scale.note, cells, {"encoder": scale.subject.facts, **held})


@awaiting_values
def ahead(values: Values, high: str, lows: Sequence[str], columns: Sequence[str], margin: float = 0.0) -> Verdict:
    """Row `high` above the best of the rows `lows` by more than the margin (below 0: or not further below it), in each
    column; the detail has all gaps."""
    gaps = {}
    for column in columns:
        rivals = [values[low, column] for low in lows if (low, column) in values]
        if rivals and (high, column) in values:
            gaps[column] = values[high, column] - max(rivals)
    detail = ", ".join(f"{column} {100 * gap:+.1f}" for column, gap in gaps.items())
    return sum(gap > margin for gap in gaps.values()), len(gaps), detail


_GROUPS = tuple(GROUPS)
CLAIMS = (
    Claim("hardening on all other kinds helps under a kind that was never met", ahead(OTHERS, [ORIGINAL], _GROUPS)),
    Claim(
        "knowing the damage still matters: hardened on that kind alone is more than a point ahead",
        ahead(OWN, [OTHERS], _GROUPS, POINT),
    ),
    Claim(
        "hardened on all kinds: within a point of hardened on that kind alone", ahead(ALL, [OWN], _GROUPS, -POINT)
    ),
    Claim(
        "under a kind that was never met, no label is needed: within a point of cross-entropy with all labels",
        ahead(OTHERS, [LABELS], _GROUPS, -POINT),
    ),
    Claim("ahead of AugMix consistency with all labels", ahead(OTHERS, [AUGMIX], _GROUPS)),
    Claim("ahead of the best adaptation at test time", ahead(OTHERS, [STATISTICS, TENT, TENT_5], _GROUPS)),
    Claim(
        "on clean images, hardened on all kinds: within half a point of the encoder as it was",
        ahead(ALL, [ORIGINAL], (CLEAN,), -HALF),
    ),
)  # fmt: skip
TITLE = "Unseen kinds: damage of a group that training left out (ours, of no paper)"
NOTE = (
    "Mean accuracy over a group's corruptions of the 15 at their five severities. Trained on: all 19, or without those "
    "of the group, or with those alone, at severities drawn from 1 to 5, a fifth of the images clean; each in as many "
    "steps. Compositions are mixed chains of them as AugMix makes them. Hardened with the promise of the default, "
    "without labels, under the own head. AugMix meets no corruption. At test time: the encoder as it was, which adapts "
    "to each batch of one condition by itself, without labels; its batches are of all classes and all come under one "
    "corruption at one severity, which is more than is known of most cameras. Clean: the mean over the models of the "
    "row. Frost is synthetic."
)

_STUDY: Study = sized("unseen-kinds", TITLE, FAMILIES, grid, CLAIMS, NOTE, ours=True)
STUDIES = {_STUDY.name: _STUDY}
