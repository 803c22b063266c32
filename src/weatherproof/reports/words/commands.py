"""The command that gives a run's numbers again."""

from collections.abc import Mapping
from typing import Any

from weatherproof.names import command_line
from weatherproof.recipe import NO_ARGUMENTS

_FIRST = ("scale", "seed", "seeds")
_OTHERS = (*NO_ARGUMENTS, "study")


def reproducing(recipe: Mapping[str, Any]) -> str:
    """The command line of a study, with every option of its recipe."""
    words, given = ["reproduce", str(recipe.get("study"))], {n: v for n, v in recipe.items() if n not in _OTHERS}
    for name in (*(own for own in _FIRST if own in given), *(own for own in given if own not in _FIRST)):
        words += [f"--{name.replace('_', '-')}", *([] if given[name] is True else [str(given[name])])]
    return command_line(*words)
