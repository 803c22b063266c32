"""Contamination: what of a benchmark a model has been trained on, read from the text of its operators."""

import ast
from pathlib import Path

from weatherproof import views
from weatherproof.errors import InputError
from weatherproof.texts import read_json

# Operators that make one of the benchmark's corruptions, or nearly, under another name.
_KINDS = {
    "GaussianNoise": "gaussian_noise",
    "PatchGaussian": "gaussian_noise",
    "UtilityNoise": "gaussian_noise",
    "WholeNoise": "gaussian_noise",
    "GaussianBlur": "gaussian_blur",
    "UniformNoise": "uniform_noise",
    "NonUniformNoise": "nonuniform_noise",
    "RandomBlur": "gaussian_blur",
}
_COLOURS = frozenset({"brightness", "contrast", "saturate"})  # what a colour jitter changes, and AugMix's last four
_COLOURED = {"ColorJitter": "", "AugMix": "'all'", "AugMixMoCo": ""}  # where, if this stands among the settings
_TRAINED_ON = (("encoder.json", "trained_on"), ("readout.json", "operator"))  # (file, key of its provenance)


def seen(trained_on: str | None) -> frozenset[str]:
    """The corruptions that a text of operators contains, however they are combined; none where it cannot be read.

    >>> sorted(seen("Chain(Sometimes(GaussianNoise((0.05, 0.5)), 0.8), Corruption('fog', 3))"))
    ['fog', 'gaussian_noise']
    """
    try:
        tree = ast.parse((trained_on or "").strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names = {_KINDS[node.id] for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in _KINDS}
    names |= {name for node in ast.walk(tree) if (name := _corruption(node)) is not None}
    for node in ast.walk(tree):
        names |= _in_views(node)
    return frozenset(names)


def _in_views(node: ast.AST) -> frozenset[str]:
    """What a family of views, or a piece of one, does to the colours and the sharpness of an image."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in views.TABLE):
        return frozenset()
    text, name = ast.unparse(node), node.func.id
    if name in _COLOURED and _COLOURED[name] in text:
        return _COLOURS | ({"gaussian_blur"} if name == "AugMixMoCo" else frozenset())
    try:
        steps = getattr(views.parse(text), "steps", ())
    except InputError:  # a text of another version
        return frozenset()
    return frozenset().union(*(seen(repr(step)) for step in steps))


def _corruption(node: ast.AST) -> str | None:
    """The name in ``Corruption('fog', 3)`` or ``Corruption(name='fog', severity=3)``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Corruption"):
        return None
    given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
    match given:
        case [ast.Constant(value=str(name))]:
            return name
    return None


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
