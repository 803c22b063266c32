"""Measure an encoder or classifier under damage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from weatherproof import operators
from weatherproof.data import ImageSet, at_most, load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation.class_sets import WORD, ClassFit, class_fit, head_of_readout, some
from weatherproof.evaluation.engine.conditions import Case
from weatherproof.evaluation.suites.contamination import trained_on
from weatherproof.evaluation.suites.sets import suite_of, total_metrics
from weatherproof.protocols import Attack, Operator
from weatherproof.readouts import Readout, load_readout
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED, refusals_leave_nothing
from weatherproof.verbs.audit.attack import (
    IMAGES,
    AttackOutcome,
    checked_attacks,
    finished_attacks,
    measure_attacks,
    metrics_of,
    read_attacks,
    require_attacks_work,
)
from weatherproof.verbs.audit.limits import Limit, checked, read_limits, require_known
from weatherproof.verbs.audit.suite import (
    Damage,
    SuiteOutcome,
    classifier_of,
    common_cases,
    finished_suite,
    measure_suite,
    noisy_cases,
    part_cases,
)
from weatherproof.verbs.inputs import (
    device_of,
    has_labels,
    require_counts,
    require_embeds,
    require_one_size,
    require_works,
)
from weatherproof.verbs.measure import Measurement, is_measured, own_fit, require_pace
from weatherproof.verbs.outcome import Outcome, finished, name_of, recipe_of

_OF_SUITES = ("suite", "parameters", "glass", "frost", "jpeg_quality")  # left out of the recipe of any other audit
_OF_ATTACKS = ("attack", "curve")
_FREE = (*IGNORED, "fail_under", "fail_over")  # a check does not change the numbers


@refusals_leave_nothing()
def audit(
    model: str | Path | Encoder,
    images: str | Path | ImageSet,
    *,
    operator: str | Operator | None = None,
    suite: str | None = None,
    parameters: Literal["auto", "imagenet", "cifar"] = "auto",
    glass: Literal["copy", "swap"] = "copy",
    frost: str | Path | None = None,
    jpeg_quality: int | None = None,
    attack: Attack | str | list[str] | None = None,
    curve: bool = False,
    classes_match: bool = False,
    teacher: str | Path | Encoder | None = None,
    split: str = "test",
    size: int | None = None,
    crop_fraction: float | None = None,
    batch_size: int = 256,
    device: str = "auto",
    workers: int = 2,
    processes: int = 1,
    realizations: int = 3,
    test_images: int | None = None,
    minutes: float | None = None,
    fail_under: list[str] | None = None,
    fail_over: list[str] | None = None,
    out: str | Path = Path("runs/audit"),
    seed: int = 0,
) -> Outcome:
    """Measure how an encoder or classifier degrades: clean, under the damage given, and along that damage's levels; or
    under a whole suite of common corruptions; or under attack.

    A model with a classifier (a probe's or train's run folder, or a pretrained network with a head of its own) is
    measured by top-1 and top-5 accuracy where there is a reason to believe that its classes are those of the images:
    their names, their numbers, or your word; an encoder by what needs no labels, the cosine to the teacher's clean
    embedding and recall@k in an index of them. A suite and an attack need labels and a classifier.

    Args:
        model: a run folder, or NAME@WEIGHTS as for harden.
        images: a folder, digits, or NAME:DIR; with cifar10-c, cifar100-c, imagenet-c or imagenet100-c as NAME a
            downloaded folder of corrupted images, which are measured as they are.
        operator: the damage. Without: clean images only.
        suite: common-15 (the benchmark), common-19 (with the four for validation) or noisy (uniform and non-uniform
            noise), each condition drawn once. A killed audit goes on where it was.
        parameters: the suite's numbers: imagenet (made for 224 pixels), cifar (for 32) or auto: the nearer one, with
            lengths scaled to the images' size.
        glass: how glass blur displaces pixels: copy, as in the published data, or swap.
        frost: folder of frost photographs. Without: synthetic textures, not comparable with published frost.
        jpeg_quality: pass corrupted images through JPEG; the published ImageNet-C has 85.
        attack: such as PGD(L2(0.5)), PGD(Linf(8/255), steps=50) or LogBarrier("l2"): accuracy under it, with a
            certificate that says how far to trust the number. A killed audit goes on where it was.
        curve: of attacks: the error at every size of the paper's grid for their norm too, and its median.
        classes_match: you say that the classifier's classes are those of the images, in the same order, where their
            names do not show it.
        teacher: the encoder whose clean embeddings are the target; by default the model's own.
        split: train, test, or all.
        size: side in pixels at which the images are read; by default the encoder's own.
        crop_fraction: the part of the resized shorter side that the centred square keeps: with size 224, 0.875 is the
            published Resize(256), CenterCrop(224). By default 1.
        batch_size: images per forward pass. Memory depends on this, not on the number of images.
        device: auto, cpu or cuda.
        workers: processes that decode images when they do not fit into memory.
        processes: share the measurement out over so many processes, on their own GPUs where there are several.
        realizations: draws of the operator's damage, or of a random attack, that each number is the mean of.
        test_images: measure on at most so many images; by default all, but 1,000 under attack.
        minutes: start nothing new after that time; the numbers then rest on fewer images and
            say on how many. The same command goes on from there.
        fail_under: METRIC=VALUE (such as top1=0.6): exit status 1 if the model's value under the damage is lower. Of a
            suite: its totals, such as mca=0.6.
        fail_over: METRIC=VALUE (such as mce=0.8): exit status 1 if it is higher.
        out: the run folder.
        seed: of every random draw.
    """
    attacks = read_attacks(attack)
    attack = [repr(one) for one in attacks] or None
    recipe = recipe_of("audit", {name: value for name, value in locals().items() if name != "attacks"})
    require_counts(realizations=realizations, test_images=test_images, batch_size=batch_size)
    limits = read_limits(fail_under, fail_over)
    require_pace(minutes, processes)
    _require_one_kind(suite, operator, teacher, attack, curve)
    damage = Damage(parameters, glass, None if frost is None else str(frost), jpeg_quality)
    operator, where = None if operator is None else operators.parse(operator), device_of(device)
    encoder = load_encoder(model, size=size, seed=seed)
    target = encoder if teacher is None else load_encoder(teacher, size=size, seed=seed)
    folder = Path(model) if not isinstance(model, Encoder) and Path(model).is_dir() else None
    readout = None if folder is None else load_readout(folder)
    reading: dict[str, Any] = {
        "size": size or encoder.preprocessing.size,
        "crop_fraction": 1.0 if crop_fraction is None else crop_fraction,
    }
    chosen = load_images(images, split, **reading)
    require_one_size(chosen)
    require_works(operator, chosen, where)
    require_embeds(encoder, chosen, where)
    if target is not encoder:
        require_embeds(target, chosen, where)
    fit = _fit(model, encoder, readout, chosen, classes_match)
    parts = getattr(chosen, "parts", None)
    if parts is not None and operator is not None:
        raise InputError(f"the images of {chosen.name!r} are damaged already: leave out --operator")
    if attacks:
        if damage != Damage():
            raise InputError("parameters, glass, frost and jpeg-quality belong to --suite")
        recipe = {name: value for name, value in recipe.items() if name not in (*_OF_SUITES, "operator", "teacher")}
        return _by_attack(
            recipe, encoder, readout, fit, folder, chosen, attacks, curve=curve, name=name_of(model), limits=limits,
            out=out, limit=test_images, realizations=realizations,
            settings={
                "seed": seed, "device": where, "batch_size": batch_size, "workers": workers, "minutes": minutes,
                "processes": processes,
            },
        )  # fmt: skip
    recipe = {name: value for name, value in recipe.items() if name not in _OF_ATTACKS}
    if suite is None and parts is None:
        if damage != Damage():
            raise InputError("parameters, glass, frost and jpeg-quality belong to --suite")
        recipe = {name: value for name, value in recipe.items() if name not in _OF_SUITES}
    else:
        return _by_suite(
            recipe, encoder, readout, fit, folder, chosen, suite=suite, damage=damage, name=name_of(model),
            limits=limits, out=out, limit=test_images,
            training=_training_images(images, reading) if suite == "noisy" and parts is None else None,
            settings={
                "seed": seed, "device": where, "batch_size": batch_size, "workers": workers, "minutes": minutes,
                "processes": processes,
            },
        )  # fmt: skip
    run = RunFolder.open(out, recipe, ignore=_FREE)
    wanted = None if operator is None else repr(operator)
    if is_measured(run):
        known = finished(run, "this run is finished already: nothing was done")
        return checked(known, limits, "operator", wanted)
    measurement = Measurement(
        run, chosen, operator=operator, trained_on={}, realizations=realizations, limit=test_images, seed=seed,
        device=where, workers=workers, batch_size=batch_size, minutes=minutes, processes=processes,
    )  # fmt: skip
    name = name_of(model)
    if readout is not None and has_labels(chosen):
        measurement.readout(readout, {name: encoder}, fit=fit)
    measurement.own_head({name: encoder}, fit if readout is None else own_fit(encoder, chosen, classes_match=False))
    measurement.embeddings({name: encoder}, target)
    return checked(measurement.finish(encoder=encoder), limits, "operator", wanted)


def _fit(
    model: str | Path | Encoder, encoder: Encoder, readout: Readout | None, images: ImageSet, classes_match: bool
) -> ClassFit | None:
    """Whether the classes of the run's readout, else of the network's own head, are those of the images; None where
    there is neither. Raises `InputError` for a readout of other classes."""
    if readout is None:
        return own_fit(encoder, images, classes_match)
    fit = class_fit(head_of_readout(readout), images, classes_match=classes_match)
    if not fit.believed and has_labels(images):
        same = len(readout.classes) == len(images.classes)
        raise InputError(
            f"the classifier in {model} knows {some(readout.classes)}, the images are {some(images.classes)}: "
            f"run probe on these images first{f', or say {WORD} where both are the same in the same order' * same}"
        )
    return fit


def _by_suite(
    recipe: Mapping[str, Any], encoder: Encoder, readout: Readout | None, fit: ClassFit | None, folder: Path | None,
    images: ImageSet, *,
    suite: str | None, damage: Damage, name: str, limits: Sequence[Limit], training: ImageSet | None,
    out: str | Path, limit: int | None, settings: Mapping[str, Any],
) -> SuiteOutcome:  # fmt: skip
    classifier, about = classifier_of(encoder, readout, images, fit, name)
    parts = getattr(images, "parts", None)
    cases: list[Case] = []  # of "noisy": when there is a folder to put the training images' statistics into
    if parts is not None:
        cases = part_cases(suite, images, parts, damage)
    elif suite is not None and suite != "noisy":
        cases = common_cases(suite, images, damage, settings["device"])
    whole = suite_of(cases) if cases else "noisy"
    require_known(limits, total_metrics(whole, cases, images), f"{whole} as a whole")
    run = RunFolder.open(out, recipe, ignore=_FREE)
    done = finished_suite(run)
    if done is not None:
        return checked(done, limits, "corruption", done.suite)
    if training is not None:
        cases = noisy_cases(run, images, training, settings["workers"])
    outcome = measure_suite(
        run, classifier, cases, images, model=name, encoder=encoder, about=about, limit=limit, settings=settings,
        trained_on=None if folder is None else trained_on(folder), told=fit.notes if fit else (),
    )  # fmt: skip
    return checked(outcome, limits, "corruption", outcome.suite)


def _by_attack(
    recipe: Mapping[str, Any], encoder: Encoder, readout: Readout | None, fit: ClassFit | None, folder: Path | None,
    images: ImageSet,
    attacks: Sequence[Attack], *, curve: bool, name: str, limits: Sequence[Limit], out: str | Path, limit: int | None,
    realizations: int, settings: Mapping[str, Any],
) -> AttackOutcome:  # fmt: skip
    classifier, about = classifier_of(encoder, readout, images, fit, name, what="an attack")
    require_known(limits, metrics_of(attacks, curve), "this audit under attack")
    chosen = at_most(images, IMAGES if limit is None else limit)
    require_attacks_work(attacks, curve, name, classifier, chosen, settings["device"])
    run = RunFolder.open(out, recipe, ignore=_FREE)
    outcome = finished_attacks(run)
    if outcome is None:
        about = {**about, "trained_on": None if folder is None else trained_on(folder)}
        outcome = measure_attacks(
            run, classifier, chosen, attacks, model=name, encoder=encoder, about=about, curve=curve, whole=len(images),
            realizations=realizations, settings=settings, told=fit.notes if fit else (),
        )  # fmt: skip
    return checked_attacks(outcome, limits)


def _require_one_kind(suite: str | None, operator: object, teacher: object, attack: object, curve: bool) -> None:
    if attack is not None and any(other is not None for other in (suite, operator, teacher)):
        raise InputError("--attack stands alone: leave out --operator, --suite and --teacher")
    if attack is None and curve:
        raise InputError("--curve belongs to --attack")
    if suite is not None and suite not in operators.SUITES:
        raise unknown("suite", suite, operators.SUITES)
    if suite is not None and operator is not None:
        raise InputError("give --operator or --suite, not both: a suite brings its own damage")
    if suite is not None and teacher is not None:
        raise InputError("--teacher is what embeddings are compared with, and --suite measures accuracy: leave it out")


def _training_images(source: str | Path | ImageSet, reading: Mapping[str, Any]) -> ImageSet:
    if isinstance(source, ImageSet) and not isinstance(source, str | Path):
        raise InputError("the noisy suite needs the training images of the same source: name it, such as cifar10:DIR")
    training = load_images(source, "train", **reading)
    require_one_size(training)
    return training
