"""What a suite of corruptions comes to, in sentences."""

import math
from collections.abc import Mapping, Sequence

from weatherproof.benchmark import COMMON
from weatherproof.reports.suite.records import in_order, members, whole_words
from weatherproof.reports.suite.subjects import Subject, split
from weatherproof.reports.suite.tables import total_lines
from weatherproof.reports.verdict import CLEAR, Bar, Verdict, clean_too, compared, counted, make_verdict
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

NAMED = 4  # subjects in the headline; the others are in the tables


def headline(
    records: Sequence[JsonRecord], planned: Mapping[str, str] | None = None, operator: str | None = None
) -> Verdict:
    """The headline of a run: that of its suite where it has one. `planned`: as for `split`; `operator`: for
    `make_verdict`."""
    subjects, _ = split(records, planned)
    return suite_verdict(subjects) if subjects else make_verdict(records, operator)


def suite_verdict(subjects: Sequence[Subject]) -> Verdict:
    """The headline of a suite: mean accuracy under corruption beside that on clean images, the worst corruption, and
    what the models had seen of the suite in their training."""
    measured = [s for s in subjects if s.suite is not None and words.finite(s.totals["mca", s.suite].get("value"))]
    if not measured:
        return _unfinished(subjects)
    whole = max((str(s.suite) for s in measured), key=lambda name: sum(s.suite == name for s in measured))
    own = [s for s in measured if s.suite == whole]
    lines = total_lines(own, "mca", whole)
    alike = [s for s, record in zip(own, lines[0].records, strict=True) if record is not None]
    return Verdict(
        sentence=_sentence(alike, whole),
        beside=(
            *_incomplete(alike),
            *_clean(alike),
            *_counts(alike),
            *_worst(alike),
            *_further(alike, whole),
            *(text for s in subjects if (text := _contamination(s, whole, alone=len(subjects) == 1))),
        ),
        caption=f"Mean accuracy · {_over(whole)}",
        bars=tuple(_bar(subject, _mean(subject, whole)) for subject in alike),
    )


def _is_pair(subjects: Sequence[Subject]) -> bool:
    """Before and after, and nothing else."""
    return len(subjects) == 2 and {"teacher", "hardened"} == {s.model for s in subjects}


def _mean(subject: Subject, whole: str) -> JsonRecord:
    return subject.totals["mca", whole]


def _over(whole: str) -> str:
    return f"the {len(COMMON[whole])} common corruptions" if whole in COMMON else whole_words(whole)


def _subject(subject: Subject) -> str:
    """Its name as the subject of a sentence."""
    first, _, rest = subject.name.partition(", ")
    if first != words.MODEL_WORDS.get(subject.model):
        return subject.name
    return f"the {first} encoder" + (f" of {rest}" if rest else "")


def _sentence(subjects: Sequence[Subject], whole: str) -> str:
    over = f"Over {_over(whole)}"
    values = [float(_mean(s, whole)["value"]) for s in subjects]
    shown = [words.quantity("mca", value) for value in values]
    clean = subjects[0].clean.get("top1")
    if len(subjects) == 1:
        against = f", against {words.quantity('top1', clean['value'])} of the clean ones" if clean else ""
        return f"{over}, {_subject(subjects[0])} is right on {shown[0]} of the images{against}."
    if _is_pair(subjects):
        before, after = (next(i for i, s in enumerate(subjects) if s.model == m) for m in ("teacher", "hardened"))
        change = _change(*(_mean(subjects[i], whole) for i in (before, after)))
        own = shown[before] if change > 0 else f"on {shown[before]}"
        return compared(over, own, f"is right on {shown[after]} of the images", change)
    order = sorted(range(len(subjects)), key=lambda i: -values[i])
    first, *others = [f"{_subject(subjects[i])} {'is right ' if i == order[0] else ''}on {shown[i]}" for i in order]
    more = [f"{len(others) - NAMED + 1} more below"] if len(others) >= NAMED else []
    return f"{over}, {first} of the images, {words.listed([*others[: NAMED - 1], *more])}."


def _incomplete(subjects: Sequence[Subject]) -> list[str]:
    """That a mean is not over everything that its name says."""
    found = dict.fromkeys((len(s.missing), len(s.expected)) for s in subjects if s.missing and s.cells)
    return [f"Not complete: {n} of {total} conditions were not measured." for n, total in found]


def _clean(subjects: Sequence[Subject]) -> list[str]:
    known = {s.model: s.clean["top1"]["value"] for s in subjects if words.finite(s.clean.get("top1", {}).get("value"))}
    if len(subjects) == 1 or not known:
        return []
    if _is_pair(subjects) and len(known) == 2:
        return [clean_too("top1", known["teacher"], known["hardened"])]
    each = [f"{_subject(s)} {words.quantity('top1', s.clean['top1']['value'])}" for s in subjects if "top1" in s.clean]
    return [f"On clean images: {', '.join(each)}."]


def _worst(subjects: Sequence[Subject]) -> list[str]:
    """The corruption that costs each subject most, by its mean over the severities."""
    phrases = []
    for subject in subjects:
        means = {n: float(r["value"]) for n, r in _means(subject).items()}
        if len(means) < 2:
            continue
        order = sorted(means, key=lambda n: means[n])
        worst, best = (
            f"{words.corruption_words(n)} ({words.quantity('top1', means[n])})" for n in (order[0], order[-1])
        )
        if len(subjects) == 1:
            return [f"Worst is {worst}, best {best}, each averaged over its severities."]
        phrases.append(f"for {_subject(subject)} {worst}")
    return [f"The worst corruption is {words.listed(phrases)}."] if phrases else []


def _means(subject: Subject) -> dict[str, JsonRecord]:
    """By corruption, the accuracy over its severities."""
    return {n: r for (metric, n), r in subject.means.items() if metric == "top1" and words.finite(r.get("value"))}


def _counts(subjects: Sequence[Subject]) -> list[str]:
    """On how many corruptions hardening helped, hurt, or made no clear difference."""
    if not _is_pair(subjects):
        return []
    before, after = (_means(next(s for s in subjects if s.model == model)) for model in ("teacher", "hardened"))
    shared = [n for n in after if n in before and after[n].get("protocol") == before[n].get("protocol")]
    if len(shared) < 2:
        return []
    return [f"Corruption by corruption it is {counted([_change(before[n], after[n]) for n in shared], 'on')}."]


def _change(before: JsonRecord, after: JsonRecord) -> float:
    """What changed, 0 where the standard errors explain it. Both saw the same images, so this errs on the careful
    side."""
    change = float(after["value"]) - float(before["value"])
    errors = [r.get("stderr") for r in (before, after)]
    return change if abs(change) > CLEAR * math.hypot(*(e for e in errors if words.finite(e))) else 0.0


def _further(subjects: Sequence[Subject], whole: str) -> list[str]:
    """The benchmark's own 15 where more were measured, and mCE where the classes allow it."""
    sentences = []
    for subject in subjects if len(subjects) == 1 else ():
        fifteen = subject.totals.get(("mca", "common-15"), {}).get("value")
        if whole == "common-19" and words.finite(fifteen):
            sentences.append(f"Over the 15 of the benchmark alone it is right on {words.quantity('mca', fifteen)}.")
        mce = next((subject.totals[key] for key in (("mce", "common-15"), ("mce", whole)) if key in subject.totals), {})
        if words.finite(mce.get("value")):
            sentences.append(f"Its mCE is {words.number('mce', mce['value'])}: AlexNet has 100, lower is better.")
    return sentences


def _contamination(subject: Subject, whole: str, alone: bool) -> str:
    if not subject.trained_on:
        return ""
    name = _subject(subject)  # one that the user gave stays as it is
    who = "This model" if alone else f"T{name[1:]}" if name.startswith("the ") else name
    seen = [words.corruption_words(name) for name in in_order(subject.seen)]
    if not seen:
        trained = words.operator_words(subject.trained_on)
        return f"{who} was trained on {trained}: it has seen none of these corruptions."
    sentence = f"{who} was trained on {words.listed(seen)}"
    unseen, own = (subject.totals.get(("mca", name)) for name in ("unseen", "seen"))
    count = len(set(members(whole) or subject.corruptions) - subject.seen)
    if unseen is None or words.missing(unseen.get("value")):
        return f"{sentence}, which {'is' if len(seen) == 1 else 'are'} part of this suite."
    others = f"{count} corruptions" if count > 1 else "one"
    sentence += f"; on the {others} it has never seen it scores {words.quantity('mca', unseen['value'])}"
    if own is None or words.missing(own.get("value")):
        return f"{sentence}."
    what = "the one" if len(seen) == 1 else f"the {len(seen)}"
    return f"{sentence}, on {what} it has seen {words.quantity('mca', own['value'])}."


def _bar(subject: Subject, record: JsonRecord) -> Bar:
    value = float(record["value"])
    return Bar(
        model=subject.model,
        words="",
        text=words.quantity("mca", value),
        fraction=min(1.0, max(0.0, value)),
        name=subject.name,
        colour=subject.style.colour,
    )


def _unfinished(subjects: Sequence[Subject]) -> Verdict:
    """No mean over the suite: how far it got."""
    phrases = []
    for subject in subjects:
        done = len(subject.expected) - len(subject.missing)
        phrases.append(f"{_subject(subject)} was measured on {done} of {len(subject.expected)} conditions")
    sentence = f"No mean over the suite: {words.listed(phrases)}."
    return Verdict(sentence, tuple(_worst(subjects)), "", ())
