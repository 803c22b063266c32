"""Figure 2 of "Robustness of Contrastive Learning Models" (2020) once more, without regularization: encoders that are
trained long enough to be compared, and beside the supervised one another that stopped at about the contrastive one's
clean accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weatherproof.reports import save_certificates
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Cell, Claim, Found, Scale, Study, Wanted, certificates
from weatherproof.studies.papers.pretraining.scales import DESK_LABELS, Network
from weatherproof.studies.papers.robustness.attacks import (
    BARRIER,
    DESK_ATTACKS,
    PAPER_ATTACKS,
    PGD_L2,
    SMOKE_ATTACKS,
    Attacks,
    largest,
    rows,
    under,
)
from weatherproof.studies.papers.robustness.tables import CONTRASTIVE, SUPERVISED, regularized

LONG, SHORT, OURS = "supervised", "supervised, stopped early", "contrastive"
_ATTACKS = (PGD_L2, BARRIER)


@dataclass(frozen=True)
class Compared:
    """The settings of a scale.

    Attributes:
        attacks: with the models of their scale.
        epochs: of the supervised model that stops early.
    """

    attacks: Attacks
    epochs: float

    @property
    def name(self) -> str:
        return self.attacks.name

    @property
    def columns(self) -> dict[str, tuple[Attacks, Network]]:
        """What is attacked, with the scale that trains it."""
        models = self.attacks.models
        short = replace(models, supervised_plan={**models.supervised_plan, "epochs": self.epochs})
        labelled = regularized(SUPERVISED, 0.0)
        return {
            LONG: (self.attacks, labelled),
            SHORT: (replace(self.attacks, models=short), labelled),
            OURS: (self.attacks, regularized(CONTRASTIVE, 0.0)),
        }

    def cell(self, column: str, attack: str, wanted: Wanted, seed: int) -> Cell:
        """A number under attack, of a model that is called as its column is."""
        own, network = self.columns[column]
        made = own.cell(network, attack, wanted, seed)
        return replace(made, about=replace(made.about, model=column))


def _two(settings: Attacks) -> Attacks:
    """With the attacks of the paper's figure alone."""
    return replace(settings, attacks={name: settings.attacks[name] for name in _ATTACKS})


_DESK = replace(
    DESK_ATTACKS,
    note=f"The models of label-efficiency-table-1 with all labels. {DESK_LABELS.note} Here: SimCLR and two supervised "
    "networks, 2,200,000 images of 0.23 ms, about 28 minutes on one core; attacks on three models 14.",
    models=DESK_LABELS,
)
# desk: of 4, 8 and 14 epochs, one seed, right on 51.5, 56.1 and 60.7 % of training images that are not among the
# 20,000, of which the contrastive model is right on 59.4 %. paper: a guess.
SCALES = {
    "smoke": Compared(_two(SMOKE_ATTACKS), 1),
    "desk": Compared(_two(_DESK), 14),
    "paper": Compared(_two(PAPER_ATTACKS), 10),
}


def _at(settings: Compared, seed: int) -> Scale:
    attacks = settings.attacks
    cells = {
        (name, column): settings.cell(column, attack, wanted, seed)
        for name, attack, wanted in rows()
        if attack in _ATTACKS
        for column in settings.columns
    }

    def write(store: Store, folder: Path, _: Found) -> None:
        save_certificates(folder, certificates(cells.values(), store))

    facts = {
        **attacks.facts(network for _, network in settings.columns.values()),
        SHORT: f"{settings.epochs:g} epochs, else as {LONG}",
    }
    return Scale(attacks.name, attacks.note, cells, facts, after=(write,))


def _claims() -> Iterator[Claim]:
    for attack in _ATTACKS:
        for rival, words in ((LONG, "trained to the end"), (SHORT, "of about its clean accuracy")):
            text = f"{attack}: the contrastive model resists better than a supervised one {words}"
            yield Claim(text, under(attack, OURS, [rival]))
            yield Claim(f"{text}, by the median", largest(attack, OURS, [rival]))


def _study() -> Study:
    title = "Robustness of Contrastive Learning Models, Figure 2 without regularization, at equal clean accuracy"
    note = (
        "Figure 2 compares encoders whose clean errors differ. Here stands beside them a supervised network that "
        "stopped where it is right about as often as the contrastive one. PGD and PLB (proximal log-barrier): the "
        "share of images that are misclassified, in per cent, by a perturbation of at most this size in L2, pixels "
        "from 0 to 1; size 0 is the clean error. Median: half of the images are misclassified by less. A claim about "
        "curves compares them at every size above 0 but where both have an error of 99 % or more."
    )
    return sized("attacks-equal-accuracy", title, SCALES, _at, tuple(_claims()), note)


STUDIES = {study.name: study for study in (_study(),)}
