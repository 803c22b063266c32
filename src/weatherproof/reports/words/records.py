"""Plain words for what a record says: conditions, models, readouts, metrics, numbers. No text here is HTML."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from weatherproof.benchmark import COMMON_19
from weatherproof.reports.words.attacks import attack_words, family_words
from weatherproof.spec import names_a_file

JsonRecord = Mapping[str, Any]  # one entry of results.json, as in the architecture: metric, value, stderr, ...

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
MODEL_ORDER = ("teacher", "hardened", "supervised", "restored")  # before, after, rivals; other names follow
MODEL_WORDS = {"teacher": "original", "start": "before training"} | {
    name: name for name in (*MODEL_ORDER[1:], "pretrained", "frozen", "fine-tuned")
}
GAUGE = "gauge"  # a readout that looks at images as they are, clean or not
READOUT_WORDS = {
    "own-head": "own head",
    "zero-shot": "classes by words",
    "probe": "linear probe",
    "clean-probe": "linear probe from clean images",
    "knn": "nearest neighbours",
    "end-to-end": "trained end to end",
    GAUGE: "gauge",
}
METHOD_WORDS = {"simclr": "SimCLR", "mocov2": "MoCo v2", "instdis": "InstDis", "pirl": "PIRL"} | {
    "supervised": "supervised training", "adversarial": "adversarial training", "augmix": "AugMix",
    "fcl": "feature contrastive learning", "xe-gaussian": "XE+Gaussian", "cl-gaussian": "CL+Gaussian",
    "patch-gaussian": "Patch Gaussian", "patch-gaussian-fcl": "Patch Gaussian+FCL",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its name, whether it reads as per cent, and which direction is better."""

    words: str
    percent: bool
    meaning: str
    higher_is_better: bool | None = True

    @property
    def title(self) -> str:
        """Its name, with its unit."""
        return self.words + (", %" if self.percent else "")


METRICS = {  # in order of preference for the headline
    "top1": Metric("Top-1 accuracy", True, "the first guess is right"),
    "mean_per_class": Metric("Mean accuracy per class", True, "the first guess is right; every class counts the same"),
    "auc": Metric("AUC", False, "area under the ROC curve; 0.5 is chance"),
    "recall@1": Metric("Recall at 1", True, "the damaged image finds its own clean image first"),
    "cosine": Metric("Cosine similarity", False, "between the embedding of the damaged image and the clean one"),
    "agreement": Metric("Agreement", True, "the same first guess as the same model gives for the clean image"),
    "top5": Metric("Top-5 accuracy", True, "the truth is among the first five guesses"),
    "recall@5": Metric("Recall at 5", True, "the damaged image finds its own clean image among the first five"),
    "position_recall": Metric(
        "Recall of positions", True, "a place of the damaged image's map finds its own in the clean image's first"
    ),
    "mca": Metric("Mean accuracy", True, "mean over corruptions of the mean over their severities"),
    "error": Metric("Error", True, "the first guess is wrong", higher_is_better=False),
    "mce": Metric("mCE", True, "errors over AlexNet's, mean over corruptions; AlexNet is 100", False),
    "relative_mce": Metric("Relative mCE", True, "the same with what each loses on clean images taken off", False),
    "unnormalised_mce": Metric("Unnormalised mCE", True, "100 less the mean accuracy", False),
    "rms_calibration_error": Metric("RMS calibration error", True, "confidence against accuracy, in bins", False),
    "ece": Metric("Expected calibration error", True, "confidence against accuracy, in bins", False),
    "mean_rms_calibration_error": Metric("Mean RMS calibration error", True, "mean over the sets", False),
    "mean_ece": Metric("Mean expected calibration error", True, "mean over the sets", False),
    "knn_accuracy": Metric("k-NN accuracy", True, "vote of the nearest training images"),
    # no better and no worse: an encoder that makes all images alike has the lowest alignment there is
    "alignment": Metric("Alignment", False, "squared distance of two views; 0: they are alike", None),
    "uniformity": Metric("Uniformity", False, "the lower, the more evenly spread", None),
    "effective_rank": Metric("Effective rank", False, "of the embeddings; 1: they are one point", None),
    "embedding_deviation": Metric("Standard deviation", False, "of the embeddings; 0: they are one point", None),
    "corner_utility": Metric("Utility in the corners", True, "share of all utility in the four corner boxes", None),
    "rank_correlation": Metric("Rank correlation", False, "of utility and sensitivity, over an image's elements", None),
    "identity_error": Metric("Error of the identity", False, "u against abs(d f_y / d x) / f_y, relative", False),
    "median_perturbation": Metric("Median perturbation", False, "half of the images are misclassified by less"),
    "attack_failures": Metric("Failures of the attack", True, "images that it could not get misclassified", None),
    "beyond": Metric("Beyond training", True, "more damaged than what training saw, or unlike it", False),
    "damaged": Metric("Damaged", True, "the gauge sees damage of some kind", False),
    "clean": Metric("Clean", True, "the gauge sees no damage"),
    "level": Metric("Mean level", False, "0: all are clean; 1: all are as damaged as the worst of training", False),
    "damage_probability": Metric("Mean probability of damage", True, "as the gauge tells it of each image", False),
    "images_of_a_class": Metric("Images of a class", False, "mean over the classes", None),
}


def metric_words(name: str) -> Metric:
    """A metric's words; an unknown one keeps its name, and no direction is called better."""
    return METRICS.get(name) or Metric(name, False, "", higher_is_better=None)


def preference(name: str) -> int:
    """The place of a metric in the order in which a reader wants them; unknown ones come last."""
    known = list(METRICS)
    return known.index(name) if name in known else len(known)


def model_words(name: str | None) -> str:
    return MODEL_WORDS.get(name or "", name or "n/a")


def readout_words(name: str | None) -> str:
    return READOUT_WORDS.get(name or "", name or "")


def method_words(name: str | None) -> str:
    return METHOD_WORDS.get(name or "", name or "")


def finite(value: Any) -> TypeGuard[float]:
    """False where there is no number to show: None, NaN, infinite, or not a number at all."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def missing(value: Any) -> bool:
    return not finite(value)


def number(metric: str, value: Any, stderr: Any = None) -> str:
    """A value without its unit: per cent with one decimal, others with three; `n/a` where there is none, and `∞` of a
    median perturbation, which half of the images bear at all sizes.

    >>> number("top1", 0.8432, 0.004), number("cosine", 0.91234), number("top1", float("nan"))
    ('84.3 ± 0.4', '0.912', 'n/a')
    """
    if missing(value):
        return "∞" if metric == "median_perturbation" else "n/a"
    scale, digits = (100, 1) if metric_words(metric).percent else (1, 4 if metric == "median_perturbation" else 3)
    text = f"{value * scale:.{digits}f}"
    return text if missing(stderr) else f"{text} ± {stderr * scale:.{digits}f}"


def quantity(metric: str, value: Any) -> str:
    """A value with its unit, for a sentence: `84 %` (one decimal below 10 and above 99), `0.91`."""
    if missing(value):
        return "n/a"
    if not metric_words(metric).percent:
        return f"{value:.2f}"
    return percent(value)


def percent(fraction: float) -> str:
    """A fraction as per cent, with decimals only where rounding would mislead.

    >>> percent(0.1), percent(0.0153), percent(0.996), percent(1.0)
    ('10 %', '1.5 %', '99.6 %', '100 %')
    """
    digits = 0 if 0.0995 <= fraction <= 0.99 else 1
    return f"{100 * fraction:.{digits}f}".removesuffix(".0") + " %"


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["fog"]), listed(["fog", "snow", "frost"])
    ('fog', 'fog, snow and frost')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def sentence(note: str) -> str:
    """A note with a capital and a full stop, whichever way it was written down.

    >>> sentence("synthetic frost")
    'Synthetic frost.'
    """
    shown = note.strip()
    return shown[:1].upper() + shown[1:] + ("" if shown.endswith((".", "!", "?")) else ".")


def labels_words(fraction: Any) -> str:
    if missing(fraction):
        return ""
    return "all labels" if fraction >= 1 else f"{percent(fraction)} of the labels"


def call(text: str | None) -> ast.Call | None:
    """The operator's text as a syntax tree (never evaluated), or None where it is not a call or a bare name."""
    try:
        tree = ast.parse((text or "").strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    if isinstance(tree, ast.Name):
        return ast.Call(func=tree, args=[], keywords=[])
    return tree if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else None


def operator_words(text: str) -> str:
    """What an operator does, in words that follow "with"; text that is not understood comes back as it is.

    >>> operator_words("RandomMask(0.75)"), operator_words("Sometimes(RandomMask((0.5, 0.9)), 0.8)")
    ('75 % of the pixels missing', '50 to 90 % of the pixels missing on 80 % of the images')
    >>> operator_words("JPEG(50.0)"), operator_words("JPEG(50)")
    ('JPEG(50)', 'JPEG(50)')
    """
    tree = call(text)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value.is_integer():
            node.value = int(node.value)
    return (_in_words(tree) if tree else None) or text


def _in_words(tree: ast.expr) -> str:
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        return ast.unparse(tree)
    given = {str(keyword.arg): _literal(keyword.value) for keyword in tree.keywords}
    literals = [_literal(argument) for argument in tree.args]
    first = literals[0] if literals else given.get("fraction", given.get("sigma"))
    # Settings beyond the level stay visible, so that two operators never share their words.
    further = [ast.unparse(a) for a in tree.args[1:]] + [
        f"{k.arg}={ast.unparse(k.value)}" for k in tree.keywords if k.arg not in ("fraction", "sigma")
    ]
    match tree.func.id:
        case "Identity":
            return "no damage"
        case "RandomMask" if first is not None and not further:
            return f"{_span(first, 100)} % of the pixels missing"
        case "UniformNoise" if not further:
            return f"random grey on {_span(UNSAID[tree.func.id] if first is None else first, 100)} % of the pixels"
        case "GaussianNoise" if first is not None:
            return f"Gaussian noise ({', '.join([f'{SIGMA} {_span(first)}', *further])})"
        case "GaussianBlur" if first is not None:
            return f"Gaussian blur ({', '.join([f'{SIGMA} {_span(first)}', *further])})"
        case "Corruption" if isinstance(first, str) and len(literals) == 2 and not tree.keywords:
            return f"{corruption_words(first)} (severity {_span(literals[1])})"
        case "Chain" if tree.args:
            return ", then ".join(_in_words(argument) for argument in tree.args)
        case "OneOf" if tree.args:
            return " or ".join(_in_words(argument) for argument in tree.args)
        case "MixedChains" if tree.args:
            how = f" ({', '.join(further[len(tree.args) - 1 :])})" if tree.keywords else ""
            return f"mixed chains of {' and '.join(_in_words(argument) for argument in tree.args)}{how}"
        case "Sometimes" if tree.args and isinstance(p := given.get("p", (*literals, None)[1]), (int, float)):
            return f"{_in_words(tree.args[0])} on {percent(p)} of the images"
    return ast.unparse(tree)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _span(level: Any, scale: float = 1) -> str:
    if isinstance(level, (tuple, list)):
        return " to ".join(_span(end, scale) for end in level)
    return f"{level * scale:g}" if isinstance(level, (int, float)) else str(level)


def corruption_words(name: str) -> str:
    """
    >>> corruption_words("motion_blur"), corruption_words("jpeg_compression"), corruption_words("gaussian_blur")
    ('motion blur', 'JPEG compression', 'Gaussian blur')
    """
    return name.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")


_KINDS = {name: corruption_words(name) for name in COMMON_19} | {
    "clean": "clean", "RandomMask": "missing pixels", "GaussianNoise": "Gaussian noise",
    "GaussianBlur": "Gaussian blur", "JPEG": "JPEG compression", "Contrast": "low contrast", "contrast": "low contrast",
    "UniformNoise": "random grey pixels", "NonUniformNoise": "random grey pixels where images vary little",
}  # fmt: skip


def condition_words(record: JsonRecord) -> str:
    """What was done to the test images: `75 % of the pixels missing`, `fog, severity 3`, `clean images`."""
    if record.get("readout") == GAUGE:
        return "images as they are"
    parts = []
    if record.get("operator") and not record.get("corruption"):  # else the operator says the same again
        parts.append(operator_words(str(record["operator"])))
    if record.get("corruption"):
        severity = record.get("severity")
        parts.append(
            corruption_words(str(record["corruption"])) + (f", severity {severity:g}" if finite(severity) else "")
        )
    if record.get("attack"):
        text, size = str(record["attack"]), record.get("severity")
        whole = record.get("metric") == "median_perturbation"  # over all sizes
        parts.append(f"attack by {family_words(text) if whole else attack_words(text, size if finite(size) else None)}")
    return " and ".join(parts) or "clean images"


def is_clean(record: JsonRecord) -> bool:
    """Whether the images were as they are; `Chain()` of nothing changes none."""
    return record.get("operator") in (None, "", "Chain()") and not (record.get("corruption") or record.get("attack"))


def level(record: JsonRecord) -> tuple[str, float] | None:
    """(family, level) of a condition that stands on one axis, 0 where nothing happens: `("RandomMask", 0.75)`,
    `("fog", 3)`, of JPEG 100 less the quality; None otherwise."""
    severity = record.get("severity")
    if record.get("attack"):
        return None
    if record.get("corruption"):
        return (str(record["corruption"]), float(severity)) if finite(severity) else None
    tree = call(record.get("operator"))
    if tree is None or not isinstance(tree.func, ast.Name):
        return None
    settings = [*tree.args, *(keyword.value for keyword in tree.keywords)]
    first = _literal(settings[0]) if settings else None
    if tree.func.id == "Corruption" and isinstance(first, str) and len(settings) == 2:
        own = _literal(settings[1])
        return (first, float(own)) if finite(own) else None
    first = next((own for own in (first, severity, UNSAID.get(tree.func.id)) if finite(own)), None)
    if first is None:
        return None
    return tree.func.id, 100 - float(first) if tree.func.id == "JPEG" else float(first)


UNSAID = {"UniformNoise": 0.15, "NonUniformNoise": 0.15}  # levels that the texts of operators leave out
SHARES = ("RandomMask", "Contrast", "UniformNoise", "NonUniformNoise")  # families whose levels are shares of a whole


def axis_words(family: str) -> str:
    """The label of a severity axis."""
    known = {
        "RandomMask": "pixels missing, %",
        "GaussianNoise": f"noise, {SIGMA}",
        "GaussianBlur": f"blur, {SIGMA} in pixels",
        "JPEG": "100 less the JPEG quality",
        "Contrast": "contrast lost, %",
        "UniformNoise": "random grey pixels, %",
        "NonUniformNoise": "random grey pixels, %",
    }
    return known.get(family, f"{kind_words(family)}, severity")


def kind_words(family: str) -> str:
    """A kind of damage inside a sentence. Of the user's own function its name; another operator's text as it is.

    >>> kind_words("RandomMask"), kind_words("jpeg_compression"), kind_words("camera.py:dead_columns")
    ('missing pixels', 'JPEG compression', 'dead_columns')
    """
    if names_a_file(family):
        return family.rpartition(":")[2]
    return _KINDS.get(family, family)


def damage_words(family: str) -> str:
    """The same as a title.

    >>> damage_words("RandomMask"), damage_words("GaussianNoise"), damage_words("clean")
    ('Missing pixels', 'Gaussian noise', 'Clean')
    """
    name = kind_words(family)
    return name[:1].upper() + name[1:] if family in _KINDS else name
