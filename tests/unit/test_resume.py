"""Killed at any moment and started again, a training ends with the same weights to the last bit.

Also a program: ``python test_resume.py RUN_FOLDER`` trains once, for the test that kills a process of its own.
"""

import hashlib
import json
import os
import random as dice
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.training import Plan, RunFolder, fit

IMAGES = MemoryImages(
    torch.randint(0, 256, (72, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(72) % 4,
)
PLAN = Plan(
    20.0,
    8,
    0.01,
    weight_decay=1e-3,
    warmup_epochs=1.0,
    accumulate=2,
    device="cpu",
    checkpoint_seconds=0.02,
    log_every=3,
)


class Noisy(nn.Module):
    """Everything that has a state of its own or draws: batch normalisation, dropout, noise from the image's key."""

    def __init__(self, pause: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        with random.framework_seed(7):
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(2),
                nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 4),
            )  # fmt: skip
        self.pause, self.calls = pause, 0

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        self.calls += 1
        self.pause(self.calls)
        noisy = images + 0.1 * random.normal_fields(keys, tuple(images.shape[1:]))
        return {"loss": F.cross_entropy(self.net(noisy), labels)}


def _train(folder: Path, pause: Callable[[int], None] = lambda _: None) -> str:
    """A checksum of the final weights."""
    method, run = Noisy(pause), RunFolder.open(folder, {"verb": "test"})
    fit(method, IMAGES, PLAN, run, progress=False)
    run.close()
    checksum = hashlib.sha256()
    for value in method.state_dict().values():
        checksum.update(value.contiguous().numpy().tobytes())
    run.write_text("checksum", checksum.hexdigest())
    return checksum.hexdigest()


def _log(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    _train(folder)
    return folder


def _same(folder: Path, undisturbed: Path) -> None:
    assert (folder / "checksum").read_text() == (undisturbed / "checksum").read_text()
    assert _log(folder) == _log(undisturbed)
    assert not list(folder.glob(".*.tmp"))


@contextmanager
def _forked(work: Callable[[], object]) -> Iterator[int]:
    """A child process that does the work and ends."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            work()
            status = 0
        os._exit(status)
    yield child
    os.waitpid(child, 0)


def test_killed_at_random_moments(tmp_path: Path, undisturbed: Path) -> None:
    """Whatever it is doing at that moment: a step, a line of the log, a checkpoint half on the disk."""
    chance = dice.Random(0)
    kills = 0
    for attempt in range(40):
        last = attempt == 39
        with _forked(lambda: _train(tmp_path, lambda _: time.sleep(0.002))) as child:
            if not last:
                time.sleep(chance.uniform(0.02, 0.25))
                os.kill(child, signal.SIGKILL)
                kills += not (tmp_path / "checksum").exists()
        if (tmp_path / "checksum").exists():
            break
    assert kills >= 3
    _same(tmp_path, undisturbed)


@pytest.mark.slow
def test_killed_in_a_process_of_its_own(tmp_path: Path, undisturbed: Path) -> None:
    log = tmp_path / "log.jsonl"
    for rows in (3, 8):
        process = subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < rows):
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _same(tmp_path, undisturbed)


def test_ctrl_c_ends_the_step_and_saves(tmp_path: Path, undisturbed: Path) -> None:
    def press(call: int) -> None:
        if call == 25:  # the second batch of the 13th step: an epoch has 9 batches in 5 steps
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, press)
    assert signal.getsignal(signal.SIGINT) == before
    saved = RunFolder.open(tmp_path, {"verb": "test"}).load_checkpoint()
    assert saved is not None
    assert saved["step"] == 14
    _train(tmp_path)
    _same(tmp_path, undisturbed)


def test_second_ctrl_c_does_not_wait(tmp_path: Path, undisturbed: Path) -> None:
    def press(call: int) -> None:
        if call == 25:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, press)
    _train(tmp_path)
    _same(tmp_path, undisturbed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _train(Path(sys.argv[1]), lambda _: time.sleep(0.01))
