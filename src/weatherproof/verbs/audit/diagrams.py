"""The answers of an audit as reliability diagrams."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.metrics.calibration import reliability, rms_calibration_error
from weatherproof.reports import Diagram, save_reliability

Kind = Literal["clean", "corruption", "attack"]


def save_diagrams(folder: Path | str, model: str, data: str, found: Iterable[tuple[Kind, str, Answers]]) -> Path | None:
    """Write `reliability.json` and return where it is. Conditions without answers, or whose confidences are no numbers,
    are left out; None where no other is there.

    Args:
        found: the name of the corruptions, or the attack's text, and the model's answers, with the columns
            "confidence" and "top1".
    """
    whole = [own for own in found if len(own[2]) and not bool(own[2]["confidence"].isnan().any())]
    return save_reliability(folder, [_diagram(model, data, *own) for own in whole])


def _diagram(model: str, data: str, kind: Kind, name: str, answers: Answers) -> Diagram:
    confidence, right, place = answers["confidence"], answers["top1"], answers.place
    bins = tuple((b.confidence, b.accuracy, b.stderr) for b in reliability(confidence, right, place))
    error = rms_calibration_error(confidence, right)
    return Diagram(model, kind, name, data, error=error, images=len(place.unique()), bins=bins)
