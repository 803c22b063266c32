"""Trackers: the real packages, writing into the run folder, read back by their own means."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.training import Plan, RunFolder, fit
from weatherproof.training.trackers import FILE, Trackers

IMAGES = MemoryImages(
    torch.randint(0, 256, (40, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(40) % 4,
)


class Method(nn.Module):
    """A classifier that may be interrupted in a step."""

    def __init__(self, stop_at: int = 0) -> None:
        super().__init__()
        with random.framework_seed(3):
            self.net = nn.Linear(48, 4)
        self.calls, self.stop_at = 0, stop_at

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.stop_at:
            raise RuntimeError("killed")
        return {"loss": F.cross_entropy(self.net(images.flatten(1)), labels)}


def train(folder: Path, tracker: str | None, stop_at: int = 0, **settings: Any) -> list[dict[str, Any]]:
    run = RunFolder.open(folder, {"verb": "train", "tracker": tracker})
    plan = Plan(2.0, 8, 0.01, device="cpu", log_every=1, checkpoint_seconds=0, tracker=tracker, **settings)  # type: ignore[arg-type]
    try:
        return fit(Method(stop_at), IMAGES, plan, run, progress=False)
    finally:
        run.close()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    yield


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package's own dependencies
def test_mlflow_goes_on_in_the_same_run_and_has_every_step_once(tmp_path: Path) -> None:
    client = pytest.importorskip("mlflow.tracking", reason="the extra mlflow is not installed").MlflowClient
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "run", "mlflow", stop_at=5)
    train(tmp_path / "run", "mlflow")
    here = client(tracking_uri=(tmp_path / "run" / "mlflow").as_uri())
    runs = here.search_runs([one.experiment_id for one in here.search_experiments()])
    assert len(runs) == 1 and runs[0].info.status == "FINISHED" and runs[0].info.run_name == "run"
    assert runs[0].data.params["verb"] == "train"
    found = [(one.step, one.value) for one in here.get_metric_history(runs[0].info.run_id, "loss")]
    assert sorted(found) == [(row["step"], row["loss"]) for row in log_of(tmp_path / "run")]
    assert [step for step, _ in sorted(found)] == list(range(1, 11))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_goes_on_in_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "run", "wandb", stop_at=5)
    first = json.loads((tmp_path / "run" / FILE).read_text())["wandb"]
    assert first["step"] == 4
    train(tmp_path / "run", "wandb")
    assert json.loads((tmp_path / "run" / FILE).read_text())["wandb"] == {"id": first["id"], "step": 10}
    files = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{first['id']}/run-{first['id']}.wandb"))
    assert len(files) == 2
    found = [pair for file in files for pair in history(file)]
    assert found == [(row["step"], pytest.approx(row["loss"])) for row in log_of(tmp_path / "run")]


def history(file: Path) -> list[tuple[int, float]]:
    """Steps and losses of a run's file."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        if "loss" in items:
            found.append((int(items["_step"]), float(items["loss"])))
    return found


def records(content: bytes) -> Iterator[bytes]:
    """Of a log in LevelDB's format: blocks of 32 KiB; pieces with checksum, length and kind (whole, first, middle,
    last). The package's own header is as long as a piece's."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_tensorboard_is_a_tracker_too(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    train(tmp_path / "run", "tensorboard")
    events = accumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 11))
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in ("mlflow", "mlflow.entities", "mlflow.tracking", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install 'weatherproof\[{name}\]'"):
        train(tmp_path / "run", name)


class Deaf:
    """A tracker that takes nothing for a while."""

    id = "deaf"

    def __init__(self, times: int) -> None:
        self.times, self.got = times, []

    def send(self, rows: Any) -> None:
        self.times -= 1
        if self.times >= 0:
            raise ConnectionError("no route to host")
        self.got += [row["step"] for row in rows]

    def close(self) -> None:
        pass


def test_a_tracker_that_is_away_ends_no_training_and_gets_everything_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Deaf(4)
    monkeypatch.setattr(Trackers, "_open", lambda self, known: deaf)
    with pytest.warns(UserWarning, match="mlflow takes nothing .ConnectionError: no route to host.: training goes on"):
        train(tmp_path / "run", "mlflow")
    assert deaf.got == list(range(1, 11))


def test_a_tracker_that_stayed_away_gets_the_rest_when_the_run_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trackers, "_open", lambda self, known: Deaf(1000))
    with pytest.warns(UserWarning, match="takes nothing"):
        train(tmp_path / "run", "mlflow")
    deaf = Deaf(0)
    monkeypatch.setattr(Trackers, "_open", lambda self, known: deaf)
    train(tmp_path / "run", "mlflow")
    assert deaf.got == list(range(1, 11))


def test_a_tracker_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "run", None, stop_at=5)
    assert len(train(tmp_path / "run", "tensorboard")) == 10


def test_a_tracker_must_be_a_known_one() -> None:
    with pytest.raises(
        InputError, match="tracker of Plan must be 'tensorboard' or 'mlflow' or 'wandb' or None, got 'wanddb'"
    ):
        Plan(1.0, 8, 0.01, tracker="wanddb")  # type: ignore[arg-type]
