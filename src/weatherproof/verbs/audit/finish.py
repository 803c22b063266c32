"""How an audit by many conditions ends: its files, and the outcome that is read from them again."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.reports import write_report
from weatherproof.training import RunFolder
from weatherproof.verbs.outcome import NOTHING_DONE, Outcome, finished, own_json

_Outcome = TypeVar("_Outcome", bound=Outcome)


def finish(
    run: RunFolder, file: str, state: Mapping[str, Any], records: Sequence[Record], kind: type[_Outcome],
    encoder: Encoder,
) -> _Outcome:  # fmt: skip
    """Write what a run says of itself into this file, the numbers, and the page; the results last but one, since they
    mark the run as finished.

    Args:
        state: "complete", the "notes" that belong beside the numbers, and more.
    """
    numbers, notes = [record.to_dict() for record in records], state["notes"]
    run.write_json(file, state)
    run.write_json("results.json", {"records": numbers, "notes": notes})
    write_report(run.path)
    run.close()
    return kind(run.path, numbers, encoder=encoder, notes=notes)


def known_outcome(run: RunFolder, file: str, kind: type[_Outcome], encoder: Encoder) -> _Outcome | None:
    """The outcome of a run that was measured to its end; None where something is left to do.

    Raises:
        InputError: the file is not one of `finish`.
    """
    if not run.finished or not (run.path / file).is_file():
        return None
    state = own_json(run.path / file)
    notes = state.get("notes") if isinstance(state, dict) else None
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes) or "complete" not in state:
        raise InputError(f"{run.path / file} is not what an audit writes: delete it, or choose another --out")
    if not state["complete"]:
        return None
    return kind(run.path, finished(run).records, encoder=encoder, notes=[*notes, NOTHING_DONE])
