"""What fits: time and memory of a hardening step with blocks computed twice, micro-batches and LoRA, and a count."""

import json
import subprocess
import sys
import warnings
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.adapters import _largest
from benchmarks.measure import Case, Row, in_turn, spent
from weatherproof import random
from weatherproof.cards import CARDS
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.encoders.adapters import FULL, Adaptation, LoRA
from weatherproof.methods import Hardening
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.training import Plan
from weatherproof.training.footprint import footprint, operations
from weatherproof.training.passes import passes

CARD = CARDS["a10"]  # of 24 GB
RESERVED = 2**30  # bytes that driver and allocator take
REACHED = 0.4  # of the card's peak: the assumption of `doctor`


@dataclass(frozen=True)
class Way:
    name: str
    adapt: Adaptation = FULL
    checkpoint: bool = False
    micro: int | None = None


CASES = (Case("timm:vit_small_patch16_224", 224, 4, 2), Case("timm:vit_base_patch14_dinov2", 224, 2, 1))
WAYS = (
    Way("plain"),
    Way("checkpoint_gradients", checkpoint=True),
    Way("micro_batch 1", micro=1),
    Way("LoRA(16)", LoRA(16)),
    Way("LoRA(16), checkpoint_gradients, micro_batch 1", LoRA(16), True, 1),
)


def run(device: str) -> list[Row]:
    rows: list[Row] = []
    step = "a step" if device != "cpu" else "a step, processor time"
    for place, case in enumerate(CASES):
        found = [measured("one_gpu", place, number, device) for number in range(len(WAYS))]
        for way, (times, peak) in zip(WAYS[1:], found[1:], strict=True):
            first = found[0]
            rows.append(Row(f"{step}, {way.name}, {case.words}", "plain", "s", times, first[0], images=case.batch))
            rows.append(Row(f"peak memory, {way.name}, {case.words}", "plain", "MiB", (peak,), (first[1],)))
        rows += [_counted(case, way) for way in WAYS if way.micro is None]
        both = Way("LoRA(16), checkpoint_gradients", LoRA(16), True)
        rows.append(_counted(case, both))
    return [*rows, *_channels_last(device)]


def measured(room: str, *which: object) -> tuple[tuple[float, ...], float]:
    """What `print_steps` prints in a process of its own, where the module of a room calls it."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{room}", *map(str, which)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    times, peak = json.loads(done.stdout.splitlines()[-1])
    return tuple(times), peak


def loaded(case: Case, device: str) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        return load_encoder(f"{case.encoder}@random", size=case.size).eval().to(device)


class Steps:
    """A hardening, step by step, on batches of noise."""

    def __init__(self, case: Case, way: Way, device: str) -> None:
        teacher = loaded(case, device)
        self.case, self.device = case, device
        self.method = Hardening(way.adapt.attach(teacher), teacher, RandomMask((0.5, 0.95)), StudentTeacher())
        self.method.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.weights = [own for own in self.method.parameters() if own.requires_grad]
        self.optimizer = torch.optim.Adam(self.weights, 1e-4, fused=True)
        self.plan = Plan(1.0, case.batch, 1e-4, micro_batch=way.micro, checkpoint_gradients=way.checkpoint)

    def gradients(self, batch: int) -> None:
        images, index = torch.rand(batch, 3, self.case.size, self.case.size, device=self.device), torch.arange(batch)
        terms = self.method(images, torch.full_like(index, -1), index, random.keys(0, index), lambda rows: rows)
        terms["loss"].backward(inputs=self.weights)

    def step(self) -> None:
        self.gradients(self.case.batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _counted(case: Case, way: Way) -> Row:
    """On tensors without numbers, so that nothing is computed."""
    steps, mode = Steps(case, way, "cpu"), FakeTensorMode()
    for module in steps.method.modules():
        for tensors in (module._parameters, module._buffers):
            tensors |= {name: mode.from_tensor(value) for name, value in tensors.items() if value is not None}
    method, weights = steps.method, [own for own in steps.method.parameters() if own.requires_grad]

    def step(batch: int) -> None:
        images = torch.rand(batch, 3, case.size, case.size)
        with torch.no_grad():
            target = method.teacher(images)
        method.objective(method.student(1 - images), target).backward(inputs=weights)  # type: ignore[no-untyped-call]

    with mode, passes(method, steps.plan, weights):
        need = footprint(step, [*method.parameters(), *method.buffers()], weights, sizes=(8, 16))
        work = operations(lambda: step(8)) / 8
    what = (
        f"counted: an image's share of the peak, {way.name}, {case.encoder}, {case.size}×{case.size}; beside it "
        f"{need.fixed / 2**20:,.0f} MiB for any batch; an {CARD.name} of {CARD.memory / 1e9:.0f} GB holds "
        f"{need.largest_batch(int(CARD.memory) - RESERVED):,} images, and at {REACHED:.0%} of its peak in bfloat16 "
        f"takes {REACHED * CARD.half / work:,.0f} images/s of {work / 1e9:,.0f} GFLOP"
    )
    return Row(what, "", "MiB", (need.per_image / 2**20,), by="itself")


def _channels_last(device: str) -> list[Row]:
    """The memory format that training has, against PyTorch's own."""
    rows = []
    for name, size, batch in (("resnet20", 32, 64), ("torchvision:squeezenet1_0", 128, 16)):
        case = Case(name, size, batch, 5)
        last, first = Steps(case, Way("plain"), device), Steps(case, Way("plain"), device)
        first.method.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        times = in_turn(last.step, first.step, case.repeats, device)
        rows.append(Row(f"a step, channels last, {case.words}", "contiguous", "s", *times, images=batch))
    return rows


def print_steps(case: Case, way: Way, device: str) -> None:
    """Print the seconds of steps, on a processor its own, and by how many MiB they raise the peak of the process."""
    loaded(case, device)
    before = _largest(device)
    steps = Steps(case, way, device)
    with ExitStack() as stack:
        stack.enter_context(passes(steps.method, steps.plan, steps.weights))
        steps.step()
        moments = [spent(steps.step, device) for _ in range(case.repeats)]
    times = [one.processor if device == "cpu" else one.wall for one in moments]
    print(json.dumps([times, _largest(device) - before]))


if __name__ == "__main__":
    place, number, device = sys.argv[1:]
    print_steps(CASES[int(place)], WAYS[int(number)], device)
