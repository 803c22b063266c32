"""Contamination: what a model has been trained on, as texts of operators; `views.contamination` reads them."""

from pathlib import Path

from weatherproof.texts import read_json

_TRAINED_ON = (("encoder.json", "trained_on"), ("readout.json", "operator"))  # (file, key of its provenance)


def trained_on(folder: str | Path) -> str | None:
    """The texts of all operators that the model in a run folder was trained on, encoder before readout, joined by
    commas; None where the folder names none, or is none. Verbs hand the text on from run to run (`history`)."""
    found = [_provenance(Path(folder) / name).get(key) for name, key in _TRAINED_ON]
    return ", ".join(dict.fromkeys(str(text) for text in found if text)) or None


def history(model: object, operator: object | None) -> str | None:
    """What a model will have been trained on once it has been trained on `operator` too.

    Args:
        model: what training starts from: a run folder, or anything else, of which nothing is known.
        operator: or its text; None for clean images.
    """
    before = trained_on(model) if isinstance(model, str | Path) else None
    now = operator if operator is None or isinstance(operator, str) else repr(operator)
    return ", ".join(dict.fromkeys(filter(None, (before, now)))) or None


def _provenance(file: Path) -> dict[str, object]:
    """What a run folder's file says of where it came from; nothing where it is not there or says nothing."""
    if not file.is_file():
        return {}
    try:
        found = read_json(file).get("provenance")
    except (ValueError, AttributeError):  # loading the encoder has said already what is wrong with it
        return {}
    return found if isinstance(found, dict) else {}
