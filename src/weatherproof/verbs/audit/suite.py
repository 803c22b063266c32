"""An audit by a whole suite of corruptions, made on the fly or lying in a folder."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weatherproof import operators, random
from weatherproof.benchmark import COMMON
from weatherproof.data import ImageSet
from weatherproof.data.images import as_floats
from weatherproof.data.statistics import save_pixel_std
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, SuiteResult, cases_of_parts, cases_on_the_fly, evaluate_suite
from weatherproof.evaluation.engine.answers import Answers, pooled
from weatherproof.evaluation.engine.conditions import Case, limited
from weatherproof.evaluation.suites.sets import sets_of, suite_of, total_metrics
from weatherproof.operators.severities import SIDES
from weatherproof.operators.textures import SYNTHETIC_NOTE
from weatherproof.progress import phase
from weatherproof.reports import save_strip
from weatherproof.training import RunFolder
from weatherproof.training.memory import keep_freed_memory
from weatherproof.verbs.audit.diagrams import Kind, save_diagrams
from weatherproof.verbs.audit.finish import finish, known_outcome
from weatherproof.verbs.audit.limits import checked, require_known
from weatherproof.verbs.audit.subject import Parts, Subject
from weatherproof.verbs.inputs import require_works
from weatherproof.verbs.options import CorruptionOptions, Feed
from weatherproof.verbs.outcome import Outcome
from weatherproof.views.contamination import corruptions_in

STATE, PIXEL_STD = "suite.json", "pixel-std.npy"
_NAMED = 6  # missing conditions that a note names one by one


@dataclass(frozen=True)
class Damage:
    """How the corruptions of a suite are made: the settings of `operators.suite`."""

    parameters: str = "auto"
    glass: str = "copy"
    frost: str | None = None
    jpeg_quality: int | None = None

    @classmethod
    def taken_from(cls, options: CorruptionOptions) -> "Damage":
        """What the options say, which are then those of any audit."""
        frost = options.pop("frost")
        own = options.pop("parameters"), options.pop("glass"), None if frost is None else str(frost)
        return cls(*own, options.pop("jpeg_quality"))


def audit_suite(subject: Subject, suite: str | None, damage: Damage) -> Outcome:
    """Measure the subject under a suite, or as its images are damaged already.

    Raises:
        InputError: no classifier, a suite that the images do not take, a limit on what is not measured, or, of "noisy",
            images without training images.
    """
    images, parts = subject.images, subject.parts
    training = _training_images(subject) if suite == "noisy" and parts is None else None
    classifier, about = subject.classifier("a suite")
    cases: list[Case] = []  # of "noisy": when there is a folder to put the training images' statistics into
    if parts is not None:
        cases = part_cases(suite, images, parts, damage)
    elif suite is not None and suite != "noisy":
        cases = common_cases(suite, images, damage, subject.feed["device"])
    whole = suite_of(cases) if cases else "noisy"
    require_known(subject.limits, total_metrics(whole, cases, images), f"{whole} as a whole")
    run = subject.open(suite=suite, **vars(damage))
    outcome = known_outcome(run, STATE, Outcome, subject.encoder)
    if outcome is None:
        if training is not None:
            cases = noisy_cases(run, images, training, subject.options["workers"])
        outcome = measure_suite(run, classifier, cases, subject, about)
    return checked(outcome, subject.limits, "corruption", whole)


def _training_images(subject: Subject) -> ImageSet:
    if not isinstance(subject.source, str | Path):
        raise InputError("the noisy suite needs the training images of the same source: name it, such as cifar10:DIR")
    return subject.others("train")


def common_cases(suite: str, images: ImageSet, damage: Damage, device: torch.device) -> list[Case]:
    """The cases of a suite of common corruptions. Each is tried on two images at its highest severity, so that what
    cannot be done shows now.

    Raises:
        InputError: an unknown suite, a setting out of range, or images that a corruption cannot be applied to.
    """
    conditions = [_with_own_settings(condition) for condition in operators.suite(suite, **vars(damage))]
    for condition in conditions:
        if condition.severity == max(c.severity or 0 for c in conditions):
            require_works(condition.operator, images, device)
    return cases_on_the_fly(images, conditions)


def _with_own_settings(condition: operators.Condition) -> operators.Condition:
    """The condition without the settings of other corruptions, which would make like protocols look unlike."""
    operator = condition.operator
    if isinstance(operator, operators.Corruption):
        if operator.name != "frost":
            operator = replace(operator, frost=None)
        if operator.name != "glass_blur":
            operator = replace(operator, glass="copy")
    return replace(condition, operator=operator)


def part_cases(suite: str | None, images: ImageSet, parts: Parts, damage: Damage) -> list[Case]:
    """The cases of images that are damaged already: those of the suite, or all.

    Raises:
        InputError: a suite or a setting that does not apply, or parts that are missing.
    """
    if damage != Damage():
        raise InputError(f"the images of {images.name!r} are damaged already: no setting of the damage applies")
    if suite not in (None, *COMMON):
        raise InputError(f"{images.name!r} holds common corruptions: --suite takes common-15 or common-19, got {suite}")
    return cases_of_parts(parts, None if suite is None else COMMON[suite])


def noisy_cases(run: RunFolder, images: ImageSet, training: ImageSet, workers: int) -> list[Case]:
    """Uniform and non-uniform noise, whose places depend on the training images' pixels; that file is in the run folder
    and its numbers, not its place, are part of the protocol."""
    path = run.path / PIXEL_STD
    run.provisional.add(PIXEL_STD)
    if not path.is_file():
        save_pixel_std(training, path, workers=workers)
    noise = operators.NonUniformNoise(std=str(path))
    text = repr(noise).replace(repr(str(path)), repr(PIXEL_STD))
    cases = cases_on_the_fly(images, operators.suite("noisy", std=str(path)))
    return [replace(c, text=text, parameters=_digest(path)) if c.operator == noise else c for c in cases]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def measure_suite(
    run: RunFolder, classifier: nn.Module, cases: Sequence[Case], subject: Subject, about: Mapping[str, Any]
) -> Outcome:
    """Answer the cases, or what of them is left, and write the files of the run; the results last but one."""
    keep_freed_memory()  # every condition needs the same blocks again
    cases, images = limited(cases, subject.images, subject.options["test_images"])
    suite = suite_of(cases)
    result = evaluate_suite(
        classifier, images, cases, subject.settings(run.path), suite=suite, model=subject.name,
        trained_on=subject.trained_on, **about,
    )  # fmt: skip
    save_pictures(run, cases, images, _middle(result), subject.feed)
    save_diagrams(run.path, subject.name, images.name, _answered(result, cases, suite))
    notes = [*subject.notes, *_notes(result, cases, images)]
    state = {
        "suite": suite, "images": result.images, "fewest": result.fewest, "missing": list(result.missing),
        "complete": result.complete, "notes": notes,
    }  # fmt: skip
    return finish(run, STATE, state, result.records, Outcome, subject.encoder)


@phase("pictures for the page")
def save_pictures(run: RunFolder, cases: Sequence[Case], images: ImageSet, place: int, feed: Feed) -> None:
    """One picture, by its place in each case, under every corruption and severity, for the page."""
    parts: dict[tuple[str, int], torch.Tensor] = {}
    clean = None
    for case in cases:
        row = case.rows(torch.tensor([place]))
        if case.operator is None:
            picture = images.read(row)
        else:
            keys = random.fold(random.keys(feed["seed"], images.index[row]), EVAL_STREAM, 0)
            pixels = as_floats(images.read(row).to(feed["device"]))
            picture = case.operator(pixels, keys).mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
        if case.corruption is None:
            clean = picture[0]
        elif case.severity is not None:
            parts[case.corruption, case.severity] = picture[0]
    if clean is not None and parts:
        save_strip(run.path, clean, parts)


def _middle(result: SuiteResult) -> int:
    """The place of the picture in the middle of those that most conditions have an answer for: it can be read."""
    counts = torch.cat([own.place for own in result.answers.values()]).bincount()
    known = (counts == counts.max()).nonzero().flatten()
    return int(known[len(known) // 2])


def _answered(result: SuiteResult, cases: Sequence[Case], suite: str) -> Iterator[tuple[Kind, str, Answers]]:
    """Of clean images and of each set of corruptions that was reached whole, for the reliability diagrams."""
    sets: dict[str, Sequence[str | None]] = {"": [None], **sets_of(suite, cases)}
    for name, members in sets.items():
        labels = [case.label for case in cases if case.corruption in members]
        if labels and all(label in result.answers for label in labels):
            yield "corruption" if name else "clean", name, pooled([result.answers[label] for label in labels])


def _notes(result: SuiteResult, cases: Sequence[Case], images: ImageSet) -> list[str]:
    notes = []
    if not result.complete:
        parts = []
        if result.fewest < result.images:
            parts.append(f"the numbers rest on {result.fewest:,} or more of {result.images:,} images")
        if result.missing:
            some = ", ".join(result.missing[:_NAMED]) + ", ..." * (len(result.missing) > _NAMED)
            parts.append(f"{len(result.missing)} of {len(cases)} conditions were not reached ({some})")
        notes.append(f"time was up: {'; '.join(parts)}; the same command goes on from here")
    side = min(images.image_size) if images.image_size else 0
    scaled = {case.parameters for case in cases if hasattr(case.operator, "describe_parameters")}
    if scaled and side not in SIDES.values():
        notes.append(f"{', '.join(sorted(scaled))}: the benchmark has numbers for 224 and 32 pixels only")
    if any(case.corruption == "frost" and getattr(case.operator, "frost", "") is None for case in cases):
        notes.append(f"{SYNTHETIC_NOTE}; give --frost a folder of photographs")
    trained_on = next((record.trained_on for record in result.records), None)
    names = dict.fromkeys(case.corruption for case in cases if case.corruption is not None)
    known = [name for name in names if name in corruptions_in(trained_on)]
    share = {record.corruption: record.value for record in result.records if record.metric == "mca"}
    if known and {"seen", "unseen"} <= share.keys():
        notes.append(
            f"trained on {', '.join(known)}, which this suite contains: mean accuracy {share['seen']:.1%} there, "
            f"{share['unseen']:.1%} under the corruptions that it has not seen"
        )
    elif known:
        notes.append(f"trained on {', '.join(known)}, which this suite contains")
    elif trained_on is not None:
        notes.append(f"trained on {trained_on}, which is none of this suite's corruptions: all of them are unseen")
    return notes
