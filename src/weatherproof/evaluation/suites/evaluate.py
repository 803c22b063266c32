"""A classifier under a whole suite of corruptions, in one pass over the images; resumable, in a given time, shared out.

Memory is bounded by the block and by what is kept of all answers in the end: 14 MB for 75 conditions x 10,000 images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.conditions import Case
from weatherproof.evaluation.engine.run import Settings, require_measurable, run, weights_digest
from weatherproof.evaluation.engine.trials import Columns, Look, Models, answer
from weatherproof.evaluation.metrics.named import metric_columns
from weatherproof.evaluation.record import Record
from weatherproof.evaluation.suites.records import Summary
from weatherproof.evaluation.suites.sets import case_metrics, suite_of
from weatherproof.progress import phase
from weatherproof.readouts import evaluating, require_logits
from weatherproof.types import Logits

_CLASSIFIER, _DEFAULT = "the classifier", Settings()


@dataclass(frozen=True, eq=False)
class CaseTrial:
    """The answers of a classifier in one case: 14 bytes an image, with its place.

    Attributes:
        metrics: what is kept is what they need.
        classes: how many outputs there have to be.
        data: the images' name, for messages.
    """

    case: Case
    metrics: tuple[str, ...]
    classes: int
    data: str

    @property
    def label(self) -> str:
        return self.case.label

    @property
    def words(self) -> str:
        return self.case.label

    @property
    def positions(self) -> Int64[Tensor, "m"] | None:
        return self.case.positions

    def __call__(self, models: Models, look: Look) -> Columns:
        classifier = models[_CLASSIFIER]
        with evaluating(classifier):
            logits = answer(classifier, look.damaged(self.case.operator), look.realization_keys()).float()
            if logits.shape[1] < self.classes:
                raise InputError(
                    f"{_CLASSIFIER} has {logits.shape[1]} outputs, but {self.data!r} has {self.classes} classes: "
                    f"give a classifier for these classes"
                )
            require_logits(_CLASSIFIER, logits)
            return metric_columns(self.metrics, logits, look.labels)


@dataclass(frozen=True)
class SuiteResult:
    """What a suite came to.

    Attributes:
        records: the numbers.
        images: how many images the set has.
        missing: labels of the conditions that were not reached: "fog/3".
        fewest: how many images the condition with the fewest rests on, of those that were reached.
        complete: nothing is left to do.
        answers: by the conditions' labels, with the columns of `metrics.named`.
    """

    records: tuple[Record, ...]
    images: int
    missing: tuple[str, ...]
    fewest: int
    complete: bool
    answers: Mapping[str, Answers]


def evaluate_suite(
    classifier: Callable[..., Logits],
    images: ImageSet,
    cases: Sequence[Case],
    settings: Settings = _DEFAULT,
    *,
    suite: str | None = None,
    model: str = "model",
    data: str | None = None,
    readout: str | None = None,
    label_fraction: float | None = None,
    trained_on: str | None = None,
) -> SuiteResult:
    """Measure a classifier under every condition of a suite, on the same images.

    The damage is that of `evaluate`'s first realization: it depends on (seed, image index, condition) alone, whatever
    the batches, the interruptions and the processes.

    Args:
        classifier: images -> logits; a module is moved to the settings' device and used in evaluation mode.
        images: all of them have labels.
        cases: from `cases_on_the_fly` or `cases_of_parts`.
        settings: how it is done: seed, batches, folder, processes and time.
        suite: what the records of the whole are called; None: the known suite that the cases are, or "all".
        model: what the records call the classifier.
        data, readout, label_fraction, trained_on: for the records.

    Raises:
        InputError: no images, images without labels, a classifier with fewer outputs than there are classes, answers in
            the folder to something else, or a process that failed.
    """
    require_measurable(images, "a suite")
    metrics = case_metrics(images)
    trials = [CaseTrial(case, metrics, len(images.classes), images.name) for case in cases]
    conditions = [[c.label, c.text or repr(c.operator), c.parameters, c.count(images)] for c in cases]
    whole = suite or suite_of(cases)
    facts = {"weights": weights_digest(classifier), "conditions": conditions, "metrics": metrics}
    found = run(
        {_CLASSIFIER: classifier}, trials, images, settings, name="suite", title=f"{whole} on {model}", facts=facts
    )
    about = {"readout": readout, "label_fraction": label_fraction}
    summary = Summary(images, cases, found.answers, whole, model, settings.seed, data, trained_on, about)
    with phase("standard errors"):
        records = tuple(summary.records())
    most = max(case.count(images) for case in cases)
    return SuiteResult(records, most, found.missing, found.fewest, found.complete, found.answers)
