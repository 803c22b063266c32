"""A regularizer's text in words."""

import ast

from weatherproof.reports.words.records import call

# The weights of each, in their order, with what they are where the text does not say; a test holds it equal to theirs.
WEIGHTS: dict[str, dict[str, float | None]] = {
    "SimilarityMatrix": {"weight": 1.0},
    "L2SP": {"alpha": 0.1, "beta": 0.01},
    "InputGradient": {"weight": None},
}


def regularizer_words(text: str) -> str:
    """A regularizer's text with its weights, also where they are the default ones; another text as it is.

    >>> regularizer_words("SimilarityMatrix()"), regularizer_words("L2SP(beta=0.001)")
    ('SimilarityMatrix(1)', 'L2SP(0.1, 0.001)')
    """
    tree = call(text)
    name = tree.func.id if tree is not None and isinstance(tree.func, ast.Name) else ""
    if tree is None or name not in WEIGHTS:
        return text
    given = dict(zip(WEIGHTS[name], tree.args, strict=False)) | {str(k.arg): k.value for k in tree.keywords}
    weights = [_number(given[own]) if own in given else f"{default:g}" for own, default in WEIGHTS[name].items()]
    others = [f"{own}={ast.unparse(value)}" for own, value in given.items() if own not in WEIGHTS[name]]
    return f"{name}({', '.join([*weights, *others])})"


def _number(tree: ast.expr) -> str:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return f"{number:g}"
    return ast.unparse(tree)
