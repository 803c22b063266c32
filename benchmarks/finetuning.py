"""A fine-tuning step with a regularizer, against the plain step: bare passes on one batch that never changes.

In units of one pass through the network (F forward, D backward to the inputs, W backward to the weights) the plain step
is F + D + W.

- Similarity regularization adds the frozen network's F on the same batch, and products of a batch's features: against
  F + D + W + F, made in the loop's memory format and with its optimizer.
- Tikhonov regularization by finite differences. "finite" (Finlay & Oberman) weighs each image's own two losses, so that
  the clean images are gone through backwards twice: 2 F + 3 D + 2 W, 2.33 of the plain step where all passes cost the
  same. "gradients" moves all images by one factor of their gradients; the pass to the pixels then gives the weights'
  gradients too: 2 F + 2 D + 2 W, twice the plain step and the first layer's D, which that step does not need.
- Double backward goes through F, D and W, and backwards through the D once more.
- Adversarial training with PGD-7 and the best iterate: 9 F + 8 D + W.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Case, Row
from benchmarks.steps import WARMUP, Alternating
from weatherproof import attacks
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.methods import AdversarialTraining, FineTuning, Supervised
from weatherproof.objectives import InputGradient, SimilarityMatrix
from weatherproof.training import Plan, RunFolder, fit

LR, CLASSES = 0.001, 10
OVER_FORWARD, OVER_PLAIN = 1.08, 2.2
PGD = "PGD(L2(0.5), steps=7, step_size=0.1)"


CASES = {
    "cpu": (Case("resnet20", 32, 128, 15), Case("torchvision:squeezenet1_0", 128, 32, 7)),
    "cuda": (
        Case("resnet20", 32, 256, 100),
        Case("resnet18-cifar", 32, 256, 100),
        Case("torchvision:resnet50", 224, 64, 50),
    ),
}
Make = Callable[[Encoder, nn.Module], nn.Module]


def run(device: str) -> list[Row]:
    return [row for case in CASES[torch.device(device).type] for row in _rows(case, device)]


class Plain:
    """A network of its own: F + D + W and the optimizer's move; with a frozen one beside it, its F."""

    def __init__(self, encoder: Encoder, images: Tensor, labels: Tensor, frozen: bool = False) -> None:
        form = torch.channels_last
        self.encoder = encoder.clone().to(images.device, memory_format=form).train()  # type: ignore[call-overload]
        self.frozen = self.encoder.clone().eval().requires_grad_(False) if frozen else None
        self.head = nn.Linear(encoder.feature_dim, CLASSES).to(images.device)
        self.images, self.labels = images.contiguous(memory_format=form), labels
        if self.encoder.head is not None:
            self.encoder.head.requires_grad_(False)
        self.weights = [p for p in [*self.encoder.parameters(), *self.head.parameters()] if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.weights, LR, 0.9, fused=True)

    def step(self) -> None:
        loss = F.cross_entropy(self.head(self.encoder(self.images)), self.labels)
        if self.frozen is not None:
            with torch.no_grad():
                self.frozen(self.images)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class MethodStep:
    """A method in the place of the bare step: the loss of one batch, its backward pass and the optimizer's move."""

    def __init__(self, make: Make, encoder: Encoder, images: Tensor, labels: Tensor) -> None:
        self.encoder = encoder.clone()
        self.method = make(self.encoder, nn.Linear(encoder.feature_dim, CLASSES)).to(
            images.device, memory_format=torch.channels_last
        )  # type: ignore[call-overload]
        self.method.train()
        self.images, self.labels = images.contiguous(memory_format=torch.channels_last), labels
        self.index = torch.arange(len(images))
        self.weights = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.weights, LR, 0.9, fused=True)

    def step(self) -> None:
        terms = self.method(self.images, self.labels, self.index, self.index, lambda rows: rows)
        self.optimizer.zero_grad()
        terms["loss"].backward(inputs=self.weights)
        self.optimizer.step()


def _tikhonov(method: str) -> Make:
    return lambda encoder, head: Supervised(encoder, head, tikhonov=InputGradient(0.1, method))


def _rows(case: Case, device: str) -> Iterator[Row]:
    plain, forward = "the plain step, F + D + W", "the plain step and one forward"

    def similar(encoder: Encoder, head: nn.Module) -> nn.Module:
        return FineTuning(encoder, head, similarity=SimilarityMatrix())

    def attacked(encoder: Encoder, head: nn.Module) -> nn.Module:
        return AdversarialTraining(encoder, head, attacks.parse(PGD))

    step = f"step, {case.words}"
    yield from _pair(f"similarity-regularized {step}", forward, case, device, similar, OVER_FORWARD, frozen=True)
    for name, limit in (("gradients", OVER_PLAIN), ("finite", None), ("exact", None)):
        yield from _pair(f"Tikhonov, {name}, {step}", plain, case, device, _tikhonov(name), limit)
    yield from _pair(
        f"Tikhonov, gradients, {step}", "exact double backward", case, device, _tikhonov("gradients"), None,
        rival=_tikhonov("exact"),
    )  # fmt: skip
    yield from _pair(f"adversarial training, PGD-7, {step}", plain, case, device, attacked, None)


def _pair(
    what: str, against: str, case: Case, device: str, make: Make, limit: float | None, *, frozen: bool = False,
    rival: Make | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Wall time, and on a CPU processor time, of the loop's step and of the bare one between."""
    images = _images(case)
    encoder, batch = _encoder(case), images.pixels.float().div(255).to(device)
    labels = images.labels.to(device)
    bare = Plain(encoder, batch, labels, frozen) if rival is None else MethodStep(rival, encoder, batch, labels)
    timed = Alternating(make(encoder.clone(), nn.Linear(encoder.feature_dim, CLASSES)), bare, device)
    plan = Plan(WARMUP + case.repeats + 1, case.batch, LR, optimizer="sgd", device=device)
    with tempfile.TemporaryDirectory() as folder:
        fit(timed, images, plan, RunFolder.open(Path(folder) / "run", {}), progress=False)
    ours, floor = timed.ours[WARMUP:], timed.floor[WARMUP:]
    for clock in ("wall", "processor") if device == "cpu" else ("wall",):
        yield Row(
            what if clock == "wall" else f"{what}, processor time", against, "s",
            tuple(getattr(moment, clock) for moment in ours), tuple(getattr(moment, clock) for moment in floor),
            limit=limit, images=case.batch,
        )  # fmt: skip


def _images(case: Case) -> MemoryImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (case.batch, 3, case.size, case.size), generator=generator, dtype=torch.uint8)
    return MemoryImages(pixels, torch.arange(case.batch) % CLASSES, name="noise")


def _encoder(case: Case) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        return load_encoder(f"{case.encoder}@random", num_classes=0)
