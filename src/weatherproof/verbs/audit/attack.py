"""An audit under attack: accuracy, curves, a certificate beside every number, and pictures."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from weatherproof import attacks
from weatherproof.attacks.described import each_once, facts_of
from weatherproof.data import ImageSet, at_most, batches
from weatherproof.errors import InputError
from weatherproof.evaluation import Attacks, Record, run_attacks, sanity_certificate, save_samples
from weatherproof.evaluation.attacks.perturbation import curve_records, levels_of
from weatherproof.evaluation.attacks.robust import accuracy_records
from weatherproof.evaluation.attacks.trials import guess
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.sanity.certificate import SUBSET
from weatherproof.protocols import Attack
from weatherproof.reports import save_certificates
from weatherproof.reports.attack.certificates import FILE, Certificate, read_certificates
from weatherproof.reports.words.attacks import attack_words, family_words
from weatherproof.texts import read_json
from weatherproof.training import RunFolder
from weatherproof.verbs.audit.diagrams import Kind, save_diagrams
from weatherproof.verbs.audit.finish import finish, known_outcome
from weatherproof.verbs.audit.limits import Limit, checked, require_known
from weatherproof.verbs.audit.pictures import save_attack_pictures
from weatherproof.verbs.audit.subject import Subject
from weatherproof.verbs.inputs import require_attack_works
from weatherproof.verbs.options import Feed
from weatherproof.verbs.outcome import Outcome, console

IMAGES = 1000  # that are attacked unless the user says how many: an attack takes as long as 20 to 900 training steps
STATE, SAMPLES, MEDIAN = "attacks.json", "samples.csv", "median_perturbation"


@dataclass
class AttackOutcome(Outcome):
    """The outcome of an audit under attack."""

    @property
    def certificates(self) -> list[dict[str, Any]]:
        """One for each attack: {"attack", "model", "images", "checks"}."""
        found: list[dict[str, Any]] = read_json(self.folder / FILE)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return super().to_dict() | {"certificates": self.certificates}

    def show(self) -> None:
        """Print the numbers, where the files are, the failed points of each certificate, and the notes."""
        self.show_numbers()
        out = console()
        for own in read_certificates(self.folder):
            number = self._number(own)
            line = f"{attack_words(own.attack)}: {number}{own.summary}, on {own.images} images"
            out.print(line, highlight=False, markup=False, soft_wrap=True)
            for point in own.failed:
                out.print("  [red]fails[/]", end="  ")
                out.print(f"{point.claim} ({point.detail})", highlight=False, markup=False, soft_wrap=True)
        self.show_notes()

    def _number(self, own: Certificate) -> str:
        found = [r for r in self.records if (r["metric"], r["attack"], r["model"]) == ("top1", own.attack, own.model)]
        return f"accuracy {100 * found[0]['value']:.1f} %; certificate: " if found else "certificate: "


def read_attacks(attack: Attack | str | Sequence[str | Attack] | None) -> list[Attack]:
    """The attacks that the user named, each once. Raises `InputError`."""
    if attack is None:
        return []
    several = attack if isinstance(attack, Sequence) and not isinstance(attack, str) else [attack]
    return each_once(map(attacks.parse, several))


def audit_attack(subject: Subject, found: Sequence[Attack], curve: bool) -> AttackOutcome:
    """Measure the subject under these attacks.

    Args:
        curve: at every size of their norms' grids too.

    Raises:
        InputError: no classifier, an attack that cannot be done, or a limit on what is not measured.
    """
    classifier, about = subject.classifier("an attack")
    limit = subject.options["test_images"]
    images = at_most(subject.images, IMAGES if limit is None else limit)
    require_attacks_work(found, curve, subject.name, classifier, images, subject.feed["device"])
    require_known(subject.limits, list(metrics_of(found, curve)), "this audit under attack")
    run = subject.open(attack=[repr(one) for one in found], curve=curve)
    outcome = known_outcome(run, STATE, AttackOutcome, subject.encoder)
    if outcome is None:
        about |= {"trained_on": subject.trained_on}
        outcome = measure_attacks(run, classifier, images, found, curve, subject, about)
    return checked_attacks(outcome, subject.limits, found, curve)


def require_attacks_work(
    found: Sequence[Attack], curve: bool, name: str, classifier: nn.Module, images: ImageSet, device: torch.device
) -> None:
    """Try each attack, with a single step, on two of the images. Raises `InputError` where it cannot be done, or has no
    curve and one is wanted, and for a model that is of other classes or that gives no numbers."""
    classifier.to(device)
    batch = next(batches(images, 2, device=device))
    guess(name, classifier, batch.images, int(images.labels.max()))
    for attack in found:
        if curve:
            levels_of(attack)
        require_attack_works(attack, classifier, batch)


def metrics_of(found: Sequence[Attack], curve: bool) -> dict[str, list[str]]:
    """What limits can be about: the attacks under which each metric is measured, as records call them."""
    smallest = [attack for attack in found if facts_of(attack).smallest]
    sized = [attack for attack in found if attack not in smallest]
    sweeps = [facts_of(attack).sweep(levels_of(attack))[-1] for attack in (found if curve else smallest)]
    measured = {"top1": sized, "rms_calibration_error": sized, MEDIAN: sweeps, "attack_failures": smallest}
    return {metric: list(dict.fromkeys(map(repr, under))) for metric, under in measured.items() if under}


def checked_attacks(
    outcome: AttackOutcome, limits: Sequence[Limit], found: Sequence[Attack], curve: bool
) -> AttackOutcome:
    """The outcome with its checks, under each attack that a limit's metric is measured under; status 1 if one fails.

    Raises:
        InputError: time was up before one of them was.
    """
    for limit in limits:
        reached = {r["attack"] for r in outcome.records if r["metric"] == limit.metric}
        words = family_words if limit.metric == MEDIAN else attack_words  # which is over all sizes
        for text in metrics_of(found, curve)[limit.metric]:
            about = f" under {words(text)}"
            if text not in reached:
                raise InputError(f"{limit.asked}: time was up before it was measured{about}")
            outcome = checked(outcome, [limit], "attack", text, about)
    return outcome


def measure_attacks(
    run: RunFolder, classifier: nn.Module, images: ImageSet, found: Sequence[Attack], curve: bool, subject: Subject,
    about: Mapping[str, Any],
) -> AttackOutcome:  # fmt: skip
    """Attack the images, or what of them is left, and write the files of the run; the results last but one.

    Args:
        images: some of the subject's.
        curve: measure each attack at every size of its norm's grid too.
    """
    model, where, began = subject.name, subject.feed, time.monotonic()
    sweeps = [one for a in found for one in facts_of(a).sweep(levels_of(a))] if curve else []
    every = each_once([*found, *sweeps])
    result = run_attacks(
        {model: classifier}, images, every, subject.settings(run.path), realizations=subject.options["realizations"]
    )
    _save_certificates(run, classifier, images, found, model, where)
    records = _records(result, model, found, curve, about)
    save_attack_pictures(run.path, model, classifier, images, found, where["seed"], where["device"])
    save_samples(result, run.path / SAMPLES)
    save_diagrams(run.path, model, images.name, _answered(result, model, found))
    notes = [*subject.notes, *_notes(result, len(subject.images))]
    state = {"complete": result.complete, "notes": notes, "seconds": round(time.monotonic() - began, 1)}
    return finish(run, STATE, state, records, AttackOutcome, subject.encoder)


def _save_certificates(
    run: RunFolder, classifier: nn.Module, images: ImageSet, found: Sequence[Attack], model: str, where: Feed
) -> None:
    """One for each attack; those that an earlier call has made are taken up."""
    file = run.path / FILE
    done = {entry["attack"]: entry for entry in (read_json(file) if file.is_file() else [])}
    for attack in found:
        if repr(attack) in done:
            continue
        checks = sanity_certificate(classifier, images, attack, name=model, seed=where["seed"], device=where["device"])
        count = min(SUBSET, len(images))
        done[repr(attack)] = {"attack": repr(attack), "model": model, "images": count, "checks": checks}
        save_certificates(run.path, list(done.values()))


def _records(
    result: Attacks, model: str, found: Sequence[Attack], curve: bool, about: Mapping[str, Any]
) -> list[Record]:
    fixed = [None, *(attack for attack in found if not facts_of(attack).smallest)]
    records = accuracy_records(result, [model], fixed, metrics=("top1", "rms_calibration_error"), **about)
    for attack in found:
        if curve or facts_of(attack).smallest:
            records += curve_records(result, [model], attack, levels_of(attack), **about)
    unique = {(r.metric, r.attack, r.severity, r.model): r for r in records}  # one sweep serves attacks of all eps
    return list(unique.values())


def _answered(result: Attacks, model: str, found: Sequence[Attack]) -> Iterator[tuple[Kind, str, Answers]]:
    """Of clean images and of those under each attack of a size, in its first draw, for the reliability diagrams."""
    for attack in (None, *(a for a in found if not facts_of(a).smallest)):
        for trial in result.runs(model, attack)[:1]:
            kind: Kind = "clean" if attack is None else "attack"
            yield kind, "" if attack is None else repr(attack), result.answers[trial.label]


def _notes(result: Attacks, whole: int) -> list[str]:
    notes = []
    if not result.complete:
        lost = f" and {len(result.missing)} of {len(result.trials)} attacks were not reached" if result.missing else ""
        notes.append(
            f"time was up: the numbers rest on {result.fewest:,} or more of {len(result.images):,} images{lost}; the "
            "same command goes on from here"
        )
    if len(result.images) < whole:
        notes.append(
            f"attacked: {len(result.images):,} of the {whole:,} images, evenly spaced; --test-images N takes others"
        )
    height, width = result.images.image_size or (0, 0)
    notes.append(f"sizes are norms over all values of an image of {height} x {width} pixels from 0 to 1")
    if not all(trial.fixed for trial in result.trials):
        notes.append(f"attacks draw at random, by each image's own key; seed {result.seed}")
    return notes
