"""The learning rates of the encoders of `all-weather`, tried on training images alone: of hardening each against masks,
for the default and for the specialists alike, and of pretraining the small ViT.

Writes the encoder's part of docs/results/rates.{json,md}; what is trained already is taken from the store, which is the
study's own.

    python -m benchmarks.rates ENCODER --data DIR --store STORE
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.trials import JUDGES, Row, command_line, record_of, rows_of, top1, write
from weatherproof.data import ImageSet
from weatherproof.studies.lab.store import Store
from weatherproof.studies.weather.all_weather import Models
from weatherproof.studies.weather.scales import (
    DESK,
    GROWING,
    LEVELS,
    LITE,
    ORIGINAL,
    RESNET,
    SEVERE,
    SEVERE_GROWING,
    SQUEEZE,
    TINY,
    VIT,
    Subject,
)

KIND = "masks"
RATES = (3e-4, 1e-3, 3e-3)
RECIPES = (SEVERE, SEVERE_GROWING, GROWING)


@dataclass(frozen=True)
class Trials:
    """The rates that are tried of an encoder.

    Attributes:
        hardening: with each of these, the pretraining that gave the best clean images before it.
        pretraining: none: that of the study.
    """

    subject: Subject
    hardening: Sequence[float] = RATES
    pretraining: Sequence[float] = ()

    def __call__(self, store: Store, images: ImageSet, seed: int) -> Iterator[Row]:
        """Top-1 on clean images after each pretraining; clean and at every level after each hardening."""
        kind, clean = self.subject.kinds[KIND], dict[float, float]()
        for rate in self.pretraining:
            model = store.get(Models(self._pretrained(rate), seed).classifier(ORIGINAL, kind))
            clean[rate] = top1(model, images, "Chain()")
            yield {"recipe": "pretraining", "lr": rate, "top1": {"clean": clean[rate]}}
        best = self._pretrained(max(clean, key=clean.__getitem__)) if clean else self.subject
        operators = {"clean": "Chain()", **dict(zip(LEVELS, kind.levels, strict=True))}
        for recipe in RECIPES:
            for rate in self.hardening:
                own = replace(best, plan={**best.plan, "lr": rate})
                model = store.get(Models(own, seed).classifier(recipe, kind))
                found = {name: top1(model, images, operator) for name, operator in operators.items()}
                yield {"recipe": recipe, "lr": rate, "top1": found}

    def _pretrained(self, rate: float) -> Subject:
        assert self.subject.pretraining is not None
        return replace(self.subject, pretraining={**self.subject.pretraining, "lr": rate})


TRIALS: Mapping[str, Trials] = {
    RESNET: Trials(DESK.subjects[RESNET]),
    SQUEEZE: Trials(DESK.subjects[SQUEEZE], (1e-4, 3e-4, 1e-3)),  # 1e-3 is too much for a specialist
    LITE: Trials(DESK.subjects[LITE]),
    VIT: Trials(DESK.subjects[VIT], pretraining=(1e-3, 3e-3)),
    # some digits are left to judge by, and a network this small bears larger rates
    TINY: Trials(replace(DESK.subjects[TINY], train_images=1_000), (*RATES, 1e-2, 2.4e-2)),
}


def page(found: Mapping[str, Any]) -> str:
    """A table for each encoder."""
    lines = [
        "# Learning rates", "",
        "The encoders of [all-weather](all-weather/all-weather.md), hardened as there against masks, at several rates; "
        f"top-1 in per cent on *other training* images, at most {JUDGES:,}, one draw of each damage. The specialists "
        "have as many trials as the default, which is shown without its gate.", "",
    ]  # fmt: skip
    for name in TRIALS:
        if name in found:
            lines += [f"## {name}", "", *_part(TRIALS[name].subject, found[name]), ""]
    return "\n".join(lines[:-1]) + "\n"


def _part(subject: Subject, part: Mapping[str, Any]) -> Iterator[str]:
    first = "" if subject.pretraining is None else ", pretrained on the same images by SimCLR"
    yield f"{subject.facts}{first}. `{part['command']}`, {part['machine']['processor']}."
    yield ""
    yield f"| recipe | rate | clean | {' | '.join(LEVELS)} | mean of the levels |"
    yield "|---" * (len(LEVELS) + 4) + "|"
    for row in part["rows"]:
        levels = [row["top1"][level] for level in LEVELS if level in row["top1"]]
        cells = [f"{100 * row['top1']['clean']:.1f}", *(f"{100 * own:.1f}" for own in levels)]
        cells += [f"{100 * statistics.mean(levels):.1f}"] if levels else [""] * (len(LEVELS) + 1)
        yield f"| {row['recipe']} | {row['lr']:g} | {' | '.join(cells)} |"


def main() -> None:
    """The command line."""
    parser = command_line("rates", __doc__)
    parser.add_argument("encoder", choices=TRIALS)
    given = parser.parse_args()
    trials = TRIALS[given.encoder]
    command = f"rates {json.dumps(given.encoder) if ' ' in given.encoder else given.encoder}"
    part = rows_of(command, given, trials.subject, trials)
    file = record_of("rates")
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    write("rates", {**known, given.encoder: part}, page)


if __name__ == "__main__":
    main()
