"""The checker of annotations under test: beartype, with the numeric tower (an int is welcome where a float is).

jaxtyping's import hook puts `@jaxtyping.jaxtyped(typechecker=...)` on every function and class. A check costs twenty
microseconds a call, and most calls are to small functions on texts and numbers, which mypy has checked: here only those
are wrapped whose annotations name an array.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_args, get_origin

import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping._decorator import _destring_annotation, _make_fn_with_signature
from jaxtyping._storage import pop_shape_memo, push_shape_memo, shape_str
from torch import Tensor

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

_ARRAYS = (jaxtyping.AbstractArray, Tensor, np.ndarray)
_jaxtyped = jaxtyping.jaxtyped


def names_array(hint: Any) -> bool:
    """Whether an annotation asks for an array, alone or in a container. What a callable takes cannot be checked."""
    if isinstance(hint, type) and issubclass(hint, _ARRAYS):
        return True
    return get_origin(hint) is not Callable and any(map(names_array, get_args(hint)))


def jaxtyped(*made: Any, **given: Any) -> Any:
    """`jaxtyping.jaxtyped`, but that what the hook decorates stays as it is where it names no array."""

    def wrap(made: Any) -> Any:
        hints = inspect.get_annotations(made.__init__ if isinstance(made, type) else made)
        if not any(map(names_array, hints.values())):
            return made
        return checked(made) if inspect.isfunction(made) else _jaxtyped(made, **given)

    return _jaxtyped(*made, **given) if made else wrap


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose arguments are checked before and whose result after each call, in one scope of axes.

    jaxtyping's own wrapper takes twice the time: it also binds the arguments to their names, for axes that are given as
    expressions of them, and checks them once more with the result. What checks is made at the first call: most
    functions of the package are never called in a process.
    """
    checks: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if not checks:
            checks.extend(_checks(function))
        arguments, result = checks
        memos = push_shape_memo({})
        try:
            arguments(*args, **kwargs)
            out = function(*args, **kwargs)
            result(out)
            return out
        except BeartypeCallHintViolation as wrong:
            raise jaxtyping.TypeCheckError(f"{wrong}\n{shape_str(memos)}") from None
        finally:
            pop_shape_memo()

    return call


def _checks(function: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What takes a function's arguments, and what takes its result and gives it back: both do nothing else."""

    def hint(annotation: Any) -> Any:
        return _destring_annotation(annotation, function.__globals__)

    own, names = inspect.signature(function), (function.__name__, function.__qualname__, function.__module__)
    given = [one.replace(annotation=hint(one.annotation)) for one in own.parameters.values()]
    arguments = _make_fn_with_signature(*names, inspect.Signature(given), output=False)
    given_back = inspect.Signature(return_annotation=hint(own.return_annotation))
    result, name = _make_fn_with_signature(*names, given_back, output=True)
    result = check(result)
    return check(arguments), lambda out: result(**{name: out})


jaxtyping.jaxtyped = jaxtyped  # the name that the hook's decorators look up
