"""What a cell of a study under attack is, and how big it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weatherproof.evaluation import Record
from weatherproof.protocols import Attack
from weatherproof.studies.pretraining_cells import PretrainingCell, PretrainingScale
from weatherproof.training.run import finite

Metric = Literal["error", "top1", "median_perturbation", "attack_failures"]


@dataclass(frozen=True)
class AttackCell:
    """A number of a classifier under attack.

    Attributes:
        model: what is attacked.
        attack: a name of `AttackScale.attacks`.
        metric: "error" and "top1" at a size of the perturbation; "median_perturbation" over all sizes;
            "attack_failures", the share of images that an attack without a ball could not get misclassified.
        size: of the perturbation in the attack's norm, pixels from 0 to 1.
    """

    model: PretrainingCell
    attack: str
    metric: Metric
    size: float | None = None


@dataclass(frozen=True)
class CertifiedRecord:
    """A number under attack with what its certificate has against it.

    Attributes:
        failed: the points that fail, each with the attack and the model that it was tried on; empty: all hold.
    """

    record: Record
    failed: tuple[str, ...]

    @property
    def value(self) -> float:
        return self.record.value

    def to_dict(self) -> dict[str, Any]:
        """The record with its "certificate", as cells.json and results.json hold it."""
        made: dict[str, Any] = finite(self.record.to_dict())
        return made | {"certificate": list(self.failed)}


@dataclass(frozen=True)
class AttackScale:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        models: the scale of the trainings, which share the store with its studies.
        attacks: by name. The eps of a ball is that of the certificate; curves have every size of the norm's grid.
        images: how many test images each attack meets.
        certificate_images: how many of them its certificates are tried on.
    """

    name: str
    note: str
    models: PretrainingScale
    attacks: Mapping[str, Attack]
    images: Mapping[str, int]
    certificate_images: Mapping[str, int]

    def facts(self, cells: Iterable[AttackCell]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        cells = list(cells)
        named = dict.fromkeys(cell.attack for cell in cells)
        return {
            **{
                name: f"`{self.attacks[name]!r}`, at every size, {self.images[name]:,} images; its certificate at the "
                f"size that is printed, {self.certificate_images[name]} images"
                for name in named
            },
            **self.models.facts(dict.fromkeys(cell.model for cell in cells)),
        }


def certificate_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The points that fail, as lines of Markdown; nothing where no number has a certificate."""
    certified = [record for record in records if "certificate" in record]
    if not certified:
        return []
    failed = dict.fromkeys(point for record in certified for point in record["certificate"])
    told = [f"- {point}" for point in failed] or ["All points of all certificates hold."]
    lead = "Points that fail; a number with † may be too low an error, or too high an accuracy:" if failed else ""
    return ["", "## Certificates", "", *([lead, ""] if lead else []), *told]
