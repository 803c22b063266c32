"""The answers of an audit as reliability diagrams."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Int64, Shaped
from torch import Tensor

from weatherproof.evaluation.metrics.calibration import reliability, rms_calibration_error
from weatherproof.reports import Diagram, save_reliability


@dataclass(frozen=True)
class Answered:
    """The answers of one model under one condition.

    Attributes:
        name: of the corruptions, or the attack's text.
        confidence, correct, place: as for `evaluation.metrics.calibration.reliability`.
    """

    model: str
    kind: Literal["clean", "corruption", "attack"]
    name: str
    data: str
    confidence: Shaped[Tensor, "n"]
    correct: Shaped[Tensor, "n"]
    place: Int64[Tensor, "n"]


def save_diagrams(folder: Path | str, found: Sequence[Answered]) -> Path | None:
    """Write `reliability.json` and return where it is. Conditions without answers, or whose confidences are no numbers,
    are left out; None where no other is there."""
    whole = [own for own in found if len(own.confidence) and not bool(own.confidence.isnan().any())]
    return save_reliability(folder, [_diagram(own) for own in whole])


def _diagram(own: Answered) -> Diagram:
    bins = reliability(own.confidence, own.correct, own.place)
    return Diagram(
        own.model,
        own.kind,
        own.name,
        own.data,
        error=rms_calibration_error(own.confidence, own.correct),
        images=len(own.place.unique()),
        bins=tuple((b.confidence, b.accuracy, b.stderr) for b in bins),
    )
