"""What is useful in an image: Figures 1 to 4 and Appendix A."""

from functools import partial
from typing import Literal

from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.paired import PairedClaim, beats, together
from weatherproof.studies.lab.study import Check, Claim, Study
from weatherproof.studies.papers.fcl.grids import CLAIM_NOTE, FCL, PAIR, XE, Table, study
from weatherproof.studies.papers.fcl.maps import Output
from weatherproof.studies.papers.fcl.models import RARE, Models
from weatherproof.studies.papers.fcl.pictures import save_curves, save_figures

IDENTITY_TOLERANCE = 1e-4  # relative: single precision, and softmax probabilities near 1
CONTEXTS = {"0-4": tuple(range(5)), "10-14": RARE, "5-9": tuple(range(5, 10))}
SPLITS: dict[str, Literal["train", "validation", "test"]] = {
    "training": "train", "validation": "validation", "test": "test",
}  # fmt: skip


def figures_1_to_4() -> Study:
    """How many images there are of a class, and where in an image its utility lies."""
    counts: Table = {
        (f"{row} images of a class", context): partial(Models.count, split=split, classes=classes)
        for row, split in SPLITS.items()
        for context, classes in CONTEXTS.items()
    }
    corners: Table = {
        (f"utility in the corners, {column}", context): partial(Models.corner_utility, training=own, classes=classes)
        for column, own in PAIR.items()
        for context, classes in CONTEXTS.items()
    }
    claims: tuple[Check, ...] = (
        Claim("in training a class 10-14 has about a hundredth of the images of another", _imbalanced),
        Claim("validation and test are balanced, within a fifth", _balanced),
        *(
            PairedClaim(
                f"after {method}, corners have more of the utility for 0-4 and 10-14 than for 5-9",
                together(*(beats(high, ("5-9",), (f"utility in the corners, {method}",)) for high in ("0-4", "10-14"))),
            )
            for method in (XE, FCL)
        ),
    )
    note = (
        "Columns are classes by context: a corner digit turns 0-4 into 10-14 and means nothing for 5-9. Utility in the "
        "corners: the share of the summed utility of all images that lies in the four boxes that corner digits fill. "
        f"The pictures of Figures 1 to 4 are on the page. {CLAIM_NOTE}"
    )
    title = "FCL, Figures 1 to 4: synthetic MNIST and its utility"
    return study("fcl-figures", title, {**counts, **corners}, PAIR, claims, note, pictures=save_figures)


def appendix_a() -> Study:
    """Whether sensitivity follows utility, and what utility is."""
    rows: dict[str, Output] = {
        "utility and sensitivity of the embedding": "embedding",
        "utility and sensitivity of the probabilities": "probabilities",
        "utility and sensitivity of the right class's probability": "right",
    }
    identity = "relative error of u = abs(d f_y / d x) / f_y"
    followed: Table = {
        (row, column): partial(Models.rank_correlation, training=own, of=of)
        for row, of in rows.items()
        for column, own in PAIR.items()
    }
    errors: Table = {(identity, column): partial(Models.identity_error, training=own) for column, own in PAIR.items()}
    claims = (
        Claim("u = abs(d f_y / d x) / f_y, to one in ten thousand", _small(identity)),
        PairedClaim(
            "after FCL the embedding's sensitivity follows the utility more closely than after XE",
            beats(FCL, (XE,), tuple(rows)[:1]),
            points=False,
        ),
    )
    note = (
        "Spearman's rank correlation over the elements of an image, the mean over images. The error is relative, over "
        f"all elements of all images together. {CLAIM_NOTE}"
    )
    title, curves = "FCL, Appendix A: utility and sensitivity", partial(save_curves, starts=("",))
    return study("fcl-appendix-a", title, {**followed, **errors}, PAIR, claims, note, pictures=curves)


def _imbalanced(values: Values) -> Verdict:
    few, many = (values.get(("training images of a class", context)) for context in ("10-14", "5-9"))
    if few is None or many is None:
        return 0, 0, ""
    return int(0.005 <= few / many <= 0.02), 1, f"{few:,.0f} against {many:,.0f}"


def _balanced(values: Values) -> Verdict:
    held, of, details = 0, 0, []
    for row in ("validation images of a class", "test images of a class"):
        counts = [values[row, context] for context in CONTEXTS if (row, context) in values]
        if counts:
            held, of = held + (min(counts) >= 0.8 * max(counts)), of + 1
            details.append(" / ".join(f"{number:,.0f}" for number in counts))
    return held, of, "; ".join(details)


@awaiting_values
def _small(values: Values, row: str) -> Verdict:
    found = [value for (where, _), value in values.items() if where == row]
    return sum(value < IDENTITY_TOLERANCE for value in found), len(found), ", ".join(f"{v:.1e}" for v in found)
