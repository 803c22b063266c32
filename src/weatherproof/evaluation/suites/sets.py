"""Which corruptions make a whole: suites, groups, and the classes for which AlexNet's errors hold."""

import re
from collections.abc import Iterable, Sequence

from weatherproof.benchmark import ALL, COMMON, COMMON_15, GROUPS, NOISY, SEVERITIES
from weatherproof.data import ImageSet
from weatherproof.evaluation.engine.conditions import Case

_IMAGENET_CLASSES = 1000

# Of each condition, by their names in `metrics.named`, and of several: all answers together, and the mean of each.
_METRICS = ("top1", "error", "top5", "rms_calibration_error", "ece")
POOLED = ("rms_calibration_error", "ece")


def suite_of(cases: Iterable[Case]) -> str:
    """The suite that these cases are, whole: "common-15", "common-19", "noisy"; "all" for anything else."""
    levels = _levels(cases)
    for name, members in COMMON.items():
        if levels.keys() == set(members) and all(levels[member] == {*SEVERITIES} for member in members):
            return name
    return "noisy" if levels.keys() == {*NOISY} else ALL


def sets_of(suite: str, cases: Sequence[Case]) -> dict[str, list[str]]:
    """What totals are made over: the groups, the 15 where there are more, and the suite; {name: corruptions}.

    A group, and the 15, must be there with all severities; the four extra corruptions join their groups where they are.
    """
    levels = _levels(cases)
    whole = [name for name in levels if levels[name] == {*SEVERITIES}]
    sets = {
        group: [name for name in whole if name in members]
        for group, members in GROUPS.items()
        if all(name in whole for name in members if name in COMMON_15)
    }
    if all(name in whole for name in COMMON_15):
        sets["common-15"] = list(COMMON_15)
    sets[suite] = list(levels)
    return sets


def is_imagenet(images: ImageSet) -> bool:
    """Whether these are ImageNet's 1,000 classes: by their WordNet ids, or by the name of the data."""
    if len(images.classes) != _IMAGENET_CLASSES:
        return False
    return "imagenet" in images.name.lower() or all(re.fullmatch(r"n\d{8}", name) for name in images.classes)


def case_metrics(images: ImageSet) -> tuple[str, ...]:
    """The metrics of one condition; top-5 only where it says something."""
    return tuple(name for name in _METRICS if name != "top5" or len(images.classes) > 5)


def total_metrics(suite: str, cases: Sequence[Case], images: ImageSet) -> tuple[str, ...]:
    """The metrics of the suite as a whole."""
    shared = ("mca", *POOLED, *(f"mean_{name}" for name in POOLED))
    if not is_imagenet(images):
        return (*shared, "unnormalised_mce")
    if "common-15" not in sets_of(suite, cases):
        return shared
    return (*shared, "mce", *(["relative_mce"] if any(case.corruption is None for case in cases) else []))


def _levels(cases: Iterable[Case]) -> dict[str, set[int | None]]:
    levels: dict[str, set[int | None]] = {}
    for case in cases:
        if case.corruption is not None:
            levels.setdefault(case.corruption, set()).add(case.severity)
    return levels
