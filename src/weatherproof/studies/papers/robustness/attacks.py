"""Figure 2 of "Robustness of Contrastive Learning Models" (2020): misclassified images against the size of the
perturbation, for PGD (a, c, e) and the proximal log-barrier (b, d, f), at lambda 0.1, 1 and 10.

A panel has four curves: supervised and contrastive, each without and with regularization.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weatherproof.attacks import L2, PGD, Linf, LogBarrier
from weatherproof.attacks.described import GRIDS
from weatherproof.protocols import Attack
from weatherproof.reports import save_certificates
from weatherproof.reports.attack.panels import PANELS, Panel
from weatherproof.reports.parts import save_list
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.measures import Curve
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Cell, Claim, Found, Scale, Study, Wanted, certificates
from weatherproof.studies.papers.pretraining.models import Models
from weatherproof.studies.papers.pretraining.scales import DESK_TIKHONOV, PAPER_LABELS, SMOKE, Network, Pretraining
from weatherproof.studies.papers.robustness.tables import CONTRASTIVE, LAMBDAS, SUPERVISED, regularized

PGD_L2, BARRIER, PGD_LINF = "PGD", "PLB", "PGD Linf"
ATTACKS: Mapping[str, Attack] = {PGD_L2: PGD(L2(0.5)), BARRIER: LogBarrier("l2"), PGD_LINF: PGD(Linf(4 / 255))}
NAME = "attacks-figure-2"
SATURATED = 0.99  # errors of both curves from which on nothing is left to tell them apart
_KINDS = {"supervised": SUPERVISED, "contrastive": CONTRASTIVE}
MEDIAN, FAILURES = "median", "failures"


def column(kind: str, weight: float) -> str:
    """ "supervised", "contrastive, lambda 0.1"."""
    return f"{kind}, lambda {weight:g}" if weight else kind


_NETWORKS = {
    column(kind, weight): regularized(name, weight) for kind, name in _KINDS.items() for weight in (0.0, *LAMBDAS)
}


@dataclass(frozen=True)
class Attacks:
    """The settings of a scale.

    Attributes:
        models: the scale of the trainings, which share the store with its studies.
        attacks: by name. The eps of a ball is that of the certificate; curves have every size of the norm's grid.
        images: how many test images each attack meets.
        certificate_images: how many of them its certificates are tried on.
    """

    name: str
    note: str
    models: Pretraining
    attacks: Mapping[str, Attack]
    images: Mapping[str, int]
    certificate_images: Mapping[str, int]

    def facts(self, networks: Iterable[Network]) -> dict[str, str]:
        """The settings behind these networks' numbers, for the reader."""
        facts = {
            name: f"`{attack!r}`, at every size, {self.images[name]:,} images; its certificate at the size that is "
            f"printed, {self.certificate_images[name]} images"
            for name, attack in self.attacks.items()
        }
        return {**facts, **self.models.facts(networks)}

    def cell(self, network: Network, attack: str, wanted: Wanted, seed: int) -> Cell:
        """A number under attack, with its certificate."""
        models = Models(self.models, seed)
        measure = Curve(self.attacks[attack], self.certificate_images[attack], seed)
        return Cell(models.recipe(network), measure, models.test(self.images[attack]), models.about(network), wanted)


SMOKE_ATTACKS = Attacks(
    name="smoke",
    note="A tiny network, a handful of digits and attacks of a few steps: the numbers mean nothing.",
    models=SMOKE,
    attacks={
        PGD_L2: PGD(L2(0.25), steps=2),
        BARRIER: LogBarrier("l2", outer=2, inner=2),
        PGD_LINF: PGD(Linf(2 / 255), steps=2),
    },
    images=dict.fromkeys(ATTACKS, 8),
    certificate_images=dict.fromkeys(ATTACKS, 4),
)
DESK_ATTACKS = Attacks(
    name="desk",
    note=f"The models of tikhonov-table-2, trained first if its store does not hold them. {DESK_TIKHONOV.note} "
    "Attacks: PGD 5.6 ms an image and size, 12 sizes; PLB 0.76 s an image, its certificate four times that: 37 minutes "
    "on one busy core, about 26 on two.",
    models=DESK_TIKHONOV,
    attacks=ATTACKS,
    images={PGD_L2: 1000, BARRIER: 200, PGD_LINF: 1000},
    certificate_images={PGD_L2: 100, BARRIER: 16, PGD_LINF: 100},
)
PAPER_ATTACKS = Attacks(
    name="paper",
    note="The models as published. Norm, steps and number of images of the attacks are not stated: L2, 20 steps of "
    "PGD, the authors' own settings of the log-barrier, 1,000 images each.",
    models=PAPER_LABELS,
    attacks=ATTACKS,
    images=dict.fromkeys(ATTACKS, 1000),
    certificate_images=dict.fromkeys(ATTACKS, 100),
)
SCALES = {"smoke": SMOKE_ATTACKS, "desk": DESK_ATTACKS, "paper": PAPER_ATTACKS}


def row(attack: str, size: float | str) -> str:
    """ "PGD, 0.25", "PGD Linf, 2/255", "PLB, median"."""
    if isinstance(size, str):
        return f"{attack}, {size}"
    return f"{attack}, {round(255 * size)}/255" if attack == PGD_LINF else f"{attack}, {size:g}"


def panels(attacks: Mapping[str, object]) -> list[Panel]:
    """(a) to (f), for the page.

    Args:
        attacks: of the scale.
    """
    panels = []
    for title, attack, weight in _panels():
        columns = [
            (column(kind, own), kind + (" + Tikhonov" if own else "")) for kind in _KINDS for own in (0.0, weight)
        ]
        panels.append(Panel(title, repr(attacks[attack]), {_NETWORKS[name].name: words for name, words in columns}))
    return panels


def _figure_2() -> Study:
    title = "Robustness of Contrastive Learning Models, Figure 2: under attack"
    note = (
        "PGD and PLB (proximal log-barrier): the share of images that are misclassified, in per cent, by a "
        "perturbation of at most this size in L2, pixels from 0 to 1; size 0 is the clean error. Median: half of the "
        "images are misclassified by less (infinite where they are not at any size). Failures: images that PLB could "
        f"not get misclassified. {PGD_LINF} (not in the paper): accuracy under PGD. A claim about curves compares them "
        "at every size above 0 but where both have an error of 99 % or more. "
        "The attacks see the whole classifier, the linear readout included. Models and regularization are those of "
        "tikhonov-table-2."
    )
    return sized(NAME, title, SCALES, _at, tuple(_claims()), note)


def _at(settings: Attacks, seed: int) -> Scale:
    cells = {
        (name, column): settings.cell(network, attack, wanted, seed)
        for name, attack, wanted in rows()
        for column, network in _NETWORKS.items()
    }

    def write(store: Store, folder: Path, _: Found) -> None:
        save_certificates(folder, certificates(cells.values(), store))
        save_list(folder, PANELS, panels(settings.attacks))

    return Scale(settings.name, settings.note, cells, settings.facts(_NETWORKS.values()), after=(write,))


def rows() -> Iterator[tuple[str, str, Wanted]]:
    """Every row: its name, the attack, and which number it is."""
    for attack in (PGD_L2, BARRIER):
        yield from ((row(attack, size), attack, Wanted("error", severity=size)) for size in GRIDS["l2"])
        yield row(attack, MEDIAN), attack, Wanted("median_perturbation")
    yield row(BARRIER, FAILURES), BARRIER, Wanted("attack_failures")
    yield from ((row(PGD_LINF, size), PGD_LINF, Wanted("top1", severity=size)) for size in GRIDS["linf"])


def _claims() -> Iterator[Claim]:
    """What the figure's caption says, of every panel."""
    for attack in (PGD_L2, BARRIER):
        text = f"{attack}: the contrastive model resists better than the supervised one"
        yield Claim(text, under(attack, "contrastive", ["supervised"]))
        yield Claim(f"{text}, by the median", largest(attack, "contrastive", ["supervised"]))
    for panel, attack, weight in _panels():
        smooth, both = (column(kind, weight) for kind in _KINDS)
        rest = ["supervised", smooth, "contrastive"]
        yield Claim(
            f"{panel}: the contrastive model brings more than regularization alone",
            under(attack, "contrastive", [smooth]),
        )
        yield Claim(f"{panel}: regularization adds to the contrastive model", under(attack, both, ["contrastive"]))
        yield Claim(f"{panel}: both together resist best", under(attack, both, rest))
        yield Claim(f"{panel}: both together resist best, by the median", largest(attack, both, rest))
        yield Claim(f"{panel}: regularization helps the supervised model", under(attack, smooth, ["supervised"]))


def _panels() -> Iterator[tuple[str, str, float]]:
    """(a) to (f): what it is called, the attack, lambda."""
    letters = iter("abcdef")
    for weight in LAMBDAS:
        for attack in (PGD_L2, BARRIER):
            yield f"({next(letters)}) {attack}, lambda {weight:g}", attack, weight


@awaiting_values
def under(values: Values, attack: str, low: str, highs: Sequence[str]) -> Verdict:
    """The curve of `low` under each of the others, at all sizes above 0 but those where both are saturated."""
    held, of, lost = 0, 0, []
    for high in highs:
        sizes = [size for size in GRIDS["l2"][1:] if _decides(values, row(attack, size), low, high)]
        missed = [size for size in sizes if values[row(attack, size), low] >= values[row(attack, size), high]]
        held, of = held + len(sizes) - len(missed), of + len(sizes)
        lost += [f"at {', '.join(f'{size:g}' for size in missed)} against {high}"] if missed else []
    return held, of, "not " + "; ".join(lost) if lost else ""


def _decides(values: Values, key: str, *columns: str) -> bool:
    """Whether a row has these columns, and not all of them are saturated."""
    there = [values[key, name] for name in columns if (key, name) in values]
    return len(there) == len(columns) and min(there) < SATURATED


@awaiting_values
def largest(values: Values, attack: str, high: str, lows: Sequence[str]) -> Verdict:
    """The median perturbation of `high` is larger than that of each of the others."""
    key = row(attack, MEDIAN)
    sizes = {name: values[key, name] for name in (high, *lows) if (key, name) in values}
    if high not in sizes:
        return 0, 0, ""
    others = [sizes[low] for low in lows if low in sizes]
    detail = ", ".join(f"{name} {size:.3f}" for name, size in sizes.items())
    return sum(sizes[high] > other for other in others), len(others), detail


STUDIES = {NAME: _figure_2()}
