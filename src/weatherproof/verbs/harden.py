"""Teach a copy of an encoder to see through a known damage, without labels."""

from dataclasses import asdict
from pathlib import Path
from typing import Unpack

from weatherproof import objectives, operators
from weatherproof.data import ImageSet, held_out
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.evaluation import history
from weatherproof.methods import KeepClean
from weatherproof.protocols import Objective, Operator
from weatherproof.training import CleanCosine, Plan, RunFolder, harden_encoder
from weatherproof.verbs.inputs import (
    measurable,
    require_embeds,
    require_objective_works,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, clean_probe, measured_outcome, own_fit
from weatherproof.verbs.options import TrainOptions, reading_of, require_counted, verb
from weatherproof.verbs.outcome import Outcome, command, recipe_of, text_of
from weatherproof.verbs.overlap import overlap


@verb(out=Path("runs/harden"), epochs=25, batch_size=256, schedule="cosine", weight_decay=0.0)
def harden(
    encoder: str | Path | Encoder,
    images: str | Path | ImageSet,
    *,
    operator: str | Operator = "RandomMask((0.0, 0.95))",
    objective: str | Objective = "StudentTeacher()",
    keep_clean: float = 0.95,
    clean_share: float = 0.2,
    augment: str | Operator | None = "auto",
    lr: float = 3e-4,
    classes_match: bool = False,
    probe_images: int | None = None,
    **options: Unpack[TrainOptions],
) -> Outcome:
    """Teach a copy of a pretrained encoder to give, for a damaged image, the embedding that the original gives for the
    clean one (contrastive inversion, arXiv 2110.07439). No labels are needed; where the images have some, they are used
    to measure, never to train.

    Args:
        encoder: the pretrained encoder: NAME@WEIGHTS with NAME such as resnet20, timm:NAME, torchvision:NAME or
            open_clip:NAME, or a run folder.
        images: the clean images: a folder, digits, or NAME:DIR (mnist, cifar10, imagenet, ...).
        operator: the damage to see through, for example "GaussianNoise((0.1, 0.3))", "Chain(GaussianBlur((1, 5)),
            RandomMask(0.5))", or your own as path/to/file.py:name.
        objective: what training minimises: StudentTeacher, StudentStudent, StudentBoth, NTXent or MSE.
        keep_clean: what is promised of clean images: the mean cosine between the hardened encoder and what it was, on
            clean images that it is not trained on. Training holds it as well as it can, and the page says whether it
            was kept; 0: promise nothing.
        clean_share: of the training images that are left undamaged. With keep_clean=0, clean_share=0 and a damage that
            begins where it is severe, training is that of the paper, and clean images suffer.
        augment: crops and flips before the damage, seen by teacher and student alike. "auto": flips, and for images of
            64 pixels or more random crops too; "none": the image as it is.
        batch_size: images per step; each is the negative of the others.
        lr: peak learning rate of Adam. Small networks learn faster with 1e-3 to 3e-3.
        weight_decay: 0 as in the paper's runs; the paper's text says 1e-4.
        schedule: cosine (annealed to 0 step by step), constant, or as_run (what the paper's code really did).
        classes_match: you say that the classes of the encoder's own classifier are those of the images, in the same
            order, where their names do not show it; then its accuracy is measured.
        probe_images: fit the probe that both encoders are measured by on at most so many training images, evenly from
            all classes; by default 2,000 for each class, from where more change its accuracy by less than its standard
            error.
    """
    recipe = recipe_of("harden", locals())
    require_counted(options, probe_images=probe_images)
    operator, objective, reading = operators.parse(operator), objectives.parse(objective), reading_of(options)
    keep = KeepClean(clean_share, keep_clean)
    where, size = reading["device"], options["size"]
    teacher = load_encoder(encoder, size=size, seed=options["seed"])
    train, test, augment = training_sets(
        images, size or teacher.preprocessing.size, augment=augment, operator=operator, device=where, labelled=False
    )
    require_embeds(teacher, train, where)
    require_objective_works(objective, teacher, where)
    fit = own_fit(teacher, test, classes_match)
    probed = measurable(train, test, "accuracies of a probe" if fit is not None and fit.believed else "accuracies")
    plan = Plan.of(options, lr=lr)
    run = RunFolder.open(options["out"], recipe)
    if known := measured_outcome(run):
        return known
    notes = overlap(train, test, options["test_images"])
    promise = None
    if keep.cosine:
        train, validation = held_out(train)
        promise = CleanCosine(
            teacher,
            validation,
            keep.cosine,
            plan.epochs,
            device=where,
            batch_size=plan.batch_size,
            workers=plan.workers,
        )
    student = harden_encoder(
        teacher, train, operator=operator, objective=objective, plan=plan, augment=augment, keep=keep, watch=promise,
        run=run,
    )  # fmt: skip
    if promise is not None:
        run.write_json("promise.json", asdict(promise.kept(student, run)))
    provenance = {"hardened_from": teacher.name, "trained_on": history(encoder, operator), "images": text_of(images)}
    save_encoder(student, run.path, provenance=provenance)
    measurement = Measurement(
        run, test, options, reading, operator=operator, trained_on={"hardened": repr(operator)}, notes=notes,
        change=("teacher", "hardened"),
    )  # fmt: skip
    encoders = {"teacher": teacher, "hardened": student}
    measurement.embeddings(encoders, teacher)
    measurement.own_head(encoders, fit)
    if probed:
        measurement.readout(clean_probe("teacher", teacher, train, measurement, probe_images), encoders)
    return measurement.finish(
        encoder=student,
        next_steps=(
            *([command("probe", run.path, images, operator=operator, labels=0.1)] if probed else []),
            command("audit", run.path, images, operator="GaussianNoise(0.2)"),
        ),
    )
