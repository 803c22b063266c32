"""The tables of "Balancing Robustness and Sensitivity using Feature Contrastive Learning", and with them all studies of
it.

The paper's result tables are lost from the text that there is: its claims are the checks, and no number is published.
"""

from weatherproof.operators import COMMON_19
from weatherproof.studies.lab.paired import PairedClaim, beats, gains_more, together
from weatherproof.studies.lab.study import Study
from weatherproof.studies.papers.fcl.encoders import on_encoders
from weatherproof.studies.papers.fcl.figures import appendix_a, figures_1_to_4
from weatherproof.studies.papers.fcl.grids import (
    CLAIM_NOTE,
    CLEAN_MARGIN,
    FCL,
    METHODS,
    NOISE_NOTE,
    NOISES,
    PATCH,
    PATCH_FCL,
    PLAIN,
    RARE_MARGIN,
    RARE_ROW,
    XE,
    on_sets,
    on_synthetic_mnist,
    study,
)
from weatherproof.studies.papers.fcl.models import Damage
from weatherproof.studies.papers.fcl.settings import choices, sweeps, validated, variants, weight


def _synthetic_mnist() -> Study:
    cells = on_synthetic_mnist(METHODS)
    noisy = ("BAL+UN", "BAL+NUN")
    claims = (
        PairedClaim("FCL above XE on UN and NUN", beats(FCL, (XE,), noisy)),
        *_noise_claims(noisy, " (not in the paper's text)"),
        *_clean_claims(("BAL",)),
        PairedClaim("FCL keeps the rare classes 10-14, within a point", beats(FCL, (XE,), (RARE_ROW,), RARE_MARGIN)),
        PairedClaim(
            "noise in training costs the rare classes 10-14, in both Gaussian rivals",
            together(*(beats(XE, (rival,), (RARE_ROW,)) for rival in PLAIN[1:])),
        ),
        PairedClaim(
            "FCL keeps more of the rare classes 10-14 than both Gaussian rivals", beats(FCL, PLAIN[1:], (RARE_ROW,))
        ),
    )
    title = "FCL, Table 1: synthetic MNIST"
    return study("fcl-table-1", title, cells, METHODS, claims, f"{NOISE_NOTE} {CLAIM_NOTE}")


def _noisy_cifar() -> Study:
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100"}
    damages: dict[str, Damage] = {"clean": "clean", **NOISES}
    cells = on_sets(sets, damages)
    noisy = tuple(f"{name}, {noise}" for name in sets for noise in NOISES)
    more = tuple((f"CIFAR-100, {noise}", f"CIFAR-10, {noise}") for noise in NOISES)
    from_clean = tuple((f"CIFAR-10, {noise}", "CIFAR-10, clean") for noise in NOISES)
    claims = (
        *_noise_claims(noisy),
        *_clean_claims(tuple(f"{name}, clean" for name in sets)),
        PairedClaim("FCL gains more over XE where there are more classes", gains_more(FCL, XE, more)),
        PairedClaim(
            "so it does over both Gaussian rivals",
            together(*(gains_more(FCL, rival, more) for rival in PLAIN[1:])),
        ),
        *(
            PairedClaim(
                f"Gaussian noise helps under UN and NUN, in both rivals, on {name}",
                together(*(beats(rival, (XE,), tuple(f"{name}, {noise}" for noise in NOISES)) for rival in PLAIN[1:])),
            )
            for name in sets
        ),
        PairedClaim(
            "with Patch Gaussian less is lost from clean to UN and NUN than without, on CIFAR-10",
            together(
                gains_more(PATCH, XE, from_clean),
                gains_more(PATCH_FCL, FCL, from_clean),
            ),
        ),
        PairedClaim("on CIFAR-100 Patch Gaussian alone is behind FCL on UN and NUN", beats(FCL, (PATCH,), noisy[2:])),
        PairedClaim(
            "on CIFAR-100 Patch Gaussian+FCL is the best on UN and NUN", beats(PATCH_FCL, tuple(METHODS), noisy[2:])
        ),
    )
    title, note = "FCL, Table 2: noisy CIFAR", f"{NOISE_NOTE} {CLAIM_NOTE}"
    return study("fcl-table-2", title, cells, METHODS, claims, note, data=tuple(sets.values()))


def _common_corruptions() -> Study:
    groups: dict[str, Damage] = {
        "clean": "clean", "mean of 19": "common-19", "noise": "noise", "blur": "blur", "weather": "weather",
        "digital": "digital",
    }  # fmt: skip
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100", "ImageNet": "ImageNet"}
    cells = on_sets(sets, groups)
    whole, noise = (tuple(f"{name}, {row}" for name in sets) for row in ("mean of 19", "noise"))
    soft = [(f"CIFAR-10, {a}", f"CIFAR-10, {b}") for a in ("noise", "blur") for b in ("weather", "digital")]
    sharp = [(f"ImageNet, {a}", f"ImageNet, {b}") for a in ("noise", "digital") for b in ("weather", "blur")]
    small, others = tuple(sets)[:2], ("blur", "weather", "digital")
    other = [(f"{name}, noise", f"{name}, {group}") for name in small for group in others]
    claims = (
        PairedClaim("FCL above XE and both Gaussian rivals on the mean of 19", beats(FCL, PLAIN, whole)),
        PairedClaim("FCL above XE and both Gaussian rivals on noise", beats(FCL, PLAIN, noise)),
        PairedClaim("CIFAR-10-C and CIFAR-100-C: FCL's gain over XE is largest on noise", gains_more(FCL, XE, other)),
        PairedClaim(
            "CIFAR-10-C: with Patch Gaussian, FCL adds to it on the mean of 19",
            beats(PATCH_FCL, (PATCH,), whole[:1]),
        ),
        PairedClaim(
            "CIFAR-10-C: Gaussian noise helps on the mean of 19",
            together(*(beats(rival, (XE,), whole[:1]) for rival in PLAIN[1:])),
        ),
        PairedClaim("CIFAR-10-C: most on noise and blur", together(*(gains_more(r, XE, soft) for r in PLAIN[1:]))),
        PairedClaim(
            "CIFAR-10-C: Patch Gaussian helps on the mean of 19, on noise and on blur",
            beats(
                PATCH,
                (XE,),
                ("CIFAR-10, mean of 19", "CIFAR-10, noise", "CIFAR-10, blur"),
            ),
        ),
        PairedClaim(
            "CIFAR-100-C: FCL gains more over the others than on CIFAR-10-C",
            together(
                *(
                    gains_more(
                        FCL, rival, tuple((f"CIFAR-100, {r}", f"CIFAR-10, {r}") for r in ("mean of 19", "noise"))
                    )
                    for rival in PLAIN
                )
            ),
        ),
        PairedClaim(
            "CIFAR-100-C: Patch Gaussian alone is behind FCL on the mean of 19", beats(FCL, (PATCH,), whole[1:2])
        ),
        PairedClaim(
            "CIFAR-100-C: with FCL it is ahead of both alone on the mean of 19",
            beats(PATCH_FCL, (PATCH, FCL), whole[1:2]),
        ),
        PairedClaim(
            "ImageNet-C: FCL above XE and both Gaussian rivals on the mean of 19", beats(FCL, PLAIN, whole[2:])
        ),
        PairedClaim("ImageNet-C: with Patch Gaussian, FCL adds to it", beats(PATCH_FCL, (PATCH,), whole[2:])),
        PairedClaim("ImageNet-C: FCL's gain over XE is largest on digital and noise", gains_more(FCL, XE, sharp)),
    )
    note = (
        "The 19 common corruptions: mean over five severities each, the groups with their extra corruption. Frost is "
        "synthetic where they are made on the fly. The clean row is of more test images where a scale limits those of "
        f"the others. {CLAIM_NOTE}"
    )
    title = "FCL, Table 3: the 19 common corruptions"
    return study("fcl-table-3", title, cells, METHODS, claims, note, data=tuple(sets.values()))


def _appendix_c() -> Study:
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100", "ImageNet": "ImageNet"}
    damages: dict[str, Damage] = {name: name for name in COMMON_19} | {"mean of 19": "common-19"}
    ten, best = "CIFAR-10, {}", ("ImageNet, shot_noise", "ImageNet, mean of 19")
    better, worse = (tuple(map(ten.format, names)) for names in (("impulse_noise", "zoom_blur"), ("fog", "pixelate")))
    claims = (
        PairedClaim(
            "CIFAR-10-C: Patch Gaussian is better with FCL at impulse noise and zoom blur",
            beats(PATCH_FCL, (PATCH,), better),
        ),
        PairedClaim("CIFAR-10-C: and better without it at fog and pixelate", beats(PATCH, (PATCH_FCL,), worse)),
        PairedClaim(
            "ImageNet-C: FCL's gain over XE is larger on shot noise than on the mean of 19",
            gains_more(FCL, XE, (best,)),
        ),
    )
    note = (
        "Each of the 19 common corruptions, the mean over its five severities; the measurements are those of "
        f"fcl-table-3. Frost is synthetic where they are made on the fly. {CLAIM_NOTE}"
    )
    title = "FCL, Appendix C: the 19 common corruptions, one by one"
    cells = on_sets(sets, damages)
    return study("fcl-appendix-c", title, cells, METHODS, claims, note, data=tuple(sets.values()))


def _noise_claims(rows: tuple[str, ...], rivals: str = "") -> tuple[PairedClaim, ...]:
    """Args:
    rivals: what is added to the claim on FCL's rivals.
    """
    return (
        PairedClaim(f"FCL above XE and both Gaussian rivals on UN and NUN{rivals}", beats(FCL, PLAIN, rows)),
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


STUDIES = {
    one.name: one
    for one in (
        _synthetic_mnist(), _noisy_cifar(), _common_corruptions(), _appendix_c(), figures_1_to_4(), appendix_a(),
        weight(), validated(), choices(), sweeps(), variants(), on_encoders(),
    )
}  # fmt: skip
