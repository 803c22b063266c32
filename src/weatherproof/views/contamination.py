"""What of a benchmark of corruptions a text of operators and views contains."""

import ast

from weatherproof import views
from weatherproof.errors import InputError

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


def corruptions_in(trained_on: str | None) -> frozenset[str]:
    """The corruptions that a text of operators contains, however they are combined; none where it cannot be read.

    >>> sorted(corruptions_in("Chain(Sometimes(GaussianNoise((0.05, 0.5)), 0.8), Corruption('fog', 3))"))
    ['fog', 'gaussian_noise']
    >>> sorted(corruptions_in("CommonCorruptions('noise', without='shot_noise')"))
    ['gaussian_noise', 'impulse_noise', 'speckle_noise']
    """
    try:
        tree = ast.parse((trained_on or "").strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names = {_KINDS[node.id] for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in _KINDS}
    names |= {name for node in ast.walk(tree) if (name := _corruption(node)) is not None}
    for node in ast.walk(tree):
        names |= _in_views(node) | _in_family(node)
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
    return frozenset().union(*(corruptions_in(repr(step)) for step in steps))


def _in_family(node: ast.AST) -> frozenset[str]:
    """What a `CommonCorruptions` draws from."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "CommonCorruptions"):
        return frozenset()
    try:
        return frozenset(views.parse(ast.unparse(node)).names)
    except InputError:  # a text of another version
        return frozenset()


def _corruption(node: ast.AST) -> str | None:
    """The name in ``Corruption('fog', 3)`` or ``Corruption(name='fog', severity=3)``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Corruption"):
        return None
    given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
    match given:
        case [ast.Constant(value=str(name))]:
            return name
    return None
