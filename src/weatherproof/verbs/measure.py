"""What harden, train, probe and audit have in common: the measurement of a run, and the files that come of it."""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof import operators, random
from weatherproof.data import ImageSet, at_most, batches, evenly_spaced
from weatherproof.encoders import Encoder, MapPlace, check_preprocessing, load_encoder
from weatherproof.encoders.own import IN_HAND
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, Record
from weatherproof.evaluation.class_sets import WORD, ClassFit, class_fit, head_of, output_names
from weatherproof.evaluation.damaged import draws_nothing
from weatherproof.evaluation.embeddings import embedded
from weatherproof.evaluation.engine.answers import Answers, BlockFiles
from weatherproof.evaluation.engine.run import Settings, weights_digest
from weatherproof.evaluation.near_duplicates import Seen
from weatherproof.evaluation.readings import Head, Judgement, Likeness, Part, Readings, read
from weatherproof.files import disk_errors
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import OwnHead, Readout, UnitLength, classifier_of, evaluating, fit_probe
from weatherproof.readouts.classifier import Normalized
from weatherproof.reports import GalleryEntry, save_gallery, write_report
from weatherproof.reports.hardened.curve import CURVE
from weatherproof.reports.parts import save_list
from weatherproof.spec import names_a_file
from weatherproof.training import RunFolder
from weatherproof.training.memory import return_freed_memory
from weatherproof.types import Embeddings, Labels
from weatherproof.verbs.before_after import changes
from weatherproof.verbs.options import DamageOptions, Feed, MeasureOptions, pace_of
from weatherproof.verbs.outcome import NOTHING_DONE, Outcome, files_made, finished, require_files
from weatherproof.verbs.overlap import near_overlap

_EXAMPLES = 12  # pictures in the gallery
_FEW = 500  # images at each level of a mixture's kinds: a standard error of an accuracy of at most 2.2 points
_KEPT = "measured"  # the folder of what a measurement that is stopped goes on from


class Measurement:
    """What is to be measured of one run: first everything is asked, then each image is embedded once with each encoder
    under each condition (clean, the damage as trained, its fixed levels), and all answers are read from that.

    Args:
        run: where the results go, and what a measurement that is stopped goes on from.
        images: the test images; at most so many of them are used, evenly spaced, as the options say.
        options: how much is measured, and in which time.
        feed: how the models are fed.
        operator: the damage, or None for clean images alone.
        trained_on: by model, the text of the damage that it was trained on.
        also: metrics of classifiers beside top-1 and top-5.
        notes: sentences that belong beside the numbers.
        change: two encoders by name, before and after: curve.json says what has changed, for which each kind of damage
            that the operator gives to an image alone is measured along its levels too.

    Attributes:
        operator: the damage in the words of its levels, by which its answers and records are known: JPEG(50.0) of
            JPEG(50).
        records: numbers that were measured in another way.
    """

    def __init__(
        self, run: RunFolder, images: ImageSet, options: MeasureOptions, feed: Feed, *,
        operator: Operator | None = None, trained_on: Mapping[str, str | None] | None = None, also: Sequence[str] = (),
        notes: Sequence[str] = (), change: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        return_freed_memory()
        images = at_most(images, options["test_images"])
        self.run, self.images, self.trained_on = run, images, trained_on or {}
        self.also, self.notes, self.options, self.feed = tuple(also), list(notes), options, feed
        side = min(images.image_size) if images.image_size else 224
        rungs = [rung for _, rung in operators.ladder(operator, side)] if operator is not None else []
        self.operator = next((rung for rung in rungs if rung == operator), operator)
        self.damages = [*([operator] if operator is not None and operator not in rungs else []), *rungs]
        self.change = change
        self.kinds = operators.kind_ladders(operator, side) if operator is not None and change else []
        self.few = [rung for kind in self.kinds for _, rung in kind.rungs if rung not in self.damages]
        run.provisional.add(f"{_KEPT}/clean")  # where a damage is refused, the same command has no use for it
        self.encoders: dict[str, Encoder] = {}
        self.parts: list[Part] = []
        self.records: list[Record] = []
        self.gallery_models: dict[str, nn.Module] = {}
        self.keep_clean = False
        self._near: list[tuple[int, str, Seen, ImageSet]] = []

    @property
    def conditions(self) -> list[Operator | None]:
        return [None, *self.damages, *self.few]

    @property
    def few_images(self) -> int:
        """On how many images each of the further rungs is measured: all together cost no more than the others do."""
        draws = sum(1 if draws_nothing(damage) else self._realizations for damage in self.damages)
        return min(_FEW, len(self.images), max(1, len(self.images) * (1 + draws) // max(1, len(self.few))))

    @property
    def _realizations(self) -> int:
        return cast(DamageOptions, self.options).get("realizations", 1)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what has been asked for."""
        return tuple(dict.fromkeys(metric for part in self.parts for metric in part.metrics))

    def embeddings(self, encoders: Mapping[str, Encoder], teacher: Encoder, place: MapPlace | None = None) -> None:
        """What needs no labels: the cosine to the teacher's clean embedding, and recall@k in an index of them.

        Args:
            place: where the maps of all of them are, for the recall of positions; None: without.
        """
        self.encoders |= encoders
        self.parts.append(Likeness(tuple(encoders), teacher, self.conditions, place))

    def own_head(self, encoders: Mapping[str, Encoder], fit: ClassFit | None) -> None:
        """The pretrained model's own classifier: its accuracy where there is a reason to believe that the classes are
        the images', else its agreement with what it says of the clean image.

        Args:
            fit: from `own_fit`; None: the encoders have no classifier.
        """
        if fit is None:
            return
        if fit.believed:
            heads = {name: OwnHead(encoder) for name, encoder in encoders.items()}
            self._judged(encoders, heads, Head(order=fit.order), fit, "own-head", None)
            return
        self._agreement("the network's own classifier", encoders, Head(), fit, "own-head")

    def _agreement(
        self, what: str, encoders: Mapping[str, Encoder], head: Head, fit: ClassFit, readout: str
    ) -> None:  # fmt: skip
        """How often a classifier whose classes are not known to be the images' says of the damaged image what it says
        of the clean one."""
        how = "is measured by its agreement with its answer for the clean image, not by accuracy"
        how = how if self.operator is not None else "is not measured"
        self.notes.append(f"{what} {how}: {fit.why}")
        if self.operator is not None:
            self.encoders |= encoders
            own = dict.fromkeys(encoders, head)
            self.parts.append(Judgement(own, ("agreement",), readout, None, self.conditions[1:]))

    def readout(self, readout: Readout, encoders: Mapping[str, Encoder], fit: ClassFit | None = None) -> None:
        """One linear layer on each of these encoders; the images have labels of its classes.

        Args:
            fit: which output is which class; None: they are in the same order. Of one from words that are not those of
                the images its agreement is measured instead.
        """
        fit, layer = fit or ClassFit(True, ""), readout.head.to(self.feed["device"])
        models = {name: classifier_of(encoder, readout) for name, encoder in encoders.items()}
        head = Head(nn.Sequential(Normalized(), layer) if readout.unit_length else layer, fit.order)
        if readout.spoken is not None:
            self.notes.append(readout.spoken.note)
        if not fit.believed:
            self._agreement("the classifier by words", encoders, head, fit, readout.kind)
            return
        self._judged(encoders, models, head, fit, readout.kind, readout.label_fraction)

    def _judged(
        self, encoders: Mapping[str, Encoder], models: Mapping[str, nn.Module], head: Head, fit: ClassFit, readout: str,
        fraction: float | None,
    ) -> None:  # fmt: skip
        """The accuracy of classifiers whose classes are known to be the images', and their guesses for the gallery."""
        self.notes += fit.notes
        self.accuracy(encoders, head, readout=readout, fraction=fraction, data=fit.data(self.images))
        self.gallery_models |= {name: fit.classifier(model) for name, model in models.items()}

    def accuracy(
        self, encoders: Mapping[str, Encoder], head: Head, *, readout: str, fraction: float | None,
        data: str | None = None,
    ) -> None:  # fmt: skip
        """Top-1 of the head on each of these encoders, with more than five classes top-5, and what else was asked for;
        the images have labels of its classes.

        Args:
            data: what the records call the images; None: their own name.
        """
        metrics = (*(("top1", "top5") if len(self.images.classes) > 5 else ("top1",)), *self.also)
        self.encoders |= encoders
        heads = dict.fromkeys(encoders, head)
        self.parts.append(Judgement(heads, metrics, readout, fraction, self.conditions, data))

    def probe(
        self, name: str, encoder: Encoder, train: ImageSet, *, kind: str = "probe", labels: Tensor | None = None,
        fraction: float = 1.0, unit_length: bool = False, most: int | None = None, **how: Any,
    ) -> Readout:  # fmt: skip
        """A linear layer on an encoder's embeddings of training images, fitted once for all calls of this run. Which
        test images are nearly one of these is said beside the numbers.

        Args:
            name: of the encoder among those that are measured.
            labels: positions of the images whose labels may be used, `fraction` of all; None: all.
            most: fit on at most so many of them, evenly from all classes; None: on all.
            how: further settings of `fit_probe`.
        """
        chosen = torch.arange(len(train)) if labels is None else labels
        usable = chosen[train.labels[chosen] >= 0]
        if most is not None and most < len(usable):
            chosen = labels = from_all_classes(train.labels, usable, most)
            fraction *= most / len(usable)
            self.notes.append(
                f"the {kind} is fitted on {most:,} of {len(usable):,} training images, evenly from all classes, and "
                f"near duplicates are looked for among these; --probe-images takes another number"
            )
        model = UnitLength(encoder) if unit_length else encoder
        seen, file = Seen(len(chosen)), self._probe_file(model)
        head = _known_head(file, seen)
        if head is None:
            classes = len(train.classes)
            head = fit_probe(model, train, num_classes=classes, labels=labels, seen=seen, **self.feed, **how).cpu()
            _keep_head(file, seen, head)
        self.keep_clean = True
        self._near.append((len(self.notes), name, seen, train))
        return Readout(head, train.classes, kind, unit_length=unit_length, label_fraction=fraction)

    def _probe_file(self, model: nn.Module) -> BlockFiles:
        folder = self.run.path / _KEPT / "probe"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return BlockFiles(folder, weights_digest(model))

    @cached_property
    def readings(self) -> Readings:
        """The measurement, done where it is first asked for; it goes on from what the run folder holds of it."""
        return read(
            self.encoders, self.parts, self.images, self.damages, self._settings,
            realizations=self._realizations, trained_on=self.trained_on,
            first=self.operator, few=self.few, most=self.few_images, keep=self.keep_clean,
        )  # fmt: skip

    @property
    def _settings(self) -> Settings:
        return Settings(folder=self.run.path / _KEPT, **self.feed, **pace_of(self.options))

    def embedded(self, name: str, encoder: Encoder, train: ImageSet) -> tuple[Embeddings, Labels]:
        """An encoder's embeddings of training images and their labels, on the CPU."""
        settings = replace(self._settings, minutes=None, processes=1)
        found = embedded(encoder, train, settings, name, f"training of {name}")
        return found["embedding"], train.labels[found.place]

    def clean(self, name: str) -> Answers:
        """An encoder's "embedding" of the clean images, where these are kept."""
        return self.readings.clean.of(name)

    def finish(self, *, encoder: Any = None, next_steps: Sequence[str] = ()) -> Outcome:
        """Measure, and write gallery, results and page; the results last but one, since they mark the run as finished.
        Where time was up, what the same command goes on from is left beside them."""
        records = [record.to_dict() for record in (*self.readings.records(), *self.records)]
        for place, name, seen, train in reversed(self._near):
            clean = self.clean(name)
            self.notes[place:place] = near_overlap(seen, train, self.images, clean["embedding"], clean.place)
        if self.operator is not None and self.gallery_models:
            save_gallery(
                self.run.path,
                examples(
                    self.gallery_models, self.images, self.operator,
                    seed=self.feed["seed"], device=self.feed["device"],
                ),
            )  # fmt: skip
        if self.operator is not None and self.change is not None:
            save_list(self.run.path, CURVE, changes(self.readings, self.kinds, self.operator, self.change))
        notes = list(dict.fromkeys([*self.notes, *_cut(self.readings)]))
        results = {"records": records} | ({"notes": notes} if notes else {})
        self.run.write_json("results.json", results | {"files": files_made(self.run.path)})
        if self.readings.complete:
            shutil.rmtree(self.run.path / _KEPT, ignore_errors=True)
        write_report(self.run.path)
        self.run.close()
        comes_back = not str(getattr(encoder, "name", "")).startswith(IN_HAND)  # on a command line
        return Outcome(
            self.run.path, records, encoder=encoder, next_steps=next_steps if comes_back else (), notes=notes
        )


def _known_head(file: BlockFiles, seen: Seen) -> nn.Linear | None:
    """What an earlier call has fitted; what the encoder has seen is then known as well."""
    found = file.read(0)
    if not found:
        return None
    seen.take_up(found["seen"]["features"], found["seen"].place)
    weight, bias = found["head"]["weight"], found["head"]["bias"]
    head = nn.Linear(weight.shape[1], len(weight))
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def _keep_head(file: BlockFiles, seen: Seen, head: nn.Linear) -> None:
    classes = torch.arange(head.out_features)
    parts = {
        "seen": Answers(seen.rows, {"features": seen.features.half()}), "head": Answers(classes, head.state_dict())
    }  # fmt: skip
    file.write(0, parts)


def measured_outcome(run: RunFolder, encoder: Encoder | None = None, like: Encoder | None = None) -> Outcome | None:
    """The outcome of a run that has its results, and no measurement that is to go on; None of another.

    Args:
        encoder: that of the outcome; None: the one in the run folder, where there is one.
        like: one of its build, which makes it where no text does.
    """
    if not run.finished or (run.path / _KEPT).exists():
        return None
    require_files(run.path)
    encoder = load_encoder(str(run.path), like=like) if encoder is None else encoder
    return finished(run, NOTHING_DONE, encoder=encoder)


def _cut(found: Readings) -> list[str]:
    """What must be said of a measurement that had no time for everything."""
    if found.complete:
        return []
    whole, reached = len(found.clean), [own for own in found.damaged.values() if own]
    fewest = min((len(answers) for own in reached for answers in own), default=0)
    parts = [f"the numbers under damage rest on {fewest:,} or more of {whole:,} images"] if fewest < whole else []
    if len(reached) < len(found.damaged):
        parts.append(f"{len(found.damaged) - len(reached)} of {len(found.damaged)} damages were not reached")
    said = parts or ["some numbers are of fewer draws than asked for"]
    return [f"time was up: {'; '.join(said)}; the same command goes on from here"]


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
    truths = next(iter(names.values()), images.classes)  # of the images' classes first, in their order
    return [
        GalleryEntry(
            batch.images[i].cpu(), damaged[i].cpu(), repr(operator),
            {
                model: [(names[model][c], float(rows[i, c])) for c in rows[i].argsort(descending=True)[:3].tolist()]
                for model, rows in guesses.items()
            },
            truth=truths[label],
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


def warn_of_pixels(
    encoder: Encoder, train: ImageSet, test: ImageSet, fit: ClassFit | None, device: torch.device
) -> None:
    """Warn where the own classifier of a user's network is right on far more of some training images with another mean
    and std than with those that it was given.

    Args:
        fit: from `own_fit` of the test images.
    """
    if fit is None or not fit.believed or not (encoder.name.startswith(IN_HAND) or names_a_file(encoder.name)):
        return
    if train.classes != test.classes or not bool((train.labels >= 0).all()):
        return
    with phase("checking mean and std"):
        found = check_preprocessing(encoder.clone().to(device), train, outputs=fit.order)
    if found.advice is not None:
        warnings.warn(found.advice, UserWarning, stacklevel=3)


def clean_probe(
    name: str, teacher: Encoder, train: ImageSet, measurement: Measurement, most: int | None = None
) -> Readout:
    """A linear layer on the teacher's clean embeddings (Table 9); the images have labels.

    Args:
        name: of the teacher among the encoders that are measured.
        most: of the training images; None: `enough_for_a_probe`.
    """
    most = enough_for_a_probe(train) if most is None else most
    return measurement.probe(name, teacher, train, kind="clean-probe", unit_length=True, most=most)


def enough_for_a_probe(images: ImageSet) -> int:
    """So many training images that its accuracy would rise by less than its standard error with all: 2,000 for each
    class. Of CIFAR-10, 64 features of resnet20 give 83.6 % with 20,000 images and 83.8 % with all 50,000, 512 features
    of random patches 50.0 % and 50.4 %, where 2,000 test images leave standard errors of 0.8 and 1.1 %."""
    return 2000 * len(images.classes)


def from_all_classes(labels: Labels, positions: Int64[Tensor, "n"], most: int) -> Int64[Tensor, "m"]:
    """At most so many of these positions, in order, with the share of each class that it has among them."""
    by_class = positions[labels[positions].argsort(stable=True)]
    return by_class[evenly_spaced(len(by_class), most)].sort().values
