"""Two processes that share out weights compute what one does, and take up each other's checkpoints.

Also a program: ``python test_sharding.py ONE SHARED RESUMED`` trains (new processes import the program).
"""

import os
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.attacks import L2, PGD
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Preprocessing, load_encoder
from weatherproof.encoders.adapters import LoRA
from weatherproof.encoders.recomputed import blocks
from weatherproof.errors import InputError
from weatherproof.methods import (
    PIRL,
    Anchor,
    FeatureContrastive,
    FineTuning,
    Hardening,
    InstDis,
    KeepClean,
    MoCo,
    MovingTeacher,
    SimCLR,
    UtilityNoise,
    WholeNoise,
)
from weatherproof.methods.adversarial import AdversarialTraining
from weatherproof.methods.layers import LayerwiseSimCLR, layer_projectors
from weatherproof.objectives import L2SP, Dense, FeatureContrast, InputGradient, NTXent, SimilarityMatrix
from weatherproof.operators import GaussianNoise
from weatherproof.protocols import Gather
from weatherproof.training import Plan, RunFolder, fit
from weatherproof.training.processes import gather_by, launch, make_fabric
from weatherproof.training.sharding import whole
from weatherproof.types import Images, Keys
from weatherproof.views import HorizontalFlip, Twice

PIXELS = torch.randint(0, 256, (44, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(44) % 4)
NOISE, VIEWS = GaussianNoise(0.2, clip=False), Twice(GaussianNoise(0.2, clip=False))
STEPS, HALF = 6, 3
ARCHITECTURES = {  # and the side of their images
    "timm:vit_tiny_patch16_224": 32, "timm:deit_tiny_distilled_patch16_224": 32, "timm:eva02_tiny_patch14_224": 28,
    "timm:swin_tiny_patch4_window7_224": 56, "timm:xcit_nano_12_p16_224": 32, "timm:convnext_atto": 32,
    "timm:resnet18": 32, "timm:efficientnet_b0": 32, "torchvision:squeezenet1_0": 32, "resnet20": 32, "small": 32,
}  # fmt: skip


class Block(nn.Module):
    """No batch normalisation: its statistics are those of a process's share."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.GroupNorm(1, 7), nn.Conv2d(7, 15, 3, padding=1), nn.Conv2d(15, 7, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(self.first(self.norm(maps)).tanh())


class Body(nn.Module):
    """Odd widths, which two processes cannot share evenly, and stages with names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 1)
        self.layer1, self.layer2, self.last = nn.Sequential(Block()), nn.Sequential(Block()), nn.Conv2d(7, 5, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.layer2(self.layer1(self.stem(pixels))))


def net(seed: int = 1, kind: type[Body] = Body) -> Encoder:
    with random.framework_seed(seed):
        body = kind()
    return Encoder("tiny", body, None, feature_dim=5, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, size=None))


def linear(width: int) -> nn.Linear:
    with random.framework_seed(width):
        return nn.Linear(5, width)


class Elsewhere(Body):
    """Reads a block's weights outside of the block."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) + self.layer1[0].first.weight.mean()


class Together(nn.Module):
    """Several methods trained at once, each on networks of its own. Their blocks' bytes in a process are a term."""

    def __init__(self, methods: dict[str, nn.Module]) -> None:
        super().__init__()
        self.methods = nn.ModuleDict(methods)

    def forward(self, images: Images, labels: Tensor, index: Tensor, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        losses = {name: method(images, labels, index, keys, gather)["loss"] for name, method in self.methods.items()}
        held = torch.tensor(float(sum(len(weight) for weight in _of_blocks(self))))
        return {"loss": torch.stack([*losses.values()]).sum(), **losses, "held": held}


def _of_blocks(method: nn.Module) -> list[Tensor]:
    """The rows of weights that this process has."""
    found = [block for one in method.modules() if isinstance(one, Encoder) for block in blocks(one.body)]
    weights = [weight for block in found for weight in block.parameters()]
    return [getattr(weight, "_local_tensor", weight) for weight in weights]


def corners(images: Images, keys: Keys) -> tuple[Images, ...]:
    return tuple(images[:, :, row : row + 4, column : column + 4] for row in (0, 2, 4) for column in (0, 2, 4))


def together() -> Together:
    bank = {"images": 44, "negatives": 20}
    return Together(
        {
            "hardening": Hardening(net(), net(0), NOISE, NTXent(), HorizontalFlip(), keep=KeepClean(0.9, 0.2)),
            "dense": Hardening(net(), net(0), NOISE, NTXent(), dense=Dense(0.5, gram=1.0)),
            "simclr": SimCLR(net(), VIEWS, linear(6), NTXent()),
            "instdis": InstDis(net(), VIEWS, linear(4), **bank),
            "pirl": PIRL(net(), VIEWS, corners, linear(3), **bank),
            "xe_gaussian": FeatureContrastive(net(), linear(4), WholeNoise(0.3), None, 0.01),
            "contrast": FeatureContrastive(net(), linear(4), WholeNoise(0.3), FeatureContrast(0.5), 0.01),
            "similarity": FineTuning(net(), linear(4), net(0), similarity=SimilarityMatrix()),
        }
    )


class Copied:
    """Looks once in the middle: it keeps the checkpoint of the step before, and sees all weights."""

    every = HALF / 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, method: nn.Module, epoch: float) -> dict[str, float]:
        if not (self.folder / "half.pt").exists():
            shutil.copy(self.folder / "checkpoint.pt", self.folder / "half.pt")
        return {"weights": float(sum(weight.sum() for weight in method.parameters()))}


def trained(folder: Path, start: Path | None = None, **settings: Any) -> dict[str, Any]:
    """By default plain SGD, so that weights are linear in the gradients: Adam would blow rounding up to its step size.

    Args:
        start: a checkpoint to go on from.
    """
    run = RunFolder.open(folder, {})
    if start is not None:
        shutil.copy(start, folder / "checkpoint.pt")
    fixed: dict[str, Any] = {"optimizer": "sgd", "schedule": "constant", "log_every": 1, "checkpoint_seconds": 0.0}
    plan = Plan(STEPS / 2, 8, 0.02, accumulate=3, device="cpu", **{**fixed, **settings})
    method = together()
    rows = fit(method, IMAGES, plan, run, watch=Copied(folder), progress=False)
    return {"rows": rows, "weights": method.state_dict(), "checkpoint": run.load_checkpoint()}


class Loss(nn.Module):
    """Of a hardening, whose normalisation takes no statistics of a process's share."""

    def __init__(self, name: str, side: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights are random
            student, teacher = (load_encoder(f"{name}@random", size=side, seed=seed) for seed in (1, 0))
        self.method, self.side = Hardening(student, teacher, NOISE, NTXent()), side
        self.method.student.eval()

    def forward(self, rows: Tensor, gather: Gather) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        images = torch.rand(4, 3, self.side, self.side, generator=draw)[rows]
        return self.method(images, torch.full_like(rows, -1), rows, random.keys(0, rows), gather)["loss"]


def apart(fabric: Any, file: Path) -> None:
    """How far gradients of two processes are from those of one, of the largest, by architecture."""
    found = {}
    for name, side in ARCHITECTURES.items():
        alone, shared = Loss(name, side), Loss(name, side)
        alone(torch.arange(4), lambda rows: rows).backward()
        fabric.backward(fabric.setup_module(shared)(torch.arange(4).chunk(2)[fabric.global_rank], gather_by(fabric)))
        pairs = [
            (one.grad, whole(other.grad, keep=True))
            for one, other in zip(alone.parameters(), shared.parameters(), strict=True)
            if one.grad is not None
        ]
        largest = max(float(one.abs().max()) for one, _ in pairs)
        found[name] = max(float((one - other).abs().max()) for one, other in pairs) / largest
    if fabric.is_global_zero:
        torch.save(found, file)


def main(one: Path, shared: Path, resumed: Path) -> None:
    """From the start, from one process's checkpoint with all that saves memory, and with a network that cannot be."""
    torch.save(trained(shared, devices=2, strategy="fsdp"), shared / "result.pt")
    sparing: dict[str, Any] = {"micro_batch": 3, "checkpoint_gradients": True}
    torch.save(trained(resumed, one / "half.pt", devices=2, strategy="fsdp", **sparing), resumed / "result.pt")
    plan = Plan(1.0, 8, 0.1, device="cpu", devices=2, strategy="fsdp")
    with pytest.raises(InputError, match="puts a block's weights together for its own passes"):
        fit(Hardening(net(kind=Elsewhere), net(0), NOISE, NTXent()), IMAGES, plan, progress=False)
    launch(make_fabric(plan), partial(apart, file=resumed / "apart.pt"))


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process ends with, two that share weights out, these from where the one was, and one from where they
    were."""
    one, shared, resumed, back = (tmp_path_factory.mktemp(name) for name in ("one", "shared", "resumed", "back"))
    found = {"one": trained(one)}
    done = subprocess.run(
        [sys.executable, __file__, one, shared, resumed], env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning: FSDP2" not in done.stderr and "view" not in done.stderr
    found["apart"] = torch.load(resumed / "apart.pt", weights_only=True)
    for name, way in (("shared", shared), ("resumed", resumed)):
        found[name] = torch.load(way / "result.pt", weights_only=True)
    with pytest.warns(UserWarning, match="began with 2 process"):
        found["back"] = trained(back, shared / "half.pt")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("way", ["shared", "resumed", "back"])
def test_weights_are_those_of_one_process(ways: dict[str, dict[str, Any]], way: str) -> None:
    """Steps of three batches, contrastive and with labels, banks and multipliers; checkpoints go from one way to
    another."""
    one, other = ways["one"], ways[way]
    assert [row["step"] for row in other["rows"]][-1] == one["rows"][-1]["step"] == STEPS
    start = together().state_dict()
    for key, value in one["weights"].items():
        torch.testing.assert_close(other["weights"][key], value, atol=1e-5, rtol=1e-5, msg=key)
    for name in together().methods:
        keys = [key for key in start if key.startswith(f"methods.{name}.") and "layer1.0.first" in key]
        assert any((one["weights"][key] - start[key]).abs().max() > 1e-3 for key in keys)
        losses = [[row[name] for row in found["rows"]][-2:] for found in (one, other)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_of_architectures(ways: dict[str, dict[str, Any]], name: str) -> None:
    assert ways["apart"][name] < 1e-5


@pytest.mark.slow
def test_each_process_holds_its_part(ways: dict[str, dict[str, Any]]) -> None:
    """Of odd numbers of rows, the larger half and the smaller one: the log has their mean."""
    whole = sum(len(weight) for weight in _of_blocks(together()))
    assert {row["held"] for row in ways["one"]["rows"]} == {whole}
    assert {row["held"] for row in ways["shared"]["rows"]} == {whole / 2}


@pytest.mark.slow
def test_what_is_watched_and_saved_is_whole(ways: dict[str, dict[str, Any]]) -> None:
    sums = [[row["weights"] for row in ways[way]["rows"] if "weights" in row] for way in ("one", "shared")]
    assert len(sums[0]) == 2 and sums[1] == pytest.approx(sums[0], abs=1e-3)
    one, shared = (ways[way]["checkpoint"] for way in ("one", "shared"))
    assert shared["processes"] == 2 and one["weights"].keys() == shared["weights"].keys()
    shapes = [
        {i: {name: value.shape for name, value in state.items()} for i, state in saved["optimizer"]["state"].items()}
        for saved in (one, shared)
    ]
    assert shapes[0] == shapes[1]
    assert not any(hasattr(value, "full_tensor") for value in shared["weights"].values())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_order_in_memory_is_no_part_of_a_checkpoint(optimizer: str, tmp_path: Path) -> None:
    """Weights that are shared out have another one than those of one process."""
    whole = trained(tmp_path / "whole", optimizer=optimizer)
    half = torch.load(tmp_path / "whole" / "half.pt", weights_only=True)
    for state in half["optimizer"]["state"].values():
        state.update({name: value.contiguous() for name, value in state.items()})
    torch.save(half, tmp_path / "contiguous.pt")
    again = trained(tmp_path / "again", tmp_path / "contiguous.pt", optimizer=optimizer)
    for key, value in whole["weights"].items():
        assert torch.equal(again["weights"][key], value), key


REFUSED = {
    "a momentum encoder": lambda: MoCo(net(), VIEWS, linear(5), queue=32, groups=4),
    "an adapter": lambda: Hardening(LoRA(2).attach(net(0)), net(0), NOISE, NTXent()),
    "a Tikhonov penalty": lambda: SimCLR(net(), VIEWS, linear(5), NTXent(), InputGradient(0.1)),
    "an attack": lambda: AdversarialTraining(net(), linear(4), PGD(L2(0.5), steps=1, step_size=0.1)),
    "the utility": lambda: FeatureContrastive(net(), linear(4), UtilityNoise(20), FeatureContrast(0.5), 0.01),
    "L2-SP": lambda: FineTuning(net(), linear(4), net(0), sp=L2SP(0.1, 0.1)),
    "a loss at inner layers": lambda: LayerwiseSimCLR(net(), VIEWS, layer_projectors(net(), out=4), NTXent()),
    "networks that share weights": lambda: MovingTeacher(net(), net(0), NOISE, NTXent(), Anchor()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_methods_that_need_whole_weights_are_refused(what: str) -> None:
    plan = Plan(1.0, 8, 0.1, device="cpu", devices=2, strategy="fsdp")
    with pytest.raises(InputError, match=f"^strategy fsdp and {what}.* do not go together: take strategy ddp$"):
        fit(REFUSED[what](), IMAGES, plan, progress=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"precision": "16-mixed"},
            "strategy fsdp has no loss scale for precision '16-mixed': use 'bf16-mixed', or ddp",
        ),
        ({"compile": True}, "compile and strategy fsdp do not go together"),
        ({"strategy": "zero"}, "strategy of Plan must be .ddp. or .fsdp., got .zero."),
    ],
)
def test_plans_that_cannot_be_shared_out(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Plan(**{"epochs": 1.0, "batch_size": 8, "lr": 0.1, "devices": 2, "strategy": "fsdp", **settings})


def test_one_process_has_nothing_to_share_out() -> None:
    assert not Plan(1.0, 8, 0.1, strategy="fsdp", compile=True).shards


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
