"""Feature contrastive learning on encoders that have been hardened or pretrained, which the paper does not ask."""

from collections.abc import Callable
from functools import partial

from weatherproof.studies.lab.paired import PairedClaim, beats
from weatherproof.studies.lab.study import Key, Measurable, Study
from weatherproof.studies.papers.fcl.grids import CLAIM_NOTE, CLEAN_MARGIN, NOISE_NOTE, NOISES, study
from weatherproof.studies.papers.fcl.models import Damage, Models, Training
from weatherproof.studies.papers.fcl.pictures import save_curves

STARTS = ("hardened", "pretrained")


def on_encoders() -> Study:
    """Frozen, fine-tuned with cross-entropy, and with FCL."""
    ways = {"frozen": "frozen", "fine-tuned, XE": "supervised", "fine-tuned, FCL": "fcl"}
    frozen, tuned, contrasted = ways
    damages: dict[str, Damage] = {"clean": "clean", **NOISES, "mean of 15 corruptions": "common-15"}
    kept = "utility and sensitivity"
    trainings = {(start, way): Training(method, start) for start in STARTS for way, method in ways.items()}
    cells: dict[Key, Callable[[Models], Measurable | None]] = {}
    for (start, way), own in trainings.items():
        for row, damage in damages.items():
            cells[f"{start}: {row}", way] = partial(Models.accuracy, training=own, damage=damage)
        cells[f"{start}: {kept}", way] = partial(Models.rank_correlation, training=own)
    claims: list[PairedClaim] = []
    for start in STARTS:
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
    curves = partial(save_curves, starts=STARTS)
    return study("fcl-on-encoders", title, cells, trainings, tuple(claims), note, pictures=curves, ours=True)
