"""The demo's work, in independent pieces: for each seed, ours (teacher, hardening, gate, probes) and the supervised
rival.

The settings of both sides were chosen among twenty trainings each, on masks, by accuracy on images cut from the digits'
training split, with seeds that the demo does not use: docs/results/settings.md. What that search left as it was
(epochs, batch size, how strong the warps are) dates from trials on test images. Both sides see the same labels, the
same damage and the same number of epochs; a tenth of the images says where the gate of ours opens, and its hardening
is without them. The rival too may warp its images, as the teacher's views do.

All readouts of ours stand on original and hardened behind their gate: that is the encoder that a run folder holds, and
that `probe` and `audit` take.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weatherproof import operators, random, views
from weatherproof.data import ImageSet, MemoryImages, held_out, label_fraction, load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.evaluation import Record, evaluate
from weatherproof.objectives import StudentTeacher
from weatherproof.protocols import Operator
from weatherproof.readouts import Classifier, Logistic, Readout, UnitLength, fit_probe, save_model, save_readout
from weatherproof.training import Plan, RunFolder, harden_encoder, pretrain_encoder, train_classifier
from weatherproof.verbs.gating import behind_a_gate
from weatherproof.verbs.hardened import save_hardened
from weatherproof.verbs.options import Feed

WARP = views.Warp(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=0.2, elastic=0.04)
MILD_WARP = views.Warp(degrees=8, translate=0.05, scale=(0.9, 1.1), shear=0.1, elastic=0.02)
LOOK = views.Chain(WARP, operators.GaussianNoise((0.0, 0.3)))  # what the teacher learns from
REALIZATIONS = 5


@dataclass(frozen=True)
class Labelled:
    """What few labels ask for: `augment` before the damage of labelled images, for the probe or for the rival.

    Attributes:
        draws: damaged copies of each image that the probe is fitted on.
        l2: penalty of the probe.
        rival_lr: peak learning rate of the rival.
    """

    augment: Operator | None
    draws: int
    l2: float
    rival_augment: Operator | None
    rival_lr: float


LABELLED = {
    0.02: Labelled(MILD_WARP, 64, 1e-3, WARP, 2.4e-2),
    0.1: Labelled(None, 16, 1e-3, MILD_WARP, 2.4e-2),
    1.0: Labelled(None, 16, 1e-3, None, 1.2e-2),
}


@dataclass(frozen=True)
class Damage:
    """What one hardened encoder is trained and tested on, and with which fractions of the labels its readouts learn."""

    name: str
    trained_on: Operator
    tested_on: tuple[Operator | None, ...]
    fractions: tuple[float, ...]

    def folder(self, demo: Path) -> Path:
        """Where its run lies: the first damage's is the demo's own folder."""
        return demo if self.name == "masks" else demo / self.name


MASKS = Damage(
    "masks",
    operators.parse("RandomMask((0.0, 0.95))"),
    (None, *map(operators.RandomMask, (0.25, 0.5, 0.75, 0.9))),
    fractions=(0.02, 0.1, 1.0),
)
MIXED = Damage(
    "mixed",
    operators.parse("OneOf(RandomMask((0.0, 0.95)), GaussianNoise((0.0, 0.5)), GaussianBlur((0.0, 5.0)))"),
    (None, operators.RandomMask(0.75), operators.GaussianNoise(0.5), operators.GaussianBlur(5.0)),
    fractions=(0.02, 1.0),
)
DAMAGES = (MASKS, MIXED)

# What each piece of a task counts, in proportion to the time that it takes.
TEACHER, TRAINING, GATE, PROBES = 8, 3, 1, 1
COUNTS = {
    "ours": TEACHER + (TRAINING + GATE + PROBES) * len(DAMAGES),
    "rival": TRAINING * sum(len(damage.fractions) for damage in DAMAGES),
}

Report = Callable[[int, str], None]  # what the piece that is done counts, and what is begun


def teacher_plan(seed: int) -> Plan:
    return Plan(epochs=40, batch_size=128, lr=1e-2, warmup_epochs=3, seed=seed, device="cpu")


def student_plan(seed: int) -> Plan:
    return Plan(epochs=32, batch_size=128, lr=2.4e-2, warmup_epochs=2, seed=seed, device="cpu")


def small_feed(seed: int) -> Feed:
    """How gauge and gate are fed."""
    return Feed(seed=seed, device=torch.device("cpu"), batch_size=128, workers=0)


def ours(seed: int, folder: Path, report: Report) -> list[Record]:
    """Teacher without labels, for each damage one hardened student behind a gate, as `harden` makes it, and its probes;
    the first seed's encoders are kept."""
    train, test = load_images("digits", "train"), load_images("digits", "test")
    fewer, held = held_out(train)
    keep = seed == 0
    report(0, "a teacher learns from unlabelled digits")
    teacher = pretrain_encoder(
        fresh(seed), train, views=views.Twice(LOOK), plan=teacher_plan(seed),
        run=_part(folder / "teacher") if keep else None, progress=False,
    )  # fmt: skip
    clean = fit_probe(UnitLength(teacher), train, num_classes=10, seed=seed)
    if keep:
        readout = Readout(clean, train.classes, "clean-probe", unit_length=True)
        _keep(teacher, readout, folder / "teacher", views=repr(LOOK))
    records: list[Record] = []
    done = TEACHER
    for damage in DAMAGES:
        report(done, f"an encoder is hardened against {damage.name}")
        home, trained_on = damage.folder(folder), repr(damage.trained_on)
        student = harden_encoder(
            teacher, fewer, operator=damage.trained_on, objective=StudentTeacher(0.5), plan=student_plan(seed),
            run=_part(home) if keep else None, progress=False,
        )  # fmt: skip
        report(TRAINING, f"a gate against {damage.name}")
        hardened = behind_a_gate(teacher, student, fewer, held, damage.trained_on, small_feed(seed))
        report(GATE, f"probes against {damage.name}")
        carried = {
            "teacher": Classifier(UnitLength(teacher), clean),
            "hardened": Classifier(UnitLength(hardened), clean),
        }
        records += _measure(carried, test, damage, seed, readout="clean-probe", fraction=1.0)
        for fraction in damage.fractions:
            few = LABELLED[fraction]
            seen = operators.Chain(few.augment, damage.trained_on) if few.augment else damage.trained_on
            probe = fit_probe(
                hardened, train, num_classes=10, fit=Logistic(few.draws, few.l2), operator=seen, seed=seed,
                labels=label_fraction(train.labels, fraction, seed),
            )  # fmt: skip
            records += _measure({"hardened": Classifier(hardened, probe)}, test, damage, seed, "probe", fraction)
            if keep:
                readout = Readout(probe, train.classes, label_fraction=fraction)
                save_readout(readout, home, provenance={"trained_on": trained_on})
        if keep:
            save_hardened(home, student, hardened, {"trained_on": trained_on})
        done = PROBES
    report(done, "")
    return records


def rival(seed: int, folder: Path, report: Report) -> list[Record]:
    """The same network trained end to end on the same labels under the same damage, for as many steps."""
    train, test = load_images("digits", "train"), load_images("digits", "test")
    records: list[Record] = []
    for damage in DAMAGES:
        for fraction in damage.fractions:
            report(0, f"the supervised rival against {damage.name}, {fraction:.0%} of the labels")
            few, labelled = LABELLED[fraction], filled(train, label_fraction(train.labels, fraction, seed))
            encoder, head = train_classifier(
                fresh(seed), labelled, plan=replace(student_plan(seed), lr=few.rival_lr), operator=damage.trained_on,
                augment=few.rival_augment, progress=False,
            )  # fmt: skip
            records += _measure({"supervised": Classifier(encoder, head)}, test, damage, seed, "end-to-end", fraction)
            if seed == 0:
                readout = Readout(head, train.classes, "end-to-end", label_fraction=fraction)
                _keep(encoder, readout, damage.folder(folder) / "supervised", trained_on=repr(damage.trained_on))
            report(TRAINING, "")
    return records


def fresh(seed: int) -> Encoder:
    """The small network with new weights."""
    with warnings.catch_warnings():  # random weights are what is wanted here
        warnings.simplefilter("ignore", UserWarning)
        return load_encoder("small@random", seed=seed)


def _keep(encoder: Encoder, readout: Readout, folder: Path, **provenance: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, encoder, readout, provenance=provenance)


def _part(folder: Path) -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    return RunFolder(folder, {})


def filled(train: ImageSet, positions: torch.Tensor) -> MemoryImages:
    """The labelled images, repeated to the size of the whole set: each copy draws a damage of its own."""
    repeated = positions.repeat(-(-len(train) // len(positions)))[: len(train)]
    order = random.order(0, 0, len(repeated))
    return MemoryImages(train.read(repeated[order]), train.labels[repeated[order]], train.classes, name=train.name)


def _measure(
    classifiers: dict[str, Any], test: ImageSet, damage: Damage, seed: int, readout: str, fraction: float
) -> Iterator[Record]:
    for operator in damage.tested_on:
        yield from evaluate(
            classifiers, test, operator=operator, realizations=REALIZATIONS, seed=seed, metrics=("top1",),
            readout=readout, label_fraction=fraction, trained_on=repr(damage.trained_on),
        )  # fmt: skip
