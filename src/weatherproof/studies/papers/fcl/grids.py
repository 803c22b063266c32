"""What the studies of feature contrastive learning share: rows, columns and the study that is made of them.

Rows are test sets, columns the trainings with labels of `methods.LABELLED`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Check, Key, Measurable, Scale, Study
from weatherproof.studies.papers.fcl.models import Damage, Models, Training
from weatherproof.studies.papers.fcl.scales import SCALES, FclScale

Table = Mapping[Key, Callable[[Models], Measurable | None]]
XE, XE_GAUSSIAN, CL_GAUSSIAN = "XE", "XE+Gaussian", "CL+Gaussian"
FCL, PATCH, PATCH_FCL = "FCL", "Patch Gaussian", "Patch Gaussian+FCL"
METHODS = {
    XE: Training("supervised"), XE_GAUSSIAN: Training("xe-gaussian"), CL_GAUSSIAN: Training("cl-gaussian"),
    FCL: Training("fcl"), PATCH: Training("patch-gaussian"), PATCH_FCL: Training("patch-gaussian-fcl"),
}  # fmt: skip
PLAIN = (XE, XE_GAUSSIAN, CL_GAUSSIAN)  # what FCL is compared with where no image is patched
PAIR = {column: METHODS[column] for column in (XE, FCL)}
CLEAN_MARGIN = 0.005  # half a point: less than that is "not hurt"
RARE_MARGIN = 0.01  # a point: fewer images, so the same accuracy is less sure
RARE_ROW = "BAL, classes 10-14"
SYNTHETIC_ROWS: dict[str, tuple[Damage, bool]] = {
    "BAL": ("clean", False), "BAL+UN": ("uniform_noise", False), "BAL+NUN": ("nonuniform_noise", False),
    RARE_ROW: ("clean", True),
}  # fmt: skip
NOISES: dict[str, Damage] = {"UN": "uniform_noise", "NUN": "nonuniform_noise"}
NOISE_NOTE = (
    "UN: 15 % of the pixels, chosen uniformly, replaced by random grey levels; NUN: the same, mostly where training "
    "images vary little, with odds of 1 / (standard deviation + 1/255). Every method and every training meets the same "
    "noisy copy of the test set."
)
CLAIM_NOTE = (
    "± is the standard error over the training seeds, on these test images: another draw of images would add to it. A "
    "claim holds if each of its comparisons does in a paired t-test over the seeds, one-sided, p < 0.05; it does not "
    "hold if one is reversed at 0.05 divided by their number; 'not decided' means that these seeds show neither. The "
    "paper's own numbers are lost."
)


def on_synthetic_mnist(columns: Mapping[str, Training]) -> Table:
    """Accuracy on clean and noisy test images, and on the rare classes."""
    return {
        (row, column): partial(Models.accuracy, training=own, damage=damage, rare=rare)
        for row, (damage, rare) in SYNTHETIC_ROWS.items()
        for column, own in columns.items()
    }


def on_sets(sets: Mapping[str, str], damages: Mapping[str, Damage]) -> Table:
    """Accuracy of all methods on each of the data sets under each damage."""
    return {
        (f"{name}, {row}", column): partial(Models.accuracy, training=own, damage=damage, data=data)
        for name, data in sets.items()
        for row, damage in damages.items()
        for column, own in METHODS.items()
    }


def study(
    name: str, title: str, cells: Table, trainings: Mapping[Any, Training], claims: tuple[Check, ...], note: str, *,
    data: Sequence[str] = (), pictures: Callable[[Models, Store, Path], None] | None = None, ours: bool = False,
) -> Study:  # fmt: skip
    """The study at its scales.

    Args:
        trainings: behind the cells, on "main" and on each of these data sets.
        pictures: written into the run folder.
    """

    def at(settings: FclScale, seed: int) -> Scale:
        models = Models(settings, seed)
        grid = {key: measured(models) for key, measured in cells.items()}
        facts = models.facts(tuple(trainings.values()), data)
        after = () if pictures is None else (lambda store, folder, _: pictures(models, store, folder),)
        later_facts = partial(models.chosen_facts, tuple(trainings.values()))
        return Scale(settings.name, settings.note, grid, facts, later_facts, after)

    return sized(name, title, SCALES[name], at, claims, note, ours=ours)
