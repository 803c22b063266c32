"""Adapters against training everything: time of a step and peak memory. The gate against one forward pass.

What the gauge says is set by hand, so that it costs what it costs and answers what is measured.
"""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Row, in_turn, peak_memory
from weatherproof import random
from weatherproof.encoders import Encoder, Gauge, Preprocessing, Reading, load_encoder
from weatherproof.encoders.adapters import FULL, Adaptation, LoRA, Norms, parse
from weatherproof.encoders.gate import gated
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.methods import Hardening
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask

LIMIT = 1.05
SETTINGS = Settings((KindScale("RandomMask", 0.0, 0.95, 1.0),), Preprocessing((0.0,) * 3, (1.0,) * 3, None))


@dataclass(frozen=True)
class Case:
    encoder: str
    size: int
    batch: int


CASES = (
    Case("timm:vit_small_patch16_224", 96, 32),
    Case("timm:tf_efficientnet_lite0", 96, 32),
    Case("resnet20", 32, 128),
)
ADAPTERS: tuple[Adaptation, ...] = (LoRA(16), Norms())


def run(device: str, repeats: int = 9) -> list[Row]:
    rows = [_step(case, adaptation, device, repeats) for case in CASES for adaptation in ADAPTERS]
    rows += [_memory(case, adaptation, device, 3) for case in CASES for adaptation in ADAPTERS]
    return rows + [row for case in CASES for row in _gate(case, device, repeats)]


def _case_words(case: Case) -> str:
    return f"{case.encoder}, batch {case.batch}, {case.size}×{case.size}"


def _loaded(case: Case, device: str) -> Encoder:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        return load_encoder(f"{case.encoder}@random", size=case.size).eval().to(device)


class Steps:
    """A training on one batch."""

    def __init__(self, case: Case, adaptation: Adaptation, device: str) -> None:
        teacher = _loaded(case, device)
        self.method = Hardening(adaptation.attach(teacher), teacher, RandomMask((0.5, 0.95)), StudentTeacher())
        self.method.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.weights = [own for own in self.method.parameters() if own.requires_grad]
        self.optimizer = torch.optim.Adam(self.weights, 1e-4)
        generator = torch.Generator(device).manual_seed(0)
        self.images = torch.rand(case.batch, 3, case.size, case.size, device=device, generator=generator)
        self.index = torch.arange(case.batch)

    def step(self) -> None:
        keys = random.keys(0, self.index)
        terms = self.method(self.images, torch.full_like(self.index, -1), self.index, keys, lambda rows: rows)
        terms["loss"].backward(inputs=self.weights)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _step(case: Case, adaptation: Adaptation, device: str, repeats: int) -> Row:
    ours, floor = Steps(case, adaptation, device), Steps(case, FULL, device)
    times = in_turn(ours.step, floor.step, repeats, device)
    return Row(f"a step of {adaptation!r}, {_case_words(case)}", "Full()", "s", *times, images=case.batch)


def _memory(case: Case, adaptation: Adaptation, device: str, repeats: int) -> Row:
    place = str(CASES.index(case))
    pairs = [(_peak(place, repr(adaptation), device), _peak(place, repr(FULL), device)) for _ in range(repeats)]
    what = f"peak memory of {adaptation!r}, {_case_words(case)}"
    return Row(what, "Full()", "MiB", *map(tuple, zip(*pairs, strict=True)))  # type: ignore[arg-type]


def _peak(place: str, adaptation: str, device: str) -> float:
    """MiB that three steps need at most, above what was there when the encoder was loaded, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.adapters", place, adaptation, device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _largest(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory()


class Set(Gauge):
    """Looks at the images, and says what it is told to."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.extent: Tensor = torch.zeros(1)

    def forward(self, images: Tensor) -> Reading:
        looked = super().forward(images)
        extent = self.extent.to(looked.extent)
        return Reading(extent, extent, extent, looked.kind, looked.damaged, extent, extent > 2)


def _gate(case: Case, device: str, repeats: int) -> list[Row]:
    original = _loaded(case, device)
    hardened = LoRA(16).attach(original)
    gate = gated(original, hardened, Set().to(device), 0.2, 0.6).eval()
    images = torch.rand(case.batch, 3, case.size, case.size, device=device)
    half = torch.arange(case.batch) % 2
    rows = []
    for what, extent, limit in (
        ("all clean", 0.0 * half, LIMIT),
        ("all damaged", 0.0 * half + 1, LIMIT),
        ("half of them damaged", 1.0 * half, None),
        ("all between", 0.0 * half + 0.4, None),
    ):
        gauge = gate.fitted_gauge
        assert isinstance(gauge, Set)
        gauge.extent = extent
        with torch.inference_mode():
            times = in_turn(lambda: gate(images), lambda: original(images), repeats, device)
        rows.append(
            Row(f"gate, {what}, {_case_words(case)}", "one forward pass", "s", *times, limit=limit, images=case.batch)
        )
    return rows


def _main(place: str, adaptation: str, device: str) -> None:
    case = CASES[int(place)]
    _loaded(case, device)
    before = _largest(device)
    steps = Steps(case, parse(adaptation), device)
    for _ in range(3):
        steps.step()
    print(json.dumps(_largest(device) - before))


if __name__ == "__main__":
    _main(*sys.argv[1:])
