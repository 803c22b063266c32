"""One plain sentence made from the numbers, whichever way they went."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weatherproof.reports.tables import CONDITION, condition_order, model_order
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

READOUT_ORDER = ("zero-shot", "own-head", "probe", "clean-probe", "knn")  # fewest labels first; then whatever there is
CLEAR = 2.0  # standard errors of the difference below which it is called unclear (about 95 %)


@dataclass(frozen=True)
class Bar:
    """One model's number under the headline's condition. `name` and `colour`: where they are not the model's own."""

    model: str
    words: str
    text: str
    fraction: float  # of the bar's length, in [0, 1]
    name: str = ""
    colour: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The headline, what must be said beside it, and the numbers it rests on."""

    sentence: str
    beside: tuple[str, ...]
    caption: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Pair:
    """Before and after under one condition, measured alike."""

    before: JsonRecord
    after: JsonRecord

    @property
    def change(self) -> float:
        return float(self.after["value"]) - float(self.before["value"])

    @property
    def clear(self) -> bool | None:
        """Whether the change is larger than the draws of the damage explain, or with a single draw the choice of the
        images; not the training seed. None: not known."""
        errors = [_error(record) for record in (self.before, self.after)]
        known = [error for error in errors if error is not None]
        if self.change == 0:
            return False
        return abs(self.change) > CLEAR * math.hypot(*known) if len(known) == len(errors) else None


def make_verdict(records: Sequence[JsonRecord], operator: str | None = None) -> Verdict:
    """The headline of a run.

    The condition is the one the model was trained for where it was measured, or the one that was asked for, otherwise
    the middle one by severity; never the one that looks best. Readout and labels are the same on both sides.

    Args:
        operator: text of the operator that the run was asked to measure under.
    """
    real = [r for r in records if not words.missing(r.get("value"))]
    if not real:
        return Verdict("No number could be measured: every value is n/a.", (), "", ())
    metric = min((str(r["metric"]) for r in real), key=words.preference)
    usable = [r for r in real if r["metric"] == metric]
    pairs = _pairs(usable)
    if not pairs:
        return _single(usable, operator)
    damaged = [p for p in pairs if not words.is_clean(p.after)]
    chosen = _choose(damaged or pairs)
    return Verdict(
        sentence=_sentence(chosen),
        beside=tuple(_beside(chosen, pairs, damaged, usable)),
        caption=_caption(chosen.after),
        bars=_bars(chosen.after, usable),
    )


def _setting(record: JsonRecord, *, readout: bool = True) -> tuple[str, ...]:
    names = ("data", "label_fraction", "protocol", *CONDITION, *(["readout"] if readout else []))
    return tuple(str(record.get(name)) for name in names)


def _pairs(records: Sequence[JsonRecord]) -> list[Pair]:
    """Every (before, after) that differs in the model alone; before = the original, after = the hardened model."""
    models = list(dict.fromkeys(str(r.get("model")) for r in sorted(records, key=model_order(records))))
    if "teacher" not in models or "hardened" not in models:
        return []
    before = {_setting(r): r for r in records if r.get("model") == "teacher"}
    after = [r for r in sorted(records, key=condition_order) if r.get("model") == "hardened"]
    return [Pair(before[_setting(r)], r) for r in after if _setting(r) in before]


def _choose(pairs: Sequence[Pair]) -> Pair:
    def readout_order(pair: Pair) -> tuple[int, float]:
        readout, fraction = pair.after.get("readout"), pair.after.get("label_fraction")
        place = READOUT_ORDER.index(readout) if readout in READOUT_ORDER else len(READOUT_ORDER)
        return place, -fraction if words.finite(fraction) else 0.0

    best = min(map(readout_order, pairs))
    alike = [p for p in pairs if readout_order(p) == best]
    trained = [p for p in alike if _same(p.after.get("operator"), p.after.get("trained_on"))]
    return trained[0] if trained else alike[len(alike) // 2]


def _same(operator: str | None, other: str | None) -> bool:
    """Whether two texts say the same damage, however it is written."""
    return bool(operator and other) and words.operator_words(str(operator)) == words.operator_words(str(other))


def _error(record: JsonRecord) -> float | None:
    """The standard error over draws; of a share that was drawn once, over images; None where it is not known."""
    stderr, value, images = (record.get(name) for name in ("stderr", "value", "images"))
    if words.finite(stderr):
        return stderr
    single = record.get("realizations") == 1 and words.metric_words(str(record.get("metric"))).percent
    if single and words.finite(value) and words.finite(images) and images > 1:
        return math.sqrt(max(0.0, value * (1 - value)) / images)
    return None


def _where(record: JsonRecord) -> str:
    if record.get("attack"):
        return f"Under {words.condition_words(record)}"
    return "On clean images" if words.is_clean(record) else f"With {words.condition_words(record)}"


def _does(metric: str, value: float) -> str:
    """What a model does, as a verb phrase."""
    shown = words.quantity(metric, value)
    match metric:
        case "top1":
            return f"is right on {shown} of the images"
        case "top5":
            return f"has the truth among its first five guesses on {shown} of the images"
        case "recall@1":
            return f"finds the right image first for {shown} of the queries"
        case "recall@5":
            return f"finds the right image among five for {shown} of the queries"
        case "agreement":
            return f"gives the clean image's answer for {shown} of the images"
        case "cosine":
            return f"stays at cosine similarity {shown} to the clean embedding"
    return f"reaches {words.metric_words(metric).words} {shown}"


def _sentence(pair: Pair) -> str:
    metric = str(pair.after["metric"])
    before, after = words.quantity(metric, pair.before["value"]), _does(metric, float(pair.after["value"]))
    if pair.clear is None:
        return (
            f"{_where(pair.after)}, the hardened encoder {after}, the original {before}: how clear that is, one draw "
            "cannot tell."
        )
    return compared(_where(pair.after), before, after, pair.change if pair.clear else 0)


def compared(where: str, before: str, after: str, change: float) -> str:
    """What hardening has brought: `before` the original's number, `after` what the hardened encoder does, and a change
    of 0 where it is not clear."""
    if change == 0:
        return f"{where}, hardening makes no clear difference: the hardened encoder {after}, the original {before}."
    if change < 0:
        return f"{where}, the hardened encoder is worse than the original: it {after}, the original {before}."
    return f"{where}, the hardened encoder {after}, where the original manages {before}."


def clean_too(metric: str, before: float, after: float) -> str:
    """The same of the clean images, with as many digits as tell the two apart in a table."""
    numbers = [words.quantity(metric, value) for value in (before, after)]
    if numbers[0] == numbers[1]:
        unit = " %" if words.metric_words(metric).percent else ""
        numbers = [f"{words.number(metric, value)}{unit}" for value in (before, after)]
    how = "the same on" if numbers[0] == numbers[1] else "lower on" if after < before else "higher on"
    return f"It is {how} clean images: {numbers[1]}, against {numbers[0]} before."


def counted(changes: Sequence[float], where: str) -> str:
    """ "better in 3, worse in 1", where 0 is no clear change."""
    kinds = {
        "better": sum(change > 0 for change in changes),
        "worse": sum(change < 0 for change in changes),
        "too close to tell": sum(change == 0 for change in changes),
    }
    return ", ".join(f"{how} {where} {n if n < len(changes) else f'all {n}'}" for how, n in kinds.items() if n)


def _beside(chosen: Pair, pairs: Sequence[Pair], damaged: Sequence[Pair], records: Sequence[JsonRecord]) -> list[str]:
    """What a fair reader wants to know next: clean images, the rival with labels, and every other condition."""
    sentences = []
    metric = str(chosen.after["metric"])
    alike = [p for p in pairs if p.after.get("readout") == chosen.after.get("readout")]
    alike = [p for p in alike if p.after.get("label_fraction") == chosen.after.get("label_fraction")]
    clean = [p for p in alike if words.is_clean(p.after)]
    if clean and chosen is not clean[0]:
        sentences.append(clean_too(metric, *(float(r["value"]) for r in (clean[0].before, clean[0].after))))
    rivals = [r for r in records if r.get("model") == "supervised" and _same_damage(r, chosen.after)]
    if rivals:
        rival = max(rivals, key=lambda r: -1.0 if words.missing(r.get("label_fraction")) else r["label_fraction"])
        labels = words.labels_words(rival.get("label_fraction")) or "labels"
        sentences.append(f"A network trained on the same damage with {labels} {_does(metric, float(rival['value']))}.")
    if len(damaged) > 1:
        shown = counted([p.change if p.clear else 0 for p in damaged], "in")
        start = "It" if len(damaged) <= len(alike) else "Counting every readout and amount of labels, it"
        sentences.append(f"{start} is {shown} comparisons under damage.")
    return sentences


def _same_damage(a: JsonRecord, b: JsonRecord) -> bool:
    return all(a.get(name) == b.get(name) for name in ("data", "protocol", *CONDITION))


def _caption(record: JsonRecord) -> str:
    parts = [words.metric_words(record["metric"]).words, str(record.get("data") or "")]
    return " · ".join(part for part in (*parts, words.condition_words(record)) if part)


def _bars(chosen: JsonRecord, records: Sequence[JsonRecord]) -> tuple[Bar, ...]:
    """Every model under the chosen condition: with the chosen readout and labels, or its own best-labelled ones."""
    alike = [r for r in records if _same_damage(r, chosen)]
    picked = []
    for model in dict.fromkeys(str(r.get("model")) for r in sorted(alike, key=model_order(alike))):
        own = [r for r in alike if str(r.get("model")) == model]
        same = [r for r in own if _setting(r) == _setting(chosen)]
        picked.append((same or sorted(own, key=lambda r: r.get("label_fraction") or 0.0))[-1])
    return tuple(_bar(r) for r in picked)


def _bar(record: JsonRecord) -> Bar:
    metric, value = str(record["metric"]), float(record["value"])
    return Bar(
        model=str(record.get("model")),
        words=", ".join(
            part
            for part in (words.readout_words(record.get("readout")), words.labels_words(record.get("label_fraction")))
            if part
        ),
        text=words.quantity(metric, value),
        fraction=min(1.0, max(0.0, value)),
    )


def _most_labels(records: Sequence[JsonRecord]) -> JsonRecord:
    """The first of those with most labels."""
    return max(records, key=lambda r: r["label_fraction"] if words.finite(r.get("label_fraction")) else 0.0)


def _since_the_start(chosen: JsonRecord, records: Sequence[JsonRecord]) -> list[str]:
    """What pretraining has brought, and what few labels do."""
    metric, sentences = str(chosen["metric"]), []
    start = [r for r in records if r.get("model") == "start" and _setting(r) == _setting(chosen)]
    if start:
        sentences.append(f"The encoder that it started as {_does(metric, float(start[0]['value']))}.")
    alike = ("model", "readout", "data", *CONDITION)
    fewer = [r for r in records if all(r.get(name) == chosen.get(name) for name in alike) and r is not chosen]
    for record in sorted(fewer, key=condition_order, reverse=True):
        labels = words.labels_words(record.get("label_fraction"))
        sentences += [f"With {labels} it {_does(metric, float(record['value']))}."] if labels else []
    return sentences


def _beside_the_frozen(chosen: JsonRecord, clean: Sequence[JsonRecord], records: Sequence[JsonRecord]) -> list[str]:
    """What the encoder does that was not fine-tuned, with a probe on the same labels."""
    metric = str(chosen["metric"])
    frozen = [r for r in records if r.get("model") == "frozen"]
    here, there = ([r for r in frozen if _same_damage(r, o)] for o in (chosen, clean[0] if clean else chosen))
    if not here:
        return []
    also = f", and {words.quantity(metric, there[0]['value'])} of clean ones" if clean and there else ""
    return [f"The frozen encoder with a probe {_does(metric, float(here[0]['value']))}{also}."]


def _single(records: Sequence[JsonRecord], operator: str | None) -> Verdict:
    """No pair to compare: how the hardened, pretrained, fine-tuned or else the first model does, under the condition
    that was asked for, else the middle one."""
    ordered = sorted(records, key=condition_order)
    models = list(dict.fromkeys(str(r.get("model")) for r in records))
    model = next((name for name in ("hardened", "pretrained", "fine-tuned") if name in models), models[0])
    own = [r for r in ordered if str(r.get("model")) == model]
    damaged = [r for r in own if not words.is_clean(r)]
    wanted = [r for r in damaged if _same(r.get("operator"), operator)]
    middle = damaged[len(damaged) // 2 :]
    chosen = next(iter((*wanted, *middle)), None) or _most_labels(own)
    metric = str(chosen["metric"])
    clean = [r for r in own if words.is_clean(r) and _setting(r)[:2] == _setting(chosen)[:2] and r is not chosen]
    clean = [r for r in clean if r.get("readout") == chosen.get("readout")]
    sentences = [f"On clean images it {_does(metric, float(clean[0]['value']))}."] if clean else []
    sentences += _since_the_start(chosen, records) if model == "pretrained" else []
    sentences += _beside_the_frozen(chosen, clean, records) if model == "fine-tuned" else []
    name = words.model_words(model)
    subject = f"the {name} encoder" if model in words.MODEL_WORDS else name
    return Verdict(
        sentence=f"{_where(chosen)}, {subject} {_does(metric, float(chosen['value']))}.",
        beside=tuple(sentences),
        caption=_caption(chosen),
        bars=_bars(chosen, records),
    )
