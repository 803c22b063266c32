"""The tables and figures of "Balancing Robustness and Sensitivity using Feature Contrastive Learning", and two
questions that it does not ask: what lambda buys and costs, and what the method does on encoders that have been hardened
or pretrained.

The paper's result tables are lost from the text that there is: its claims are the checks, and no number is published.
Rows are test sets, columns the trainings with labels of `methods.LABELLED`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from weatherproof.operators import COMMON_19
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.paired import PairedClaim, beats, gains_more, together
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Check, Claim, Key, Measurable, Scale, Study
from weatherproof.studies.papers.fcl.maps import Output
from weatherproof.studies.papers.fcl.models import RARE, Damage, Models, Training
from weatherproof.studies.papers.fcl.pictures import save_curves, save_figures
from weatherproof.studies.papers.fcl.scales import SCALES, FclScale

Table = Mapping[Key, Callable[[Models], Measurable | None]]

XE, XE_GAUSSIAN, CL_GAUSSIAN = "XE", "XE+Gaussian", "CL+Gaussian"
FCL, PATCH, PATCH_FCL = "FCL", "Patch Gaussian", "Patch Gaussian+FCL"
METHODS = {
    XE: Training("supervised"), XE_GAUSSIAN: Training("xe-gaussian"), CL_GAUSSIAN: Training("cl-gaussian"),
    FCL: Training("fcl"), PATCH: Training("patch-gaussian"), PATCH_FCL: Training("patch-gaussian-fcl"),
}  # fmt: skip
PLAIN = (XE, XE_GAUSSIAN, CL_GAUSSIAN)  # what FCL is compared with where no image is patched
CLEAN_MARGIN = 0.005  # half a point: less than that is "not hurt"
COMPARABLE = 0.02  # two points: "comparable performance"
RARE_MARGIN = 0.01  # a point: fewer images, so the same accuracy is less sure
IDENTITY_TOLERANCE = 1e-4  # relative: single precision, and softmax probabilities near 1

RARE_ROW = "BAL, classes 10-14"
SYNTHETIC_ROWS: dict[str, tuple[Damage, bool]] = {
    "BAL": ("clean", False), "BAL+UN": ("uniform_noise", False), "BAL+NUN": ("nonuniform_noise", False),
    RARE_ROW: ("clean", True),
}  # fmt: skip
NOISES: dict[str, Damage] = {"UN": "uniform_noise", "NUN": "nonuniform_noise"}
CONTEXTS = {"0-4": tuple(range(5)), "10-14": RARE, "5-9": tuple(range(5, 10))}
SPLITS: dict[str, Literal["train", "validation", "test"]] = {
    "training": "train", "validation": "validation", "test": "test",
}  # fmt: skip
STARTS = ("hardened", "pretrained")
PAIR = {column: METHODS[column] for column in (XE, FCL)}
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
    cells = _synthetic(METHODS)
    noisy = ("BAL+UN", "BAL+NUN")
    claims = (
        *_noise_claims(noisy),
        *_clean_claims(("BAL",)),
        PairedClaim("FCL keeps the rare classes 10-14, within a point", beats(FCL, (XE,), (RARE_ROW,), RARE_MARGIN)),
    )
    title = "FCL, Table 1: synthetic MNIST"
    return _study("fcl-table-1", title, cells, METHODS, claims, f"{NOISE_NOTE} {CLAIM_NOTE}")


def _noisy_cifar() -> Study:
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100"}
    damages: dict[str, Damage] = {"clean": "clean", **NOISES}
    cells = _on_sets(sets, damages)
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
        PairedClaim(
            "Gaussian noise helps under UN and NUN, in both rivals, on CIFAR-10",
            together(*(beats(rival, (XE,), noisy[:2]) for rival in PLAIN[1:])),
        ),
        PairedClaim(
            "with Patch Gaussian less is lost from clean to UN and NUN than without, on CIFAR-10",
            together(
                gains_more(PATCH, XE, from_clean),
                gains_more(PATCH_FCL, FCL, from_clean),
            ),
        ),
        PairedClaim("on CIFAR-100 Patch Gaussian alone is behind FCL on UN and NUN", beats(FCL, (PATCH,), noisy[2:])),
    )
    title, note = "FCL, Table 2: noisy CIFAR", f"{NOISE_NOTE} {CLAIM_NOTE}"
    return _study("fcl-table-2", title, cells, METHODS, claims, note, data=tuple(sets.values()))


def _common_corruptions() -> Study:
    groups: dict[str, Damage] = {
        "clean": "clean", "mean of 19": "common-19", "noise": "noise", "blur": "blur", "weather": "weather",
        "digital": "digital",
    }  # fmt: skip
    sets = {"CIFAR-10": "main", "CIFAR-100": "CIFAR-100", "ImageNet": "ImageNet"}
    cells = _on_sets(sets, groups)
    whole, noise = (tuple(f"{name}, {row}" for name in sets) for row in ("mean of 19", "noise"))
    soft = [(f"CIFAR-10, {a}", f"CIFAR-10, {b}") for a in ("noise", "blur") for b in ("weather", "digital")]
    sharp = [(f"ImageNet, {a}", f"ImageNet, {b}") for a in ("noise", "digital") for b in ("weather", "blur")]
    other = [(f"{name}, noise", f"{name}, {group}") for name in sets for group in ("blur", "weather", "digital")]
    claims = (
        PairedClaim("FCL above XE and both Gaussian rivals on the mean of 19", beats(FCL, PLAIN, whole)),
        PairedClaim("FCL above XE and both Gaussian rivals on noise", beats(FCL, PLAIN, noise)),
        PairedClaim("FCL's gain over XE is largest on noise", gains_more(FCL, XE, other)),
        PairedClaim(
            "with Patch Gaussian, FCL is at least level on the mean of 19, within half a point",
            beats(PATCH_FCL, (PATCH,), whole, CLEAN_MARGIN),
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
        PairedClaim("ImageNet-C: with Patch Gaussian, FCL adds to it", beats(PATCH_FCL, (PATCH,), whole[2:])),
        PairedClaim("ImageNet-C: FCL's gain over XE is largest on digital and noise", gains_more(FCL, XE, sharp)),
    )
    note = (
        "The 19 common corruptions: mean over five severities each, the groups with their extra corruption. Frost is "
        "synthetic where they are made on the fly. The clean row is of more test images where a scale limits those of "
        f"the others. {CLAIM_NOTE}"
    )
    title = "FCL, Table 3: the 19 common corruptions"
    return _study("fcl-table-3", title, cells, METHODS, claims, note, data=tuple(sets.values()))


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
    cells = _on_sets(sets, damages)
    return _study("fcl-appendix-c", title, cells, METHODS, claims, note, data=tuple(sets.values()))


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


def _figures() -> Study:
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
    return _study("fcl-figures", title, {**counts, **corners}, PAIR, claims, note, pictures=save_figures)


def _appendix_a() -> Study:
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
    return _study("fcl-appendix-a", title, {**followed, **errors}, PAIR, claims, note, pictures=curves)


def _weight() -> Study:
    tenth, noisy = "FCL, a tenth of lambda", ("BAL+UN", "BAL+NUN")
    columns = {column: METHODS[column] for column in (XE, XE_GAUSSIAN)}
    columns |= {tenth: Training("fcl", weight_times=0.1), FCL: METHODS[FCL]}
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
    title = "FCL: what lambda buys and what it costs"
    return _study("fcl-weight", title, _synthetic(columns), columns, claims, note, ours=True)


def _choices() -> Study:
    """Two choices that the paper says it made: contrast by softmax, and the warm-up."""
    margins = {f"FCL, margin {gamma:g}": Training("fcl", changes=(("margin", gamma),)) for gamma in (0.5, 1.0)}
    softmax, early, rows = "FCL, softmax", "FCL, from the first step", tuple(SYNTHETIC_ROWS)[:3]
    columns = {XE: METHODS[XE], softmax: METHODS[FCL], **margins}
    columns[early] = Training("fcl", changes=(("start_epoch", 0.0), ("ramp_epochs", 0.0)))
    claims = (
        *(
            PairedClaim(
                f"{column} is comparable to softmax, within two points either way, on clean images, UN and NUN",
                together(beats(column, (softmax,), rows, COMPARABLE), beats(softmax, (column,), rows, COMPARABLE)),
            )
            for column in margins
        ),
        PairedClaim(
            "FCL with its warm-up is above FCL from the first step, on clean images, UN and NUN",
            beats(softmax, (early,), rows),
        ),
    )
    note = (
        "The contrastive loss by a margin (eq. 4) in place of the one by softmax (eq. 5). The paper states neither its "
        "gamma nor a lambda for it: two gamma here, and the lambda of softmax; gamma 1 keeps negatives a right angle "
        "away. From the first step: without the epochs of cross-entropy alone, and without the ramp. "
        f"{NOISE_NOTE} {CLAIM_NOTE}"
    )
    title = "FCL: contrast by a margin against contrast by softmax (definition 4), and its warm-up"
    return _study("fcl-choices", title, _synthetic(columns), columns, claims, note)


def _sweeps() -> Study:
    """What Appendix B swept of FCL on CIFAR, one setting at a time, the others as it chose them for CIFAR-10."""
    swept: dict[str, tuple[float, ...]] = {
        "k": (512, 1024, 2048), "sigma": (0.1, 0.3), "temperature": (1.0, 0.5, 0.1),
    }  # fmt: skip
    chosen = "FCL: k 256, sigma 0.5, tau 2"
    columns = {XE: METHODS[XE], chosen: METHODS[FCL]}
    for name, values in swept.items():
        word = "tau" if name == "temperature" else name
        columns |= {f"{word} {value:g}": Training("fcl", changes=((name, value),)) for value in values}
    columns |= {f"lambda x {times:g}": Training("fcl", weight_times=times) for times in (2.0, 4.0)}
    rows: dict[str, Damage] = {"clean": "clean", **NOISES}
    cells: Table = {
        (f"CIFAR-10, {row}", column): partial(Models.accuracy, training=own, damage=damage)
        for row, damage in rows.items()
        for column, own in columns.items()
    }
    noisy, others = tuple(f"CIFAR-10, {noise}" for noise in NOISES), tuple(columns)[2:]
    claims = tuple(
        PairedClaim(
            f"the published settings are not behind {column} under UN and NUN, within half a point",
            beats(chosen, (column,), noisy, CLEAN_MARGIN),
        )
        for column in others
    )
    note = (
        "Appendix B chose k, sigma, tau and lambda on validation images, among these; its choice for CIFAR-10 is the "
        "second column, each other one differs from it in what its name says. k counts elements of an image, of which "
        f"CIFAR's has 3,072, so that with 2,048 the most and the least useful overlap. {NOISE_NOTE} {CLAIM_NOTE}"
    )
    title = "FCL, Appendix B: k, sigma, tau and lambda on noisy CIFAR-10"
    return _study("fcl-sweeps", title, cells, columns, claims, note)


def _variants() -> Study:
    """Named by the authors as possible (sections 2.1 and 2.3), and not tried."""
    layers = {
        "FCL at the output": "output", "FCL at the last stage but one": "-1", "FCL at the first stage": "1",
    }  # fmt: skip
    losses = {"squared error": "squared-error", "hinge": "hinge"}
    columns = {XE: METHODS[XE], FCL: METHODS[FCL]}
    columns |= {name: Training("fcl", changes=(("layer", layer),)) for name, layer in layers.items()}
    for name, loss in losses.items():
        columns[name] = Training("fcl", weight_times=0.0, changes=(("loss", loss),))
        columns[f"{name} + FCL"] = Training("fcl", changes=(("loss", loss),))
    noisy = ("BAL+UN", "BAL+NUN")
    claims = (
        *(PairedClaim(f"{name} is above XE on UN and NUN", beats(name, (XE,), noisy)) for name in (FCL, *layers)),
        *(
            PairedClaim(f"{name} is not above FCL at the embedding on UN and NUN", beats(FCL, (name,), noisy))
            for name in layers
        ),
        *(PairedClaim(f"FCL adds to {name} on UN and NUN", beats(f"{name} + FCL", (name,), noisy)) for name in losses),
    )
    note = (
        "Not in the paper, which names both as possible; the claims are ours. The contrast compares what the column "
        "names instead of the embedding; or the loss, in training and in the utility, is another one than "
        "cross-entropy (squared error: of the softmax to the one-hot label; hinge: of the logits, which has no utility "
        "where the answer is right by 1). All have the settings of FCL, none was tuned for them. "
        f"{NOISE_NOTE} {CLAIM_NOTE}"
    )
    title = "FCL at other layers and for other losses"
    return _study("fcl-variants", title, _synthetic(columns), columns, claims, note, ours=True)


def _on_encoders() -> Study:
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
    return _study("fcl-on-encoders", title, cells, trainings, tuple(claims), note, pictures=curves, ours=True)


def _synthetic(columns: Mapping[str, Training]) -> Table:
    return {
        (row, column): partial(Models.accuracy, training=own, damage=damage, rare=rare)
        for row, (damage, rare) in SYNTHETIC_ROWS.items()
        for column, own in columns.items()
    }


def _on_sets(sets: Mapping[str, str], damages: Mapping[str, Damage]) -> Table:
    return {
        (f"{name}, {row}", column): partial(Models.accuracy, training=own, damage=damage, data=data)
        for name, data in sets.items()
        for row, damage in damages.items()
        for column, own in METHODS.items()
    }


def _study(
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
        return Scale(settings.name, settings.note, grid, facts, after=after)

    return sized(name, title, SCALES[name], at, claims, note, ours=ours)


# claims


def _imbalanced(values: Values) -> Verdict:
    few, many = (values.get(("training images of a class", context)) for context in ("10-14", "5-9"))
    if few is None or many is None:
        return 0, 0, ""
    return int(0.005 <= few / many <= 0.02), 1, f"{few:,.0f} against {many:,.0f}"


def _balanced(values: Values) -> Verdict:
    held, of, said = 0, 0, []
    for row in ("validation images of a class", "test images of a class"):
        counts = [values[row, context] for context in CONTEXTS if (row, context) in values]
        if counts:
            held, of = held + (min(counts) >= 0.8 * max(counts)), of + 1
            said.append(" / ".join(f"{number:,.0f}" for number in counts))
    return held, of, "; ".join(said)


@awaiting_values
def _small(values: Values, row: str) -> Verdict:
    found = [value for (where, _), value in values.items() if where == row]
    return sum(value < IDENTITY_TOLERANCE for value in found), len(found), ", ".join(f"{v:.1e}" for v in found)


STUDIES = {
    study.name: study
    for study in (
        _synthetic_mnist(), _noisy_cifar(), _common_corruptions(), _appendix_c(), _figures(), _appendix_a(), _weight(),
        _choices(), _sweeps(), _variants(), _on_encoders(),
    )
}  # fmt: skip
