"""The tables of "Balancing Robustness and Sensitivity using Feature Contrastive Learning".

Its result tables are lost from the text that there is: its claims are the checks, and no number is published. Rows are
test sets, columns the trainings with labels of `methods.LABELLED`.
"""

from weatherproof.studies.fcl_cells import Damage, FclCell
from weatherproof.studies.paired import PairedClaim, beats, gains_more
from weatherproof.studies.study import Study

XE, XE_GAUSSIAN, CL_GAUSSIAN = "XE", "XE+Gaussian", "CL+Gaussian"
FCL, PATCH, PATCH_FCL = "FCL", "Patch Gaussian", "Patch Gaussian+FCL"
METHODS = {
    XE: "supervised", XE_GAUSSIAN: "xe-gaussian", CL_GAUSSIAN: "cl-gaussian", FCL: "fcl", PATCH: "patch-gaussian",
    PATCH_FCL: "patch-gaussian-fcl",
}  # fmt: skip
PLAIN = (XE, XE_GAUSSIAN, CL_GAUSSIAN)  # what FCL is compared with where no image is patched
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


def _synthetic_mnist() -> Study:
    cells = {
        (row, column): FclCell(method, damage, rare=rare)
        for row, (damage, rare) in SYNTHETIC_ROWS.items()
        for column, method in METHODS.items()
    }
    noisy = ("BAL+UN", "BAL+NUN")
    claims = (
        *_noise_claims(noisy),
        *_clean_claims(("BAL",)),
        PairedClaim("FCL keeps the rare classes 10-14, within a point", beats(FCL, (XE,), (RARE_ROW,), RARE_MARGIN)),
    )
    title = "FCL, Table 1: synthetic MNIST"
    return Study("fcl-table-1", title, cells, claims, note=f"{NOISE_NOTE} {CLAIM_NOTE}")


def _noisy_cifar() -> Study:
    cells, sets = {}, {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100"}
    for name, data in sets.items():
        for row, damage in {"clean": "clean", **NOISES}.items():
            for column, method in METHODS.items():
                cells[f"{name}, {row}", column] = FclCell(method, damage, data)
    noisy = tuple(f"{name}, {noise}" for name in sets for noise in NOISES)
    more = tuple((f"CIFAR-100, {noise}", f"CIFAR-10, {noise}") for noise in NOISES)
    claims = (
        *_noise_claims(noisy),
        *_clean_claims(tuple(f"{name}, clean" for name in sets)),
        PairedClaim("FCL gains more over XE where there are more classes", gains_more(FCL, XE, more)),
    )
    return Study("fcl-table-2", "FCL, Table 2: noisy CIFAR", cells, claims, note=f"{NOISE_NOTE} {CLAIM_NOTE}")


def _common_corruptions() -> Study:
    groups: dict[str, Damage] = {
        "mean of 19": "common-19", "noise": "noise", "blur": "blur", "weather": "weather", "digital": "digital",
    }  # fmt: skip
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100", "ImageNet": "ImageNet"}
    cells = {
        (f"{name}, {row}", column): FclCell(method, damage, data)
        for name, data in sets.items()
        for row, damage in {"clean": "clean", **groups}.items()
        for column, method in METHODS.items()
    }
    whole, noise = (tuple(f"{name}, {row}" for name in sets) for row in ("mean of 19", "noise"))
    other = [(f"{name}, noise", f"{name}, {group}") for name in sets for group in ("blur", "weather", "digital")]
    claims = (
        PairedClaim("FCL above XE and both Gaussian rivals on the mean of 19", beats(FCL, PLAIN, whole)),
        PairedClaim("FCL above XE and both Gaussian rivals on noise", beats(FCL, PLAIN, noise)),
        PairedClaim("FCL's gain over XE is largest on noise", gains_more(FCL, XE, other)),
        PairedClaim(
            "with Patch Gaussian, FCL is at least level on the mean of 19, within half a point",
            beats(PATCH_FCL, (PATCH,), whole, CLEAN_MARGIN),
        ),
    )
    note = (
        "The 19 common corruptions, made on the fly: mean over five severities each, the groups with their extra "
        "corruption. Frost is synthetic here. The clean row is of more test images where a scale limits those of the "
        f"others. {CLAIM_NOTE}"
    )
    return Study("fcl-table-3", "FCL, Table 3: the 19 common corruptions", cells, claims, note=note)


def _noise_claims(rows: tuple[str, ...]) -> tuple[PairedClaim, ...]:
    return (
        PairedClaim("FCL above XE and both Gaussian rivals on UN and NUN", beats(FCL, PLAIN, rows)),
        PairedClaim("with Patch Gaussian, FCL adds to it on UN and NUN", beats(PATCH_FCL, (PATCH,), rows)),
        PairedClaim("Patch Gaussian+FCL is the best on UN and NUN", beats(PATCH_FCL, tuple(METHODS), rows)),
    )


def _clean_claims(rows: tuple[str, ...]) -> tuple[PairedClaim, ...]:
    return tuple(
        PairedClaim(
            f"{column} does not hurt clean accuracy, within half a point", beats(column, (XE,), rows, CLEAN_MARGIN)
        )
        for column in (FCL, PATCH_FCL)
    )


STUDIES = {study.name: study for study in (_synthetic_mnist(), _noisy_cifar(), _common_corruptions())}
