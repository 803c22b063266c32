"""Similarity regularization at test time, which "Transferable Unsupervised Robust Representation Learning" names as
possible in its section 4 and does not try: its fine-tuned models minimise the entropy of their answers to a damaged
batch (TENT), with and without keeping the batch's similarities as they were."""

from collections.abc import Mapping
from dataclasses import replace

from weatherproof.studies.lab.claims import Values, Verdict, all_of, awaiting_values
from weatherproof.studies.lab.classifiers import Adapting
from weatherproof.studies.lab.measures import Clean, Suite
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.study import About, Cell, Claim, Key, Scale, Study, Wanted
from weatherproof.studies.papers.transfer.models import MOCO, URRL, Models, Tuned
from weatherproof.studies.papers.transfer.scales import SCALES, Transfer

BEFORE, STATISTICS, TENT = "as it was", "statistics of the batch", "TENT, ten steps"
KEPT = {f"TENT and similarity, w {weight:g}": weight for weight in (1.0, 10.0)}
ADAPTATIONS: Mapping[str, str | None] = {
    BEFORE: None,
    STATISTICS: "BatchStatistics()",
    TENT: "Tent(10)",
    **{column: f"Tent(10, similarity={weight!r})" for column, weight in KEPT.items()},
}
STARTS = (MOCO, URRL)
CLEAN, DAMAGED, POINT = "clean", "mean of 15 corruptions", 0.01
SUITE, DATA = "common-15", "CIFAR-10"


def _study() -> Study:
    damaged, clean = ([f"{start}: {what}" for start in STARTS] for what in (DAMAGED, CLEAN))
    claims = (
        *(Claim(f"{column}: above TENT alone under corruptions", _ahead(column, TENT, damaged)) for column in KEPT),
        *(
            Claim(
                f"{column}: above the classifier as it was under corruptions, and on clean images within a point of it",
                all_of(_ahead(column, BEFORE, damaged), _ahead(column, BEFORE, clean, -POINT)),
            )
            for column in KEPT
        ),
    )
    note = (
        "Not in the paper, which names it as possible; the claims are ours. The classifiers are those of urrl-table-3, "
        "fine-tuned on CIFAR-10 without regularization. Each batch of up to 256 test images, all under one corruption "
        "at one severity, is adapted to by itself, from the classifier as it was, and without a label: ten steps of "
        "Adam on the scales and shifts of normalisation, down the entropy of the answers, beside it w |S - S*| / N."
    )
    scales = SCALES["test-time-similarity"]
    title = "URRL: its similarity regularization at test time"
    return sized("test-time-similarity", title, scales, _at, claims, note, ours=True)


def _at(settings: Transfer, seed: int) -> Scale:
    models, cells = Models(settings, seed), dict[Key, Cell | None]()
    tuned = [Tuned(start) for start in STARTS]
    suite, made = Suite(SUITE, settings.severities, seed), settings.corrupted.get(DATA)
    for start, model in zip(STARTS, tuned, strict=True):
        recipe = models.recipe(model, DATA)
        for column, text in ADAPTATIONS.items():
            own, about = (recipe if text is None else Adapting(text, recipe)), About(f"{start}, {column}", "end-to-end")
            mixed = isinstance(own, Adapting)
            test = replace(models.test(DATA, settings.suite_images), mixed=mixed)
            files = None if made is None else Images(Source(made), "test", settings.size, mixed=mixed)
            cells[f"{start}: {CLEAN}", column] = Cell(own, Clean(seed), test, about)
            wanted = Wanted("mca", suite.called)
            cells[f"{start}: {DAMAGED}", column] = Cell(own, suite, test, about, wanted, files)
    return Scale(settings.name, settings.note, cells, models.facts(tuned))


@awaiting_values
def _ahead(values: Values, high: str, low: str, rows: list[str], points: float = 0.0) -> Verdict:
    """Column `high` more than `points` above column `low` in every row."""
    gaps = {r: values[r, high] - values[r, low] for r in rows if (r, high) in values and (r, low) in values}
    detail = ", ".join(f"{row} {gap:+.1%}" for row, gap in gaps.items())
    return sum(gap > points for gap in gaps.values()), len(gaps), detail


STUDIES = {study.name: study for study in (_study(),)}
