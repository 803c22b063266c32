"""What every form of audit needs: a model and images that fit each other, a run folder, a classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation.class_sets import WORD, ClassFit, class_fit, head_of_readout, some
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.suites.contamination import trained_on
from weatherproof.readouts import OwnHead, Readout, classifier_of, load_readout, readout_hash
from weatherproof.recipe import INPUTS, OWN_FILES
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED
from weatherproof.verbs.audit.limits import Limit
from weatherproof.verbs.by_words import ByWords, keep_words
from weatherproof.verbs.inputs import has_labels, pretrained, read_at, require_embeds
from weatherproof.verbs.measure import own_fit
from weatherproof.verbs.options import CropFraction, DamageOptions, Feed, WordOptions, feed_of, pace_of
from weatherproof.verbs.outcome import name_of, recipe_of, with_origins

Parts = Mapping[tuple[str, int], torch.Tensor]  # positions by corruption and severity

_FREE = (*IGNORED, "fail_under", "fail_over")  # a check does not change the numbers


class AuditOptions(WordOptions, DamageOptions, total=False):
    """What every form of audit takes."""

    classes_match: Annotated[
        bool,
        "you say that the classifier's classes are those of the images, in the same order, where their names do not "
        "show it.",
    ]
    split: Annotated[
        str, "train, test, or all; by default test, and with --gauge every image of a folder, however it is laid out."
    ]
    crop_fraction: CropFraction
    fail_under: Annotated[
        list[str] | None,
        "METRIC=VALUE (such as top1=0.6): exit status 1 if the model's value under the damage is lower. Of a suite: "
        "its totals, such as mca=0.6.",
    ]
    fail_over: Annotated[list[str] | None, "METRIC=VALUE (such as mce=0.8): exit status 1 if it is higher."]


@dataclass(frozen=True)
class Subject:
    """A model and the images that it is measured on.

    Attributes:
        model, source: as the user gave them.
        feed: how the model is fed.
        limits: what is to be checked of the numbers.
        readout: from words that are asked for, else of the run folder that the model is; None: there is none.
        own_words: the readout is not in the model's folder.
        fit: whether the classes of the readout, else of the encoder's own head, are the images'; None: there is
            neither.
        files: what must not change before the run is finished, by name, with digests of what is in it.
    """

    model: str | Path | nn.Module
    source: str | Path | ImageSet
    options: AuditOptions
    feed: Feed
    limits: Sequence[Limit]
    encoder: Encoder
    images: ImageSet
    readout: Readout | None
    fit: ClassFit | None
    files: Mapping[str, str] = field(default_factory=dict)
    own_words: bool = False

    @classmethod
    def load(
        cls,
        model: str | Path | nn.Module,
        source: str | Path | ImageSet,
        options: AuditOptions,
        limits: Sequence[Limit],
    ) -> "Subject":
        """Both, tried on each other. Raises `InputError` where they, or the options, cannot be used."""
        feed, by_words = feed_of(options), ByWords.of(model, options)
        encoder = pretrained(model, size=options["size"], seed=options["seed"])
        folder = _folder(model)
        readout = None if folder is None else load_readout(folder)
        images = read_at(source, options.get("split", "test"), encoder, options)
        require_embeds(encoder, images, feed["device"])
        if by_words is None:
            fit = _fit(model, encoder, readout, images, options["classes_match"])
            return cls(model, source, options, feed, limits, encoder, images, readout, fit)
        words_fit = by_words.fit(images, options["classes_match"])
        places = [Path(options["out"]), *([folder] if folder is not None else [])]
        readout = by_words.readout(encoder, *places, device=feed["device"])
        return cls(
            model, source, options, feed, limits, encoder, images, readout, words_fit, by_words.files, own_words=True
        )

    @property
    def name(self) -> str:
        """What records call the model."""
        return name_of(self.model)

    @property
    def parts(self) -> Parts | None:
        """Where each corruption and severity is, of images that are damaged already."""
        return getattr(self.images, "parts", None)

    @property
    def trained_on(self) -> str | None:
        """The damage that the model's run folder tells of."""
        folder = _folder(self.model)
        return None if folder is None else trained_on(folder)

    def settings(self, folder: Path) -> Settings:
        """How the images are gone through, answers kept in this folder."""
        return Settings(folder=folder, **self.feed, **pace_of(self.options))

    @property
    def notes(self) -> Sequence[str]:
        """What is to be said of the classes."""
        spoken = None if self.readout is None else self.readout.spoken
        return (*([spoken.note] if spoken else []), *(self.fit.notes if self.fit else ()))

    def others(self, split: str) -> ImageSet:
        """Images of another split of the same source, read alike."""
        return read_at(self.source, split, self.encoder, self.options)

    def open(self, *others: Encoder, **own: object) -> RunFolder:
        """The run folder of an audit with these options of its own, and of other encoders beside the subject."""
        recipe = recipe_of("audit", {"model": self.model, "images": self.source, **own, "options": self.options})
        if self.files:
            recipe[OWN_FILES] = {**recipe.get(OWN_FILES, {}), **self.files}
        if self.readout is not None and not self.own_words:
            recipe[INPUTS] = {f"the classifier of {self.name}": readout_hash(self.readout)}
        recipe = with_origins(recipe, self.encoder, *others, images=[self.images])
        run = RunFolder.open(self.options["out"], recipe, ignore=_FREE)
        if self.own_words and self.readout is not None and not run.finished:
            keep_words(run, self.readout)
        return run

    def classifier(self, what: str) -> tuple[nn.Module, dict[str, Any]]:
        """What answers the images, and the records' words for it: the run's readout, else the network's own head.

        Args:
            what: needs it, for messages.

        Raises:
            InputError: images without labels, or nothing that knows their classes.
        """
        if not has_labels(self.images):
            raise InputError(f"{what} is measured by accuracy, and {self.images.name!r} has images without a label")
        if self.fit is None:
            raise InputError(
                f"{what} needs a classifier, and {self.name} is an encoder alone: run probe on such images first"
            )
        if not self.fit.believed:
            raise InputError(
                f"{what} needs a classifier of the images' classes: {self.fit.why}; or run probe on such images"
            )
        about: dict[str, Any] = {"data": self.fit.data(self.images)}
        if self.readout is None:
            return self.fit.classifier(OwnHead(self.encoder)), {"readout": "own-head", **about}
        about |= {"readout": self.readout.kind, "label_fraction": self.readout.label_fraction}
        return self.fit.classifier(classifier_of(self.encoder, self.readout)), about


def _folder(model: str | Path | nn.Module) -> Path | None:
    return Path(model) if isinstance(model, str | Path) and Path(model).is_dir() else None


def _fit(
    model: str | Path | nn.Module, encoder: Encoder, readout: Readout | None, images: ImageSet, classes_match: bool
) -> ClassFit | None:
    if readout is None:
        return own_fit(encoder, images, classes_match)
    fit = class_fit(head_of_readout(readout), images, classes_match=classes_match)
    if not fit.believed and has_labels(images) and readout.spoken is None:
        same = len(readout.classes) == len(images.classes)
        raise InputError(
            f"the classifier in {model} knows {some(readout.classes)}, the images are {some(images.classes)}: "
            f"run probe on these images first{f', or say {WORD} where both are the same in the same order' * same}"
        )
    return fit
