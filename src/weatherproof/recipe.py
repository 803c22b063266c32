"""What a run's recipe.yaml says beside the arguments of its verb, under which names."""

from collections.abc import Mapping
from typing import Any

OWN_FILES = "files"  # hashes, of the user's own code and of published weights, which earlier recipes lack
INPUTS = "inputs"  # digests of encoders, classifiers and sets of images, which earlier ones lack, too
COMMITS = "commits"  # of the hub, by the file: the same file may be in several
FIXED = "fixed"  # what a verb without such arguments works on: encoder, images and operator of `demo`
RECORDED = ("versions", "hardware", COMMITS)  # written for the reader, never compared
NO_ARGUMENTS = ("verb", OWN_FILES, INPUTS, FIXED, *RECORDED)


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe in which arguments under "arguments", and what its verb has fixed, stand beside the verb."""
    nested = {name: recipe[name] for name in ("arguments", FIXED) if isinstance(recipe.get(name), Mapping)}
    beside = {name: value for name, value in recipe.items() if name not in nested}
    return beside | {name: value for part in nested.values() for name, value in part.items()}
