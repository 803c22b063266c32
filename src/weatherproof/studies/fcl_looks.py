"""Figures 1 to 4 and Appendix A of feature contrastive learning, and two questions that the paper does not ask: what
lambda buys and costs, and what the method does on encoders that have been hardened or pretrained."""

from collections.abc import Mapping

from weatherproof.studies.claims import Test
from weatherproof.studies.fcl import (
    CLAIM_NOTE,
    CLEAN_MARGIN,
    FCL,
    METHODS,
    NOISE_NOTE,
    NOISES,
    RARE_MARGIN,
    RARE_ROW,
    SYNTHETIC_ROWS,
    XE,
    XE_GAUSSIAN,
)
from weatherproof.studies.fcl_cases import RARE
from weatherproof.studies.fcl_cells import CountCell, Damage, FclCell, MapCell
from weatherproof.studies.paired import PairedClaim, beats, together
from weatherproof.studies.study import Claim, Key, Study

CONTEXTS = {"0-4": tuple(range(5)), "10-14": RARE, "5-9": tuple(range(5, 10))}
SPLITS = {"training": "train", "validation": "validation", "test": "test"}
IDENTITY_TOLERANCE = 1e-4  # relative: single precision, and softmax probabilities near 1


def _figures() -> Study:
    cells: dict[Key, CountCell | MapCell] = {
        (f"{row} images of a class", context): CountCell(split, classes)
        for row, split in SPLITS.items()
        for context, classes in CONTEXTS.items()
    }
    corners = {f"utility in the corners, {method}": METHODS[method] for method in (XE, FCL)}
    for row, method in corners.items():
        for context, classes in CONTEXTS.items():
            cells[row, context] = MapCell(method, "corner_utility", classes)
    claims = (
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
    return Study("fcl-figures", "FCL, Figures 1 to 4: synthetic MNIST and its utility", cells, claims, note=note)


def _appendix_a() -> Study:
    rows = {
        "utility and sensitivity of the embedding": MapCell("", "rank_correlation", of="embedding"),
        "utility and sensitivity of the probabilities": MapCell("", "rank_correlation", of="probabilities"),
        "utility and sensitivity of the right class's probability": MapCell("", "rank_correlation", of="right"),
        "relative error of u = abs(d f_y / d x) / f_y": MapCell("", "identity"),
    }
    cells = {
        (row, column): MapCell(METHODS[column], cell.measure, of=cell.of)
        for row, cell in rows.items()
        for column in (XE, FCL)
    }
    identity = next(row for row, cell in rows.items() if cell.measure == "identity")
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
    return Study("fcl-appendix-a", "FCL, Appendix A: utility and sensitivity", cells, claims, note=note)


def _weight() -> Study:
    tenth, noisy = "FCL, a tenth of lambda", ("BAL+UN", "BAL+NUN")
    columns = {XE: (METHODS[XE], 1.0), XE_GAUSSIAN: (METHODS[XE_GAUSSIAN], 1.0), tenth: (METHODS[FCL], 0.1),
               FCL: (METHODS[FCL], 1.0)}  # fmt: skip
    cells: dict[Key, FclCell] = {
        (row, column): FclCell(method, damage, rare=rare, weight_times=times)
        for row, (damage, rare) in SYNTHETIC_ROWS.items()
        for column, (method, times) in columns.items()
    }
    claims = tuple(
        PairedClaim(text.format(column), beats(column, lows, rows, margin))
        for column in (tenth, FCL)
        for text, lows, rows, margin in (
            ("{} does not hurt clean accuracy, within half a point", (XE,), ("BAL",), CLEAN_MARGIN),
            ("{} keeps the rare classes 10-14, within a point", (XE,), (RARE_ROW,), RARE_MARGIN),
            ("{} is above XE on UN and NUN", (XE,), noisy, 0.0),
            ("{} is above XE+Gaussian on UN and NUN", (XE_GAUSSIAN,), noisy, 0.0),
        )
    )
    note = (
        "Not in the paper; the claims are ours. Lambda, the weight of the second term, is the published one in all "
        f"columns but one. {NOISE_NOTE} {CLAIM_NOTE}"
    )
    return Study("fcl-weight", "FCL: what lambda buys and what it costs", cells, claims, note=note, ours=True)


def _on_encoders() -> Study:
    ways = {"frozen": "frozen", "fine-tuned, XE": METHODS[XE], "fine-tuned, FCL": METHODS[FCL]}
    frozen, tuned, contrasted = ways
    damages: dict[str, Damage] = {"clean": "clean", **NOISES, "mean of 15 corruptions": "common-15"}
    kept = "utility and sensitivity"
    cells: dict[Key, FclCell | MapCell] = {}
    claims: list[PairedClaim] = []
    for start in ("hardened", "pretrained"):
        for way, method in ways.items():
            for row, damage in damages.items():
                cells[f"{start}: {row}", way] = FclCell(method, damage, start=start)
            cells[f"{start}: {kept}", way] = MapCell(method, "rank_correlation", start=start)
        noisy = tuple(f"{start}: {noise}" for noise in NOISES)
        damaged = (*noisy, f"{start}: mean of 15 corruptions")
        claims += [
            PairedClaim(f"{start}: FCL is more robust to UN and NUN than XE", beats(contrasted, (tuned,), noisy)),
            PairedClaim(
                f"{start}: FCL keeps the frozen encoder's robustness, within half a point",
                beats(contrasted, (frozen,), damaged, CLEAN_MARGIN),
            ),
            PairedClaim(
                f"{start}: FCL does not hurt XE's clean accuracy, within half a point",
                beats(contrasted, (tuned,), (f"{start}: clean",), CLEAN_MARGIN),
            ),
            PairedClaim(
                f"{start}: sensitivity follows utility more closely after FCL than after XE",
                beats(contrasted, (tuned,), (f"{start}: {kept}",)),
                points=False,
            ),
        ]
    note = (
        "Not in the paper; the claims are ours. FCL's term is a function of the embedding alone: on a frozen encoder "
        "it has no gradient, neither in the encoder nor in the head, and training is plain cross-entropy. So 'frozen' "
        "is the encoder as it is, the hardened one under the classifier with which fine-tuning begins, the pretrained "
        "one under a linear probe. All seeds start from one hardened and one pretrained encoder. Utility and "
        "sensitivity: Spearman's rank correlation over the elements of an image, the "
        f"mean over images. {NOISE_NOTE} {CLAIM_NOTE}"
    )
    title = "FCL on a hardened and on a pretrained encoder"
    return Study("fcl-on-encoders", title, cells, tuple(claims), note=note, ours=True)


# claims


def _imbalanced(values: Mapping[Key, float]) -> tuple[int, int, str]:
    few, many = (values.get(("training images of a class", context)) for context in ("10-14", "5-9"))
    if few is None or many is None:
        return 0, 0, ""
    return int(0.005 <= few / many <= 0.02), 1, f"{few:,.0f} against {many:,.0f}"


def _balanced(values: Mapping[Key, float]) -> tuple[int, int, str]:
    held, of, said = 0, 0, []
    for row in ("validation images of a class", "test images of a class"):
        counts = [values[row, context] for context in CONTEXTS if (row, context) in values]
        if counts:
            held, of = held + (min(counts) >= 0.8 * max(counts)), of + 1
            said.append(" / ".join(f"{number:,.0f}" for number in counts))
    return held, of, "; ".join(said)


def _small(row: str) -> Test:
    def test(values: Mapping[Key, float]) -> tuple[int, int, str]:
        found = [value for (where, _), value in values.items() if where == row]
        return sum(value < IDENTITY_TOLERANCE for value in found), len(found), ", ".join(f"{v:.1e}" for v in found)

    return test


STUDIES = {study.name: study for study in (_figures(), _appendix_a(), _weight(), _on_encoders())}
