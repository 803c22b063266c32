"""Measure an encoder or classifier under damage."""

from pathlib import Path
from typing import Unpack

from torch import nn

from weatherproof import operators
from weatherproof.data import ImageSet
from weatherproof.data.roll import By
from weatherproof.errors import InputError, unknown
from weatherproof.protocols import Attack, Operator
from weatherproof.verbs.audit.attack import audit_attack, read_attacks
from weatherproof.verbs.audit.damage import audit_damage
from weatherproof.verbs.audit.drift import audit_drift
from weatherproof.verbs.audit.limits import read_limits
from weatherproof.verbs.audit.subject import AuditOptions, Subject
from weatherproof.verbs.audit.suite import Damage, audit_suite
from weatherproof.verbs.inputs import require_counts
from weatherproof.verbs.options import CorruptionOptions, require_counted, verb
from weatherproof.verbs.outcome import Outcome


class _Options(CorruptionOptions, AuditOptions, total=False):
    """Those of a suite too."""


@verb(out=Path("runs/audit"), batch_size=256, test_images=None, classes_match=False)
def audit(
    model: str | Path | nn.Module,
    images: str | Path | ImageSet,
    *,
    operator: str | Operator | None = None,
    suite: str | None = None,
    attack: Attack | str | list[str] | None = None,
    curve: bool = False,
    gauge: bool = False,
    order: By = "name",
    window: int | None = None,
    teacher: str | Path | nn.Module | None = None,
    **options: Unpack[_Options],
) -> Outcome:
    """Measure how an encoder or classifier degrades: clean, under the damage given, and along that damage's levels; or
    under a whole suite of common corruptions; or under attack; or, by the gauge of a hardened encoder, how far new
    images have drifted from what its training saw.

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
        attack: such as PGD(L2(0.5)), PGD(Linf(8/255), steps=50) or LogBarrier("l2"): accuracy under it, with a
            certificate that says how far to trust the number. A killed audit goes on where it was.
        curve: of attacks: the error at every size of their norm's grid too, and its median.
        gauge: look at every image of a folder with the gauge of a hardened encoder's run folder, without labels: the
            shares beyond what training saw and damaged, and the level, in windows.
        order: of the images for --gauge: name, or time (the camera's clock, EXIF, where a file has it, else when the
            file was last changed).
        window: images in a window of --gauge; by default so many that there are up to 50.
        teacher: the encoder whose clean embeddings are the target; by default the model's own.
        batch_size: images per forward pass. Memory depends on this, not on the number of images.
        realizations: draws of the operator's damage, or of a random attack, that each number is the mean of.
        test_images: measure on at most so many images; by default all, but 1,000 under attack.
    """
    attacks = read_attacks(attack)
    require_counted(options)
    limits = read_limits(options["fail_under"], options["fail_over"])
    damage = Damage.taken_from(options)
    _require_one_kind(suite, operator, teacher, attack, curve)
    if gauge:
        _require_gauge_alone(suite, operator, teacher, attack, damage)
        if options["classes"] is not None or options["prompts"] is not None:
            raise InputError("--gauge looks at pixels and knows no classes: leave out --classes and --prompts")
        require_counts(window=window)
        return audit_drift(model, images, options, limits, order, window)
    if order != "name" or window is not None:
        raise InputError("--order and --window belong to --gauge")
    options.setdefault("split", "test")
    wanted = None if operator is None else operators.parse(operator)
    subject = Subject.load(model, images, options, limits)
    by_suite = not attacks and (suite is not None or subject.parts is not None)
    if damage != Damage() and not by_suite:
        raise InputError("parameters, glass, frost and jpeg-quality belong to --suite")
    if attacks:
        return audit_attack(subject, attacks, curve)
    if by_suite:
        if operator is not None:
            raise InputError(f"the images of {subject.images.name!r} are damaged already: leave out --operator")
        return audit_suite(subject, suite, damage)
    return audit_damage(subject, wanted, teacher, given={"operator": operator, "teacher": teacher})


def _require_gauge_alone(suite: object, operator: object, teacher: object, attack: object, damage: Damage) -> None:
    if any(other is not None for other in (suite, operator, teacher, attack)):
        raise InputError(
            "--gauge stands alone, and looks at the images as they are: leave out --operator, --suite, --attack and "
            "--teacher"
        )
    if damage != Damage():
        raise InputError("parameters, glass, frost and jpeg-quality belong to --suite")


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
