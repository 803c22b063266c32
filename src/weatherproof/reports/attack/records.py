"""Which records are about attacks."""

from collections.abc import Hashable, Sequence

from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

_CLEAN = ("top1", "rms_calibration_error")  # what stands beside the same under attack
_OWN = ("model", "readout", "data", "label_fraction", "run")  # what tells one model's numbers from another's


def split_attacks(records: Sequence[JsonRecord]) -> tuple[list[JsonRecord], list[JsonRecord]]:
    """The records under attack with the clean ones of the same models, and the rest.

    Clean records belong to both; where no other condition is left, they belong to the attacks alone.
    """
    attacked = [r for r in records if r.get("attack") and not r.get("operator") and not r.get("corruption")]
    if not attacked:
        return [], list(records)
    keys = {model_of(r) for r in attacked}
    clean = [r for r in records if words.is_clean(r) and r["metric"] in _CLEAN and model_of(r) in keys]
    taken = {id(r) for r in (*attacked, *clean)}
    rest = [r for r in records if id(r) not in {id(r) for r in attacked}]
    if all(words.is_clean(r) for r in rest):
        rest = [r for r in rest if id(r) not in taken]
    return [*clean, *attacked], rest


def model_of(record: JsonRecord) -> tuple[Hashable, ...]:
    """What tells the record's model from the others."""
    return tuple(record.get(name) for name in _OWN)
