"""What harden, train, probe and audit have in common: the measurement of a run, and the files that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from weatherproof import operators, random
from weatherproof.data import ImageSet, at_most, batches, evenly_spaced
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, Record, evaluate, evaluate_embeddings
from weatherproof.evaluation.class_sets import WORD, ClassFit, class_fit, head_of, output_names
from weatherproof.evaluation.near_duplicates import Remembering
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import OwnHead, Readout, UnitLength, classifier_of, evaluating, fit_probe
from weatherproof.reports import GalleryEntry, save_gallery, write_report
from weatherproof.training import RunFolder
from weatherproof.training.memory import return_freed_memory
from weatherproof.verbs.outcome import Outcome
from weatherproof.verbs.overlap import near_overlap

_EXAMPLES = 12  # pictures in the gallery


class Measurement:
    """Collects the records of one run over its conditions: clean, the damage as trained, and its fixed levels.

    Args:
        run: where the results go.
        images: the test images; at most `limit` of them are used, evenly spaced.
        operator: the damage, or None for clean images alone.
        trained_on: by model, the text of the damage that it was trained on.
        also: metrics of classifiers beside top-1 and top-5.

    Attributes:
        notes: sentences that belong beside the numbers.
    """

    def __init__(
        self, run: RunFolder, images: ImageSet, *, operator: Operator | None, trained_on: Mapping[str, str],
        realizations: int, limit: int | None, seed: int, device: torch.device, workers: int, batch_size: int,
        also: Sequence[str] = (), notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        return_freed_memory()
        images = at_most(images, limit)
        self.run, self.images, self.operator, self.trained_on = run, images, operator, trained_on
        self.also, self.notes = tuple(also), list(notes)
        self.settings: dict[str, Any] = {
            "realizations": realizations, "seed": seed, "device": device, "workers": workers, "batch_size": batch_size,
        }  # fmt: skip
        side = min(images.image_size) if images.image_size else 224
        rungs = [rung for _, rung in operators.ladder(operator, side)] if operator is not None else []
        self.conditions = [None, *([operator] if operator is not None and operator not in rungs else []), *rungs]
        self.records: list[Record] = []
        self.gallery_models: dict[str, nn.Module] = {}

    def embeddings(self, encoders: Mapping[str, Encoder], teacher: Encoder) -> None:
        """What needs no labels: the cosine to the teacher's clean embedding, and recall@k in an index of them."""
        with phase("embeddings", len(self.conditions), "conditions") as meter:
            for condition in self.conditions:
                self.records += evaluate_embeddings(
                    encoders, teacher, self.images, operator=condition, trained_on=self.trained_on, **self.settings
                )
                meter.advance()

    def own_head(self, encoders: Mapping[str, Encoder], fit: ClassFit | None) -> None:
        """The pretrained model's own classifier: its accuracy where there is a reason to believe that the classes are
        the images', else its agreement with what it says of the clean image.

        Args:
            fit: from `own_fit`; None: the encoders have no classifier.
        """
        if fit is None:
            return
        heads = {name: OwnHead(encoder) for name, encoder in encoders.items()}
        if fit.believed:
            self.judged(heads, fit, readout="own-head", fraction=None)
            return
        told = "is measured by its agreement with its answer for the clean image, not by accuracy"
        told = told if self.operator is not None else "is not measured"
        self.notes.append(f"the network's own classifier {told}: {fit.why}")
        if self.operator is not None:
            with phase("own-head", len(self.conditions) - 1, "conditions") as meter:
                for condition in self.conditions[1:]:
                    self.records += evaluate(
                        heads, self.images, operator=condition, metrics=("agreement",), readout="own-head",
                        trained_on=self.trained_on, **self.settings,
                    )  # fmt: skip
                    meter.advance()

    def readout(
        self, readout: Readout, encoders: Mapping[str, Encoder], kind: str | None = None, fit: ClassFit | None = None
    ) -> None:
        """One linear layer on each of these encoders; the images have labels of its classes.

        Args:
            fit: which output is which class; None: they are in the same order.
        """
        readout.head.to(self.settings["device"])
        models = {name: classifier_of(encoder, readout) for name, encoder in encoders.items()}
        self.judged(models, fit or ClassFit(True, ""), readout=kind or readout.kind, fraction=readout.label_fraction)

    def judged(self, models: Mapping[str, nn.Module], fit: ClassFit, readout: str, fraction: float | None) -> None:
        """The accuracy of classifiers whose classes are known to be the images', and their guesses for the gallery."""
        fitted = {name: fit.classifier(model) for name, model in models.items()}
        self.notes += fit.notes
        self.accuracy(fitted, readout=readout, fraction=fraction, data=fit.data(self.images))
        self.gallery_models |= fitted

    def accuracy(
        self, models: Mapping[str, nn.Module], readout: str, fraction: float | None, data: str | None = None
    ) -> None:
        """Top-1 of classifiers, with more than five classes top-5, and what else was asked for; the images have labels
        of their classes.

        Args:
            data: what the records call the images; None: their own name.
        """
        metrics = (*(("top1", "top5") if len(self.images.classes) > 5 else ("top1",)), *self.also)
        with phase(readout, len(self.conditions), "conditions") as meter:
            for condition in self.conditions:
                self.records += evaluate(
                    models, self.images, operator=condition, metrics=metrics, readout=readout, label_fraction=fraction,
                    trained_on=self.trained_on, data=data, **self.settings,
                )  # fmt: skip
                meter.advance()

    def finish(self, *, encoder: Any = None, next_steps: Sequence[str] = ()) -> Outcome:
        """Write gallery, results and page; the results last but one, since they mark the run as finished."""
        if self.operator is not None and self.gallery_models:
            save_gallery(
                self.run.path,
                examples(
                    self.gallery_models, self.images, self.operator,
                    seed=self.settings["seed"], device=self.settings["device"],
                ),
            )  # fmt: skip
        records = [record.to_dict() for record in self.records]
        notes = list(dict.fromkeys(self.notes))
        self.run.write_json("results.json", {"records": records} | ({"notes": notes} if notes else {}))
        write_report(self.run.path)
        self.run.close()
        return Outcome(self.run.path, records, encoder=encoder, next_steps=next_steps, notes=notes)


@phase("pictures for the gallery")
def examples(
    models: Mapping[str, nn.Module], images: ImageSet, operator: Operator, *, seed: int, device: torch.device
) -> list[GalleryEntry]:
    """A few images, damaged, with the first three guesses of each model."""
    places = evenly_spaced(len(images), _EXAMPLES)
    batch = next(batches(images, len(places), order=places, device=device))  # without files that cannot be read
    damaged = operator(batch.images, random.fold(random.keys(seed, batch.index), EVAL_STREAM, 0))
    guesses: dict[str, torch.Tensor] = {}
    for name, model in models.items():
        with evaluating(model):
            guesses[name] = model(damaged).softmax(dim=1).cpu()
    names = {name: output_names(model, images) for name, model in models.items()}
    return [
        GalleryEntry(
            batch.images[i].cpu(), damaged[i].cpu(), repr(operator),
            {
                model: [(names[model][c], float(rows[i, c])) for c in rows[i].argsort(descending=True)[:3].tolist()]
                for model, rows in guesses.items()
            },
            truth=images.classes[label],
        )
        for i, label in enumerate(batch.labels.tolist())
    ]  # fmt: skip


def own_fit(encoder: Encoder, images: ImageSet, classes_match: bool) -> ClassFit | None:
    """Whether the classes of the encoder's own classifier are those of the images; None where it has none.

    Args:
        classes_match: the user says so.

    Raises:
        InputError: the user says so of a classifier that is not there or has more or fewer classes.
    """
    if encoder.num_classes is None:
        if classes_match:
            raise InputError(f"{WORD} is about a classifier, and {encoder.name} has none of its own")
        return None
    return class_fit(head_of(encoder), images, classes_match=classes_match)


def clean_probe(teacher: Encoder, train: ImageSet, measurement: Measurement) -> Readout:
    """A linear layer on the teacher's clean embeddings (Table 9); the images have labels."""
    settings = {k: measurement.settings[k] for k in ("seed", "device", "workers", "batch_size")}
    seen = Remembering(UnitLength(teacher), torch.arange(len(train)))
    head = fit_probe(seen, train, num_classes=len(train.classes), **settings)
    measurement.notes += near_overlap(seen, train, measurement.images, settings)
    return Readout(head, train.classes, "clean-probe", unit_length=True, label_fraction=1.0)
