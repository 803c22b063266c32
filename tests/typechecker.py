"""The checker of annotations under test: beartype, with the numeric tower (an int is welcome where a float is).

jaxtyping's import hook puts `@jaxtyping.jaxtyped(typechecker=...)` on every function and class. A check costs twenty
microseconds a call, and most calls are to small functions on texts and numbers, which mypy has checked: here only those
are wrapped whose annotations name an array.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
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
        return _jaxtyped(made, **given) if any(map(names_array, hints.values())) else made

    return _jaxtyped(*made, **given) if made else wrap


jaxtyping.jaxtyped = jaxtyped  # the name that the hook's decorators look up
