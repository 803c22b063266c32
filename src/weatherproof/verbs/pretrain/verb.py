"""Learn an encoder from unlabelled images."""

from pathlib import Path
from typing import Literal, Unpack

from torch import nn

from weatherproof import methods
from weatherproof.data import ImageSet
from weatherproof.encoders import save_encoder
from weatherproof.evaluation import history
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Operator, Views
from weatherproof.sizes import size_of
from weatherproof.training import RunFolder, fit
from weatherproof.training.plan import Optimizer
from weatherproof.verbs.inputs import (
    device_of,
    from_nothing,
    penalty_of,
    require_embeds,
    require_twice_differentiable,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, measured_outcome
from weatherproof.verbs.options import Feed, PretrainOptions, require_counted, verb
from weatherproof.verbs.outcome import Outcome, command, recipe_of, text_of, with_origins
from weatherproof.verbs.overlap import overlap
from weatherproof.verbs.pretrain.measure import (
    log_watch,
    measure_accuracy,
    measure_geometry,
    require_measurable,
)
from weatherproof.verbs.pretrain.pictures import example_families, save_pretraining_pictures
from weatherproof.verbs.pretrain.settings import (
    Preset,
    batch_of,
    plan_of,
    require_learns,
    require_views,
    resolved,
    settings_of,
    views_of,
)

_FRACTIONS = (1.0, 0.1, 0.01)  # of labels, as the papers' tables
_LOOKS = 20  # at most so often in a run, k-NN accuracy, alignment and uniformity are taken


@verb(out=Path("runs/pretrain"), warmup_epochs=None)
def pretrain(
    method: str,
    images: str | Path | ImageSet,
    *,
    encoder: str | Path | nn.Module = "resnet20",
    views: str | Views | Operator = "auto",
    preset: Preset = "quick",
    lr: float | None = None,
    optimizer: Optimizer | None = None,
    milestones: list[float] | None = None,
    temperature: float | None = None,
    queue: int | None = None,
    negatives: int | None = None,
    momentum: float | None = None,
    tikhonov: float | str | InputGradient | None = None,
    watch_every: int | None = None,
    labels: list[float] | None = None,
    map_by: Literal["pca", "tsne"] = "pca",
    **options: Unpack[PretrainOptions],
) -> Outcome:
    """Learn an encoder from images without labels: two looks at an image should have near embeddings, looks at others
    distant ones. Where the images have labels, they are used to measure, never to train. A classifier that the encoder
    brings is left out of the run: it knows the embeddings of before.

    Args:
        method: simclr, mocov2, instdis or pirl.
        images: the images: a folder (of images or of class folders), digits, or NAME:DIR (cifar10, imagenet, ...).
        encoder: where it starts: a native NAME (random weights), a library's, such as timm:NAME (pretrained;
            timm:NAME@random is not), NAME@WEIGHTS, or a run folder.
        views: how training looks at an image. "auto": the method's own family at the images' size; "urrl": that or
            AugMix's thirteen operations, drawn for each image and view (URRL); or a text such as "MoCoV2(32)".
        preset: what is taken where nothing is given. quick: Adam, for small data and few epochs; paper: what the
            method's authors trained with, on CIFAR up to 64 pixels and on ImageNet above.
        epochs: passes over the images; 100, or the paper's.
        batch_size: images per step; 128, or the paper's.
        lr: peak learning rate; 2e-3, or the paper's in proportion to the batch.
        weight_decay: 0, or the paper's.
        optimizer: adam, adamw, sgd or lars.
        schedule: cosine (step by step), cosine_epoch, step, constant.
        milestones: epochs at which schedule "step" divides the learning rate by ten.
        warmup_epochs: linear rise of the learning rate at the start; 1, or the paper's.
        temperature: of the similarities; the paper's.
        queue: keys that mocov2 keeps, a multiple of the batch; the paper's, or fewer where there are fewer images.
        negatives: of an image for instdis and pirl, at most as many as there are images; as the queue.
        momentum: of mocov2's key encoder, or of the memory bank of instdis and pirl; the paper's.
        tikhonov: of simclr, lambda of a penalty on the gradients by the pixels of the views, or its text, such as
            InputGradient(0.1, "exact", per_sample=True).
        watch_every: epochs between two looks at k-NN accuracy, alignment and uniformity; by default a twentieth of
            all epochs.
        labels: fractions of the labels that the linear probes are fitted with; 1, 0.1 and 0.01.
        map_by: how the page's map of embeddings is made, pca or tsne.
    """
    recipe = recipe_of("pretrain", locals())
    require_counted(options, watch_every=watch_every)
    methods.recipe(method)  # an unknown one is said before anything is read
    where, size, seed = device_of(options["device"]), options["size"], options["seed"]
    start = from_nothing(encoder, size=size, seed=seed)
    read_at = size or start.preprocessing.size
    train, test, _ = training_sets(images, read_at, augment=None, operator=None, device=where, labelled=False)
    require_embeds(start, train, where)
    assert train.image_size is not None  # `training_sets` has seen to it
    seen = min(train.image_size) if read_at is None else size_of(train.image_size)
    published = methods.recipe(method, seen)
    fractions = _FRACTIONS if labels is None else tuple(labels)
    measurable = require_measurable(train, test, fractions, seed)
    plan = plan_of(
        published, preset, {**options, "lr": lr, "optimizer": optimizer, "milestones": milestones},
    )  # fmt: skip
    batch = batch_of(plan, train)
    own = {"temperature": temperature, "queue": queue, "negatives": negatives, "momentum": momentum}
    settings = settings_of(method, published, own, batch, options["devices"])
    family = require_views(views_of(views, published, seen), train, where)
    pretrained, penalty = start.clone(), penalty_of(tikhonov)
    pretrained.drop_head()
    require_twice_differentiable(start, penalty, train, where)
    learner = methods.build(
        method, pretrained, views=family, images=train.index, size=seen, batch_size=batch, seed=seed, tikhonov=penalty,
        **settings,
    )  # fmt: skip
    require_learns(learner, train, where)
    recipe = with_origins(recipe, start, images=(train, test))
    run = RunFolder.open(options["out"], recipe | resolved(plan, own, published, learner))
    if known := measured_outcome(run, like=start):
        return known
    notes = overlap(train, test, options["test_images"])
    feed = Feed(seed=seed, device=where, workers=plan.workers, batch_size=plan.batch_size)
    watch = log_watch(train, test, family, watch_every or max(1, round(plan.epochs / _LOOKS)), feed)
    fit(learner, train, plan, run, watch=watch, label=f"{method} on {train.name}")
    provenance = {"pretrained_by": method, "trained_on": history(encoder, family), "images": text_of(images)}
    save_encoder(pretrained, run.path, provenance=provenance)
    measurement = Measurement(run, test, options, feed, trained_on={"pretrained": repr(family)}, notes=notes)
    encoders = {"start": start, "pretrained": pretrained}
    if measurable:
        measure_accuracy(measurement, encoders, train, fractions)
    measure_geometry(measurement, encoders, family)
    save_pretraining_pictures(
        run.path, pretrained, train, measurement.images, example_families(seen, family), map_by=map_by, **feed,
    )  # fmt: skip
    return measurement.finish(
        encoder=pretrained,
        next_steps=(
            *([command("probe", run.path, images, labels=0.1)] if measurable else []),
            command("audit", run.path, images, operator="GaussianNoise(0.2)"),
        ),
    )
