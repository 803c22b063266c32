"""What a gauge would gain from a network's first features, and what they would cost: mild damage told from clean
photographs, by a logistic regression on statistics of the pixels, of the first features, and of both.

Writes docs/results/gauge-features.{json,md}.

    python -m benchmarks.gauge_features --data DIR
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.measure import machine
from weatherproof import random
from weatherproof.data import batches, load_images
from weatherproof.data.images import at_most
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.encoders.gauge.statistics import statistics
from weatherproof.operators import parse
from weatherproof.studies.lab.sets import located
from weatherproof.studies.weather.scales import DESK, LEVELS, LITE, RESNET
from weatherproof.training.footprint import operations

RESULTS = Path(__file__).parents[1] / "docs" / "results"
FITTED, JUDGED, BATCH = 800, 400, 50  # images, each once clean and once damaged
PLACES: Mapping[str, Mapping[str, str]] = {
    RESNET: {"first layer": "bn1", "first stage": "layer1"},
    LITE: {"first layer": "bn1", "first stage": "blocks.0"},
}
PIXELS = "pixels"
_SMALL = 1e-4  # what is added before a logarithm

Row = dict[str, Any]


class Looks:
    """What is seen of images at the places of one encoder."""

    def __init__(self, encoder: Encoder, places: Mapping[str, str]) -> None:
        self.encoder, self.maps = encoder, dict[str, Tensor]()
        for name, path in places.items():
            encoder.body.get_submodule(path).register_forward_hook(self._keeping_hook(name))

    def _keeping_hook(self, name: str) -> Any:
        def keep(module: nn.Module, arguments: object, output: Tensor) -> None:
            self.maps[name] = output

        return keep

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Statistics by place, those of the pixels first: [n, statistics]."""
        found: dict[str, list[Tensor]] = {}
        for part in images.split(BATCH):
            self.encoder(part)
            for name, rows in {PIXELS: statistics(part), **{k: _of(v) for k, v in self.maps.items()}}.items():
                found.setdefault(name, []).append(rows)
        made = {name: torch.cat(rows) for name, rows in found.items()}
        return made | {f"{PIXELS} and {name}": torch.cat([made[PIXELS], made[name]], dim=1) for name in self.maps}


def _of(maps: Tensor) -> Tensor:
    """Of each channel its mean, spread and size of neighbours' differences, as they are and as logarithms: [n, 6 C]."""
    plain = [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3)), maps.diff(dim=3).abs().mean(dim=(2, 3))]
    return torch.cat([*plain, *((one.abs() + _SMALL).log() for one in plain)], dim=1)


def measured(data: str) -> Iterator[Row]:
    """The area under the ROC curve of each damage at its two mild levels, on images that nothing was fitted on."""
    for name, places in PLACES.items():
        subject = DESK.subjects[name]
        encoder = load_encoder(located(subject.encoder, data), size=subject.size).eval()
        images = load_images(located(subject.data.text, data), "train", size=subject.size)
        chosen = next(batches(at_most(images, FITTED + JUDGED), FITTED + JUDGED))
        look, keys = Looks(encoder, places), random.keys(0, chosen.index)
        # evenly spaced images come class by class: what is judged is every third
        judged = torch.arange(len(keys)) % 3 == 2
        clean = look(chosen.images)
        for kind, own in subject.kinds.items():
            for level, text in list(zip(LEVELS, own.levels, strict=True))[:2]:
                operator = parse(text)
                parts = zip(chosen.images.split(BATCH), keys.split(BATCH), strict=True)
                damaged = look(torch.cat([operator(part, key) for part, key in parts]))
                auc = {place: _auc(clean[place], damaged[place], judged) for place in clean}
                yield {"encoder": name, "kind": kind, "level": level, "operator": text, "auc": auc}


def _auc(clean: Tensor, damaged: Tensor, judged: Tensor) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2_000))
    few, rest = int(judged.sum()), int((~judged).sum())
    model.fit(torch.cat([clean[~judged], damaged[~judged]]).numpy(), [0] * rest + [1] * rest)
    scores = model.decision_function(torch.cat([clean[judged], damaged[judged]]).numpy())
    return float(roc_auc_score([0] * few + [1] * few, scores))


class _There(Exception):
    """A forward pass has reached its place."""


def costs(data: str) -> dict[str, dict[str, float]]:
    """Counted operations up to each place, as a share of the whole forward pass."""
    found: dict[str, dict[str, float]] = {}
    for name, places in PLACES.items():
        subject = DESK.subjects[name]
        encoder = load_encoder(located(subject.encoder, data), size=subject.size).eval()
        images = torch.rand(1, 3, *[subject.size or 32] * 2)
        whole = operations(lambda encoder=encoder, images=images: encoder(images))  # type: ignore[misc]
        found[name] = {place: _until(encoder, path, images) / whole for place, path in places.items()}
    return found


def _until(encoder: Encoder, path: str, images: Tensor) -> int:
    def stop(*_: object) -> None:
        raise _There

    def run() -> None:
        try:
            encoder(images)
        except _There:
            handle.remove()

    handle = encoder.body.get_submodule(path).register_forward_hook(stop)
    return operations(run)


def page(found: Mapping[str, Any]) -> str:
    """The table, and what the features would cost."""
    rows, places = found["rows"], [*found["rows"][0]["auc"]]
    lines = [
        "# Pixels or features for the gauge", "",
        f"Mild damage told from clean images: the area under the ROC curve (0.5: guessing, 1: always) of a logistic "
        f"regression fitted on {FITTED} *training* images, each clean and damaged, judged on {JUDGED} others, one "
        "draw. Of the pixels: what the gauge looks at. Of the features: each channel's mean, spread and differences of "
        "neighbours, and their logarithms.", "",
        f"`{found['command']}`, {found['machine']['processor']}.", "",
        f"| | {' | '.join(places)} |", "|---" * (len(places) + 1) + "|",
    ]  # fmt: skip
    for row in rows:
        numbers = " | ".join(f"{row['auc'][place]:.3f}" for place in places)
        lines.append(f"| {row['encoder']}: `{row['operator']}` | {numbers} |")
    lines += ["", "Operations up to there, of a forward pass (counted; the gauge may take 2 %):", ""]
    for name, own in found["costs"].items():
        lines.append(f"- {name}: " + ", ".join(f"{place} {100 * share:.1f} %" for place, share in own.items()))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gauge_features", description=__doc__)
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    rows = []
    for row in measured(args.data):
        print(json.dumps(row), flush=True)
        rows.append(row)
    command = "python -m benchmarks.gauge_features --data DIR"
    found = {"command": command, "machine": machine("cpu"), "rows": rows, "costs": costs(args.data)}
    (RESULTS / "gauge-features.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "gauge-features.md").write_text(page(found))


if __name__ == "__main__":
    main()
