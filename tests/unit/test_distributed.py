"""Two processes compute what one does with the whole batch.

Also a program: ``python test_distributed.py FOLDER DEVICES all|ctrl-c|unreadable`` trains (new processes import the
program).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages, load_images
from weatherproof.errors import InputError
from weatherproof.methods import (
    PIRL,
    FeatureContrastive,
    FineTuning,
    Hardening,
    InstDis,
    MoCo,
    SimCLR,
    UtilityNoise,
    WholeNoise,
)
from weatherproof.methods.partners import Partner
from weatherproof.objectives import L2SP, Dense, FeatureContrast, InputGradient, NTXent, SimilarityMatrix
from weatherproof.operators import GaussianNoise
from weatherproof.protocols import Gather
from weatherproof.training import Plan, RunFolder, fit
from weatherproof.types import Images, Keys
from weatherproof.views import HorizontalFlip, Twice

PIXELS = torch.randint(0, 256, (44, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TIKHONOV = InputGradient(0.1, "gradients", step=0.5)  # a large step: a difference would magnify rounding
IMAGES = MemoryImages(PIXELS, torch.arange(44) % 4)


class Net(nn.Module):
    """No batch normalisation: its statistics are those of a process's share."""

    feature_dim = 6

    def __init__(self, seed: int) -> None:
        super().__init__()
        with random.framework_seed(seed):
            self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)
            self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.conv(images).tanh().mean(dim=(2, 3)))


class Slow(Net):
    """Time to press Ctrl-C."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.05)
        return super().forward(images)


class Normed(Net):
    """Batch normalisation, whose parts are the same whoever normalises them."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.norm(self.conv(images)).tanh().mean(dim=(2, 3)))


class Together(nn.Module):
    """Several methods trained at once, each on networks of its own."""

    def __init__(self, methods: dict[str, nn.Module]) -> None:
        super().__init__()
        self.methods = nn.ModuleDict(methods)

    def forward(self, images: Images, labels: Tensor, index: Tensor, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        losses = {name: method(images, labels, index, keys, gather)["loss"] for name, method in self.methods.items()}
        return {"loss": torch.stack([*losses.values()]).sum(), **losses}


def _corners(images: Images, keys: Keys) -> tuple[Images, ...]:
    return tuple(images[:, :, row : row + 4, column : column + 4] for row in (0, 2, 4) for column in (0, 2, 4))


def _pretraining() -> Together:
    views, bank = Twice(GaussianNoise(0.2, clip=False)), {"images": 44, "negatives": 20}
    noise = GaussianNoise(0.2, clip=False)
    with random.framework_seed(2):
        projectors = [nn.Linear(6, 5) for _ in range(5)]
    return Together(
        {
            "simclr": SimCLR(Net(1), views, projectors[0], NTXent()),
            "moco": MoCo(Normed(1), views, projectors[1], queue=32, momentum=0.9, groups=4),
            "instdis": InstDis(Net(1), views, projectors[2], **bank),
            "pirl": PIRL(Net(1), views, _corners, projectors[3], **bank),
            "fcl": _with_labels(UtilityNoise(20), FeatureContrast(0.5)),
            "xe_gaussian": _with_labels(WholeNoise(0.3), None),
            "simclr_tikhonov": SimCLR(Net(1), views, projectors[4], NTXent(), TIKHONOV),
            "similarity": _finetuning(similarity=SimilarityMatrix()),
            "all_three": _finetuning(similarity=SimilarityMatrix(), sp=L2SP(0.1, 0.1), tikhonov=TIKHONOV),
            "dense": Hardening(Net(1), Net(0), noise, NTXent(), dense=Dense(0.5, gram=1.0)),
            "tikhonov": _finetuning(tikhonov=TIKHONOV),
        }
    )


def _finetuning(**regularizers: Any) -> FineTuning:
    net = Net(1)
    return FineTuning(net, net.head, Net(0), **regularizers)


def _with_labels(partner: Partner, objective: FeatureContrast | None) -> FeatureContrastive:
    net = Net(1)
    return FeatureContrastive(net, net.head, partner, objective, 0.01)


def _hardening(net: type[Net] = Net) -> Hardening:
    return Hardening(net(1), Net(0), GaussianNoise(0.2, clip=False), NTXent(), HorizontalFlip())


def _plan(devices: int, **settings: Any) -> Plan:
    """Plain SGD, so that weights are linear in the gradients: Adam would blow rounding up to its step size."""
    fixed = {"optimizer": "sgd", "schedule": "constant", "log_every": 1, "device": "cpu", "drop_last": False}
    return Plan(**{"epochs": 2.0, "batch_size": 16, "lr": 0.05, "devices": devices, **fixed, **settings})


def main(folder: Path, devices: int, wanted: str) -> None:
    if wanted == "ctrl-c":
        run = RunFolder.open(folder, {})
        try:
            fit(_hardening(Slow), IMAGES, _plan(devices, epochs=400.0), run, progress=False)
        except KeyboardInterrupt:
            sys.exit(130)
    if wanted == "unreadable":
        images = load_images(folder / "images", "all", memory_budget=0, max_bad=0.1)
        method = _hardening()
        fit(method, images, _plan(devices, drop_last=True), progress=False)
        torch.save({"weights": method.state_dict(), "bad": sorted(images.bad)}, folder / "result.pt")
        return
    method, run = _hardening(), RunFolder.open(folder, {})
    rows = fit(method, IMAGES, _plan(devices, accumulate=2), run, progress=False)
    torch.save({"rows": rows, "weights": method.state_dict()}, folder / "result.pt")
    method = _pretraining()
    rows = fit(method, IMAGES, _plan(devices, drop_last=True), progress=False)
    torch.save({"rows": rows, "weights": method.state_dict()}, folder / "pretraining.pt")
    broken = _hardening()
    with torch.no_grad():
        broken.student.linear.weight.fill_(torch.nan)  # type: ignore[attr-defined]
    try:
        fit(broken, IMAGES, _plan(devices), progress=False)
    except Exception as error:
        (folder / "error").write_text(f"{type(error).__name__}: {error}")


def _start(folder: Path, wanted: str = "all") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), "2", wanted],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    process = _start(two)
    main(one, 1, "all")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr.decode()
    return one, two


@pytest.mark.slow
def test_two_processes_equal_one(both: tuple[Path, Path]) -> None:
    """The objective sees the whole batch; 16 + 16 images make a step, and the epoch's last 12 another."""
    one, two = (torch.load(folder / "result.pt", weights_only=True) for folder in both)
    assert len(one["rows"]) == len(two["rows"]) == 4
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
    for key, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][key], value, atol=1e-6, rtol=1e-5, msg=key)
    start = _hardening().state_dict()
    assert any((value - start[key]).abs().max() > 1e-3 for key, value in one["weights"].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*_pretraining().methods])
def test_two_processes_learn_from_all_negatives(both: tuple[Path, Path], name: str) -> None:
    """Losses, weights, queue and bank: but for running statistics, which are the first process's own."""
    one, two = (torch.load(folder / "pretraining.pt", weights_only=True) for folder in both)
    losses = [[row[name] for row in result["rows"]] for result in (one, two)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    start = _pretraining().state_dict()
    mine = [
        key for key in start if key.startswith(f"methods.{name}.") and "running" not in key and "tracked" not in key
    ]
    for key in mine:
        torch.testing.assert_close(two["weights"][key], one["weights"][key], atol=1e-5, rtol=1e-4, msg=key)
    moved = {key for key in mine if not torch.equal(one["weights"][key], start[key])}
    assert any("conv" in key for key in moved)
    assert name not in ("moco", "instdis", "pirl") or any(word in key for key in moved for word in ("queue", "vectors"))


@pytest.mark.slow
def test_the_first_process_writes_the_run(both: tuple[Path, Path]) -> None:
    _, two = both
    lines = [json.loads(line) for line in (two / "log.jsonl").read_text().splitlines()]
    assert lines == torch.load(two / "result.pt", weights_only=True)["rows"]
    assert (two / "checkpoint.pt").exists()


@pytest.mark.slow
def test_errors_come_back_as_what_they_were(both: tuple[Path, Path]) -> None:
    for folder in both:
        assert (folder / "error").read_text().startswith("TrainingError: the loss became nan at step 1, before any")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_processes_at_one_step(how: signal.Signals, tmp_path: Path) -> None:
    process = _start(tmp_path, "ctrl-c")
    log = tmp_path / "log.jsonl"
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)  # to the first one alone
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    run = RunFolder.open(tmp_path, {})
    saved = run.load_checkpoint()
    assert saved is not None
    assert saved["step"] == run.rows()[-1]["step"] < 1200


class Stood(MemoryImages):
    """Where one of `gone` comes up, the good ones of its half of the batch stand in for it in turn."""

    gone: tuple[int, ...] = ()

    def order(self, seed: int, epoch: int) -> Tensor:
        whole = random.order(seed, epoch, len(self))
        for half in whole[: len(whole) // 16 * 16].split(8):
            good = [place for place in half.tolist() if place not in self.gone]
            stand_ins = iter(good)
            half.copy_(torch.tensor([next(stand_ins) if place in self.gone else place for place in half.tolist()]))
        return whole


@pytest.mark.slow
def test_images_that_cannot_be_read_end_no_training_of_several_processes(tmp_path: Path) -> None:
    """Each process fills its share up with others of it, and all that they have met are counted."""
    (tmp_path / "images").mkdir()
    for i, image in enumerate(PIXELS):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / f"{i:02}.png")
    bad = {3, 17, 30}
    for i in bad:
        (tmp_path / "images" / f"{i:02}.png").write_bytes(b"no image")
    process = _start(tmp_path, "unreadable")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr.decode()
    assert stderr.decode().count("3 of 44 images (6.8%) in 'images/all' cannot be read") == 1
    found = torch.load(tmp_path / "result.pt", weights_only=True)
    assert found["bad"] == [str(tmp_path / "images" / f"{i:02}.png") for i in sorted(bad)]
    images, method = Stood(PIXELS), _hardening()
    images.gone = tuple(bad)
    fit(method, images, _plan(1, drop_last=True), progress=False)
    for key, value in method.state_dict().items():
        torch.testing.assert_close(found["weights"][key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_too_few_images_for_the_processes() -> None:
    with pytest.raises(InputError, match="cannot train on 1 images with 2 process"):
        fit(_hardening(), IMAGES.subset(torch.arange(1)), _plan(2), progress=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
