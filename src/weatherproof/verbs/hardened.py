"""What a hardening leaves in its run folder beside its numbers: the encoders, and whether the promise was kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weatherproof.encoders import Encoder, adapters, save_encoder
from weatherproof.reports.hardened.promise import Promise
from weatherproof.training import CleanCosine, RunFolder


def save_hardened(folder: Path, student: Encoder, finished: Encoder, provenance: Mapping[str, Any]) -> None:
    """The finished encoder; of a gate the hardened one by itself, too, and of an adapter what it changes."""
    alone = folder if finished is student else folder / "hardened"
    if isinstance(student, adapters.Adapted):
        adapters.save_adapter(student, alone, provenance=provenance)
        student = adapters.merged(student)
    save_encoder(student, alone, provenance=provenance)
    if alone != folder:
        save_encoder(finished, folder, provenance=provenance)


def outcome_of(promise: CleanCosine, finished: Encoder, run: RunFolder) -> Promise:
    """What became of the promise: what the finished encoder reaches, and the most that its training did."""
    reached = promise.of(finished)
    best = max([reached, *promise.logged(run)])
    return Promise(
        promise.promised, reached, int(promise.readable.sum()), reached >= promise.promised, best, measure="mean cosine"
    )
