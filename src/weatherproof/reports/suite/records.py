"""What belongs to a suite of common corruptions: its names and groups, and which records are about it.

A suite's records are cells (a corruption at a severity), means (a corruption over its severities) and totals (a group
of corruptions, or the whole suite).
"""

import ast
from collections.abc import Iterable

from weatherproof.benchmark import ALL, COMMON, COMMON_19, EXTRA_4, GROUP_OF, GROUPS, SEEN, SUITES, UNSEEN
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

WHOLES = (ALL, "noisy", *COMMON)  # names of suites, smallest first; "all": whatever else was measured together
ASIDE = (SEEN, UNSEEN)  # totals over what was part of the training, and over the rest
TOTAL_METRICS = frozenset({
    *("mca", "mce", "relative_mce", "unnormalised_mce"),
    *("mean_rms_calibration_error", "mean_ece"),
})  # fmt: skip
OTHER = "other"  # the group of a corruption that is none of the 19


def is_cell(record: JsonRecord) -> bool:
    return bool(record.get("corruption")) and words.finite(record.get("severity")) and not record.get("attack")


def is_total(record: JsonRecord) -> bool:
    return record.get("metric") in TOTAL_METRICS or record.get("corruption") in (*GROUPS, *WHOLES, *ASIDE)


def is_mean(record: JsonRecord, names: frozenset[str] | set[str] = frozenset(COMMON_19)) -> bool:
    """Whether a record is the mean over the severities of one of these corruptions."""
    alone = record.get("severity") is None and not record.get("attack") and not is_total(record)
    return alone and record.get("corruption") in names


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Group after group as in the benchmark, extra corruptions last in their group; unknown ones at the end."""
    given = set(names)
    return (*(n for own in GROUPS.values() for n in own if n in given), *sorted(given - set(COMMON_19)))


def members(whole: str | None) -> tuple[str, ...]:
    """The corruptions of a suite; none of a name that is not known."""
    return SUITES.get(whole or "", ())


def group_of(corruption: str) -> str:
    return GROUP_OF.get(corruption, OTHER)


def is_extra(corruption: str) -> bool:
    """Whether it is one of the four that are not part of the benchmark's 15."""
    return corruption in EXTRA_4


def synthetic_frost(record: JsonRecord) -> bool:
    """Whether its frost was made from statistics: `Corruption('frost', ...)` without a folder of photographs."""
    tree = words.call(record.get("operator"))
    if record.get("corruption") != "frost" or tree is None or not isinstance(tree.func, ast.Name):
        return False
    given = [*tree.args[4:5], *(k.value for k in tree.keywords if k.arg == "frost")]
    return tree.func.id == "Corruption" and all(isinstance(g, ast.Constant) and g.value is None for g in given)


def whole_words(name: str) -> str:
    """A group or suite in words.

    >>> whole_words("common-15"), whole_words("blur"), whole_words("unseen")
    ('all 15 common corruptions', 'blur', 'not seen in training')
    """
    if name in COMMON:
        return f"all {len(COMMON[name])} common corruptions"
    known = {
        "all": "all corruptions measured",
        "noisy": "uniform and non-uniform noise",
        "seen": "seen in training",
        "unseen": "not seen in training",
    }
    return known.get(name, name)
