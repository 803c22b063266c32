"""An attack's text in words: what it is, the norm and the size of its ball, and its other settings."""

import ast
from dataclasses import dataclass

from weatherproof.attacks.described import SYMBOLS

_KINDS = {"PGD": "PGD", "LogBarrier": "log-barrier"}


@dataclass(frozen=True)
class Named:
    """An attack. `eps` None: it looks for the smallest perturbation, or its text is not understood."""

    kind: str
    norm: str
    eps: float | None
    further: str

    @property
    def family(self) -> tuple[str, str, str]:
        """The same for all sizes of the ball."""
        return self.kind, self.norm, self.further


def named(text: str) -> Named:
    """What an attack's text says.

    >>> named("PGD(L2(0.5), steps=7)")
    Named(kind='PGD', norm='l2', eps=0.5, further='steps=7')
    >>> named("LogBarrier(norm='linf')").norm, named("attack.py:mine")
    ('linf', Named(kind='attack.py:mine', norm='', eps=None, further=''))
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return Named(text, "", None, "")
    if isinstance(tree, ast.Name):
        tree = ast.Call(tree, [], [])
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        return Named(text, "", None, "")
    given = {str(k.arg): k.value for k in tree.keywords}
    positional = list(tree.args)
    ball = given.pop("ball", None) or (
        positional.pop(0) if positional and isinstance(positional[0], ast.Call) else None
    )
    norm, eps, own = _ball(ball)
    if ball is None:
        norm_value = given.pop("norm", None) or (positional.pop(0) if positional else None)
        norm = str(norm_value.value) if isinstance(norm_value, ast.Constant) else "l2"
    further = [*own, *map(ast.unparse, positional), *(f"{name}={ast.unparse(value)}" for name, value in given.items())]
    return Named(_KINDS.get(tree.func.id, tree.func.id), norm.lower(), eps, ", ".join(further))


def _ball(tree: ast.expr | None) -> tuple[str, float | None, list[str]]:
    """Norm, eps and further settings of a ball."""
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        return "", None, []
    given = {str(k.arg): k.value for k in tree.keywords}
    positional = list(tree.args)
    first = given.pop("eps", None) or (positional.pop(0) if positional else None)
    size = first.value if isinstance(first, ast.Constant) and isinstance(first.value, int | float) else None
    further = [*map(ast.unparse, positional), *(f"{name}={ast.unparse(value)}" for name, value in given.items())]
    return tree.func.id, None if size is None else float(size), further


def attack_words(text: str, size: float | None = None) -> str:
    """An attack in words; where it has no eps, `size` is how large a perturbation counts.

    >>> attack_words("PGD(L2(0.5), steps=7)"), attack_words("PGD(Linf(0.03137254901960784))")
    ('PGD (L2, ε 0.5, steps=7)', 'PGD (L∞, ε 8/255)')
    >>> attack_words("LogBarrier()", 0.25), attack_words("attack.py:mine")
    ('log-barrier (L2, size up to 0.25)', 'attack.py:mine')
    """
    own = named(text)
    parts = [norm_words(own.norm)] if own.norm else []
    if own.eps is not None:
        parts.append(f"ε {size_words(own.norm, own.eps)}")
    elif size is not None:
        parts.append(f"size up to {size_words(own.norm, size)}")
    parts += [own.further] if own.further else []
    return own.kind + (f" ({', '.join(parts)})" if parts else "")


def family_words(text: str) -> str:
    """The same without its eps, for what is about all sizes.

    >>> family_words("PGD(L2(0.5), steps=7)")
    'PGD (L2, steps=7)'
    """
    own = named(text)
    parts = [part for part in (norm_words(own.norm), own.further) if part]
    return own.kind + (f" ({', '.join(parts)})" if parts else "")


def attack_order(text: str | None, size: float | None) -> tuple[str, str, float]:
    """Attacks of a kind and norm side by side, from small balls to large ones."""
    own = named(text) if text else Named("", "", None, "")
    return own.norm, own.kind, own.eps if own.eps is not None else -1.0 if size is None else size


def norm_words(norm: str) -> str:
    return SYMBOLS.get(norm, norm)


def size_words(norm: str, size: float) -> str:
    """The size of a perturbation: of L∞ in 255ths where it is a whole number of them.

    >>> size_words("l2", 0.5), size_words("linf", 8 / 255), size_words("linf", 0.1), size_words("l0", 12.0)
    ('0.5', '8/255', '0.1', '12')
    """
    if size == float("inf"):
        return "∞"
    steps = size * 255
    if norm == "linf" and abs(steps - round(steps)) < 1e-4 and steps > 0.5:
        return f"{round(steps)}/255"
    return f"{size:.3g}"
