"""Teach a copy of an encoder to see through a known damage, without labels."""

from pathlib import Path
from typing import Any, Unpack

from torch import nn

from weatherproof import objectives, operators
from weatherproof.data import ImageSet, held_out
from weatherproof.encoders import adapters, map_place
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation import history
from weatherproof.methods import Curriculum, KeepClean, parse_curriculum
from weatherproof.operators.damages import require_damages
from weatherproof.protocols import Objective, Operator
from weatherproof.recipe import OWN_FILES
from weatherproof.reports.hardened.gauge import GAUGED
from weatherproof.reports.hardened.promise import PROMISE
from weatherproof.reports.parts import save_part
from weatherproof.training import CleanCosine, Plan, RunFolder, harden_encoder
from weatherproof.training.plan import Course
from weatherproof.verbs.before_after import bears
from weatherproof.verbs.by_words import ByWords, keep_words
from weatherproof.verbs.gating import behind_a_gate, gate_notes, gauged, require_a_gate
from weatherproof.verbs.hardened import outcome_of, save_hardened
from weatherproof.verbs.inputs import (
    measurable,
    pretrained,
    require_embeds,
    require_objective_works,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, clean_probe, measured_outcome, own_fit, warn_of_pixels
from weatherproof.verbs.options import Feed, HardenOptions, feed_of, require_counted, verb
from weatherproof.verbs.outcome import Outcome, command, recipe_of, text_of, with_origins
from weatherproof.verbs.overlap import overlap


@verb(out=Path("runs/harden"), epochs=25, batch_size=256, schedule="cosine", weight_decay=0.0)
def harden(
    encoder: str | Path | nn.Module,
    images: str | Path | ImageSet,
    *,
    operator: str | Operator = "RandomMask((0.0, 0.95))",
    objective: str | Objective = "StudentTeacher()",
    keep: str = "both",
    keep_clean: float = 0.95,
    clean_share: float | None = None,
    lean: bool = True,
    curriculum: float | str | Curriculum = 0.4,
    adapt: str | adapters.Adaptation = "Full()",
    dense: float | str | objectives.Dense = 0.0,
    augment: str | Operator | None = "auto",
    lr: float = 3e-4,
    classes_match: bool = False,
    probe_images: int | None = None,
    **options: Unpack[HardenOptions],
) -> Outcome:
    """Teach a copy of a pretrained encoder to give, for a damaged image, the embedding that the original gives for the
    clean one (contrastive inversion, arXiv 2110.07439). No labels are needed; where the images have some, they are used
    to measure, never to train.

    Args:
        encoder: the pretrained encoder: timm:NAME, torchvision:NAME, open_clip:NAME/TAG or transformers:ORG/NAME (from
            the cache, else downloaded once), NAME@WEIGHTS with these or with resnet20, NAME@random for random weights,
            or a run folder.
        images: the clean images: a folder, digits, or NAME:DIR (mnist, cifar10, imagenet, ...).
        operator: the damage to see through, for example "GaussianNoise((0.1, 0.3))", "Chain(GaussianBlur((1, 5)),
            RandomMask(0.5))", or your own as path/to/file.py:name.
        objective: what training minimises: StudentTeacher, StudentStudent, StudentBoth, NTXent or MSE.
        keep: both: the original and the hardened encoder stand behind a gate, which asks a gauge how damaged an image
            is: clean images get the original, to the bit, damaged ones the hardened encoder. hardened: that one alone.
        keep_clean: what is promised of clean images: the mean cosine between the finished encoder and what it was, on
            clean images that it is not trained on. The page says whether it was kept. Without a gate, training holds it
            as well as it can. 0: promise nothing.
        clean_share: of the training images that are left undamaged; by default none behind a gate, else 0.2 for a
            promise.
        lean: two fifths of the damaged images draw their level from the worst quarter of its range, so that a range
            that begins at none costs little where the damage is severe.
        curriculum: share of the training in which the damage grows from mild to what the operator says, or
            Curriculum(0.4, first=0.3), where levels begin at 0.3 of their way from none. 0: it is whole from the
            beginning, as in the paper.
        adapt: what trains: Full(), all weights; Norms(), the norm layers and their statistics; LoRA(16), low-rank
            changes of attention and linear layers. What an adapter changes is saved by itself, too.
        dense: weight of a further term, by which every position of the last map (or every patch) keeps its place in
            the teacher's, for segmentation and for finding parts; Dense(0.5, gram=1.0) keeps the likeness of the
            positions of an image too. 0: embeddings alone.
        augment: crops and flips before the damage, seen by teacher and student alike. "auto": flips, and for images of
            64 pixels or more random crops too; "none": the image as it is.
        batch_size: images per step; each is the negative of the others.
        lr: peak learning rate of Adam. Small networks learn faster with 1e-3 to 3e-3.
        weight_decay: 0 as in the paper's runs; the paper's text says 1e-4.
        schedule: cosine (annealed to 0 step by step), constant, or as_run (what the paper's code really did).
        classes_match: you say that the classes of the encoder's own classifier, or those of --classes, are those of the
            images, in the same order, where their names do not show it; then its accuracy is measured.
        probe_images: fit the probe that both encoders are measured by on at most so many training images, evenly from
            all classes; by default 2,000 for each class, from where more change its accuracy by less than its standard
            error.
    """
    recipe = recipe_of("harden", locals())
    require_counted(options, probe_images=probe_images)
    operator, objective, feed = operators.parse(operator), objectives.parse(objective), feed_of(options)
    gate, adaptation, dense_term = _has_gate(keep), adapters.parse(adapt), objectives.parse_dense(dense)
    keep_settings, growing = _keep_clean(gate, clean_share, keep_clean), parse_curriculum(curriculum)
    where, size = feed["device"], options["size"]
    by_words = ByWords.of(encoder, options)
    if by_words is not None:
        recipe[OWN_FILES] = {**recipe.get(OWN_FILES, {}), **by_words.files}
    teacher = pretrained(encoder, size=size, seed=options["seed"])
    train, test, augment = training_sets(
        images, size or teacher.preprocessing.size, augment=augment, operator=operator, device=where, labelled=False
    )
    require_damages(operator, train, where)
    require_embeds(teacher, train, where)
    require_objective_works(objective, teacher, where)
    place = map_place(teacher, train.image_size) if dense_term else None
    fit = own_fit(teacher, test, classes_match and by_words is None)
    words_fit = None if by_words is None else by_words.fit(test, classes_match)
    warn_of_pixels(teacher, train, test, fit, where)
    probed = measurable(train, test, "accuracies of a probe" if fit is not None and fit.believed else "accuracies")
    plan = Plan.of(options, lr=lr)
    held, sets = None, (train, test)
    if gate or keep_clean:
        train, held = held_out(train)
    if gate:
        require_a_gate(teacher, train, operator)
    run = RunFolder.open(options["out"], with_origins(recipe, teacher, images=sets))
    if known := measured_outcome(run, like=teacher):
        return known
    spoken = None if by_words is None else by_words.readout(teacher, run.path, device=where)
    if spoken is not None:
        keep_words(run, spoken)
    notes = overlap(train, test, options["test_images"])
    promise = None
    if held and keep_clean:
        course = Course(plan, len(train))
        epochs = course.steps / course.steps_per_epoch
        promise = CleanCosine(teacher, held, keep_clean, epochs, run=run, **_unseeded(feed))
    student = harden_encoder(
        teacher, train, operator=operators.leaning(operator) if lean else operator, objective=objective, plan=plan,
        augment=augment, keep=keep_settings, watch=None if gate else promise, adapt=adaptation,
        dense=dense_term, curriculum=growing, run=run,
    )  # fmt: skip
    finished = student
    if gate and held:
        finished = behind_a_gate(teacher, student, train, held, operator, feed)
    provenance = {"hardened_from": teacher.name, "trained_on": history(encoder, operator), "images": text_of(images)}
    save_hardened(run.path, student, finished, provenance)
    if spoken is not None and finished is not student:
        keep_words(run, spoken, run.path / "hardened")
    if finished is not student and held:
        save_part(run.path, GAUGED, gauged(finished, held, operator, feed))
    if promise is not None:
        save_part(run.path, PROMISE, outcome_of(promise, finished, run))
    measurement = Measurement(
        run, test, options, feed, operator=operator, trained_on={"hardened": repr(operator)}, notes=notes,
        change=("teacher", "hardened"),
    )  # fmt: skip
    encoders = {"teacher": teacher, "hardened": finished}
    measurement.embeddings(encoders, teacher, place)
    measurement.own_head(encoders, fit)
    if probed:
        measurement.readout(clean_probe("teacher", teacher, train, measurement, probe_images), encoders)
    if spoken is not None:
        measurement.readout(spoken, encoders, words_fit)
    measurement.notes += gate_notes(finished, borne=bears(measurement.readings, measurement.operator, "teacher"))
    return measurement.finish(
        encoder=finished,
        next_steps=(
            *([command("probe", run.path, images, operator=operator, labels=0.1)] if probed else []),
            command("audit", run.path, images, operator="GaussianNoise(0.2)"),
        ),
    )


def _has_gate(keep: str) -> bool:
    if keep not in ("both", "hardened"):
        raise unknown("keep", keep, ("both", "hardened"))
    return keep == "both"


def _keep_clean(gate: bool, share: float | None, promised: float) -> KeepClean:
    """What training holds. Behind a gate a promise is not its affair: clean images are the original's."""
    if not 0 <= promised < 1:
        raise InputError(f"keep_clean, a mean cosine on clean images, must be from 0 to below 1, got {promised}")
    if share is None:
        share = 0.2 if promised and not gate else 0.0
    if not 0 <= share < 1:
        raise InputError(f"clean_share, of the training images, must be from 0 to below 1, got {share}")
    return KeepClean(share, 0.0 if gate else promised)


def _unseeded(feed: Feed) -> dict[str, Any]:
    return {name: feed[name] for name in ("device", "batch_size", "workers")}
