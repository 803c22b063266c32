"""The engine: trials of one's own, kept by their columns, in memory, in files and from other processes."""

import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weatherproof import progress, random
from weatherproof.cluster import Job, Place
from weatherproof.cluster.job import taking_part
from weatherproof.cluster.joining import Other
from weatherproof.cluster.serving import serve
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation.engine import ranks
from weatherproof.evaluation.engine.answers import Answers, BlockFiles
from weatherproof.evaluation.engine.run import Measured, Settings, run
from weatherproof.evaluation.engine.trials import EVAL_STREAM, Columns, Look, Models, column
from weatherproof.operators import Corruption, GaussianNoise
from weatherproof.protocols import Operator
from weatherproof.readouts import evaluating

N, SIDE = 23, 5


@dataclass(frozen=True)
class Embedded:
    """What every model makes of one draw of a damage, and how bright the images are."""

    operator: Operator | None = None
    draw: int = 0
    positions: Tensor | None = None

    @property
    def label(self) -> str:
        return f"{self.operator!r} | {self.draw}"

    @property
    def words(self) -> str:
        return self.label

    def __call__(self, models: Models, look: Look) -> Columns:
        damaged = look.damaged(self.operator, self.draw)
        with evaluating(*models.values()):
            found = {column(name, "embedding"): model(damaged) for name, model in models.items()}
        return found | {"brightness": damaged.mean(dim=(1, 2, 3))}


def images() -> MemoryImages:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 1, SIDE, SIDE), dtype=np.uint8)
    return MemoryImages(
        torch.from_numpy(pixels), torch.arange(N) % 2, ["a", "b"], name="toys", index=torch.arange(N) + 9
    )


def models() -> dict[str, nn.Module]:
    generator = torch.Generator().manual_seed(3)
    found = {"one": nn.Linear(SIDE * SIDE, 4), "the other/one": nn.Linear(SIDE * SIDE, 2)}
    for layer in found.values():
        nn.init.normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    return {name: nn.Sequential(nn.Flatten(), layer) for name, layer in found.items()}


TRIALS = (
    Embedded(),
    Embedded(GaussianNoise(0.2)),
    Embedded(GaussianNoise(0.2), 1),
    Embedded(Corruption("contrast", 3)),
)


def measured(
    given: dict[str, Callable[..., Tensor]] | None = None, trials: tuple[Embedded, ...] = TRIALS, **settings: object
) -> Measured:
    chosen = Settings(**({"batch_size": 4, "block": 10, "seed": 1} | settings))  # type: ignore[arg-type]
    return run(given or models(), trials, images(), chosen, name="own", title="toys")


def same(a: Measured, b: Measured) -> bool:
    def alike(one: Answers, other: Answers) -> bool:
        return torch.equal(one.place, other.place) and all(
            torch.equal(one[name], other[name]) for name in {*one.columns, *other.columns}
        )

    return a.answers.keys() == b.answers.keys() and all(alike(a.answers[k], b.answers[k]) for k in a.answers)


def test_a_trial_answers_for_several_models_from_one_damaged_batch() -> None:
    found, pixels = measured(), images().pixels.float() / 255
    assert found.complete and not found.missing and found.fewest == N
    for trial in TRIALS:
        keys = random.fold(random.keys(1, images().index), EVAL_STREAM, trial.draw)
        damaged = pixels if trial.operator is None else trial.operator(pixels, keys)
        own = found.answers[trial.label]
        assert own.place.tolist() == list(range(N))
        torch.testing.assert_close(own["brightness"], damaged.mean(dim=(1, 2, 3)))
        for name, model in models().items():
            with torch.no_grad():
                torch.testing.assert_close(own.of(name)["embedding"], model(damaged))
        assert own.of("the other").columns.keys() == {"one/embedding"} and not own.of("three").columns


def test_files_keep_what_memory_does_and_nothing_is_done_twice(tmp_path: Path) -> None:
    first = measured(trials=TRIALS[:2], folder=tmp_path)
    calls = []

    def counted(model: nn.Module) -> Callable[..., Tensor]:
        def call(pixels: Tensor) -> Tensor:
            calls.append(len(pixels))
            return model(pixels)

        return call

    assert same(first, measured(trials=TRIALS[:2], folder=tmp_path))
    assert same(measured(), measured(folder=tmp_path))
    settings = {"folder": tmp_path / "counted"}
    functions = {name: counted(model) for name, model in models().items()}
    measured(functions, TRIALS[:2], **settings)
    assert sum(calls) == 2 * 2 * N
    measured(functions, **settings)
    assert sum(calls) == 2 * 4 * N


def test_positions_are_the_images_of_a_trial_in_their_order() -> None:
    order = torch.tensor([7, 3, 19, 3 + 1, 0, 22, 11])
    part = Embedded(positions=order)
    found = measured(trials=(part,), block=3).answers[part.label]
    whole = measured(trials=TRIALS[:1]).answers[TRIALS[0].label]
    assert found.place.tolist() == list(range(7)) and torch.equal(found["brightness"], whole["brightness"][order])


def test_other_weights_or_another_seed_are_refused(tmp_path: Path) -> None:
    measured(folder=tmp_path)
    changed = models()
    with torch.no_grad():
        changed["one"][1].bias.add_(1)
    for given, settings in ((changed, {}), (None, {"seed": 2}), (None, {"block": 5})):
        with pytest.raises(InputError, match="holds answers of another model"):
            measured(given, folder=tmp_path, **settings)


@pytest.mark.slow
def test_processes_of_a_share_change_nothing(tmp_path: Path) -> None:
    for k in (1, 0):
        cut = measured(folder=tmp_path, share=(k, 2), processes=2, block=4)
        assert cut.complete == (k == 0)
    assert same(cut, measured(block=4))


# over the processes of a job: the others are threads here, each with a connection of its own


@contextmanager
def job_of(
    world: int, monkeypatch: pytest.MonkeyPatch, others: Mapping[int, Callable[..., object]] | None = None
) -> Iterator[Job]:
    """A job of so many processes; some of the others do something else than `serve`."""
    monkeypatch.setattr(progress, "hush", lambda: None)
    ends, threads = [], []
    for rank in range(1, world):
        here, there = socket.socketpair()
        ends.append(Other(rank, "elsewhere", Connection(here.detach())))
        own, place = Connection(there.detach()), Place(rank, world, 0, "localhost", 1, "torchrun")
        target = (others or {}).get(rank, serve)
        threads.append(threading.Thread(target=target, args=(Job(place, None), own), daemon=True))  # type: ignore[arg-type]
    job = Job(Place(0, world, 0, "localhost", 1, "torchrun"), None, ends)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        for thread in threads:
            thread.start()
        with taking_part(job):
            yield job
        job.end(0)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def dies_at_its_first_block(job: Job, connection: Connection) -> None:
    connection.recv()
    connection.recv()
    connection.close()


class Heavy(nn.Module):
    """Not done before the others have had a block."""

    def forward(self, pixels: Tensor) -> Tensor:
        time.sleep(0.01)
        return pixels.flatten(1)


@pytest.mark.parametrize("folder", [False, True])
def test_the_processes_of_a_job_change_nothing(folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path if folder else None
    done: Counter[int] = Counter()
    send = ranks.send
    monkeypatch.setattr(ranks, "send", lambda c, kind, *a, **k: (done.update([kind]), send(c, kind, *a, **k))[1])
    given = models() | {"heavy": Heavy()}
    with job_of(3, monkeypatch):
        found = measured(given, folder=where, block=3)
    assert found.complete and same(found, measured(given, block=3))
    assert done["block"] >= 2 and done["over"] == 2  # type: ignore[index]
    if folder:
        assert same(measured(given, folder=tmp_path, block=3), found)


def test_a_process_that_dies_loses_its_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    given = models() | {"heavy": Heavy()}
    with job_of(3, monkeypatch, {1: dies_at_its_first_block}) as job, pytest.warns(UserWarning, match="process 1 on"):
        found = measured(given, block=3)
        assert [other.rank for other in job.lost] == [1]
    assert found.complete and same(found, measured(given, block=3))


@dataclass(frozen=True)
class RefusedElsewhere(Embedded):
    """A trial that goes well in the main thread alone."""

    def __call__(self, models: Models, look: Look) -> Columns:
        if threading.current_thread() is not threading.main_thread():
            raise InputError("the model gives NaN")
        time.sleep(0.01)
        return super().__call__(models, look)


def test_what_another_process_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with job_of(2, monkeypatch), pytest.raises(InputError, match="the model gives NaN"):
        measured(trials=(RefusedElsewhere(),), block=2)


def test_a_full_disk_stops_the_processes_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: BlockFiles, number: int, answers: Mapping[str, Answers]) -> None:
        raise InputError("no space left on the disk")

    monkeypatch.setattr(BlockFiles, "write", full)
    with job_of(2, monkeypatch), pytest.raises(InputError, match="no space left"):
        measured(models() | {"heavy": Heavy()}, folder=tmp_path, block=3)


class Stopping(nn.Module):
    """Stops the first process once another one's answers are there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def forward(self, pixels: Tensor) -> Tensor:
        if threading.current_thread() is threading.main_thread():
            while not [*self.folder.rglob("block-*.safetensors")]:
                time.sleep(0.01)
            raise KeyboardInterrupt
        return pixels.flatten(1)


def test_a_job_that_was_stopped_goes_on_with_another_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = models() | {"third": Stopping(tmp_path)}
    digest = {"weights": "the same"}
    with job_of(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        chosen = Settings(batch_size=4, block=3, seed=1, folder=tmp_path)
        run(given, TRIALS, images(), chosen, name="own", title="toys", facts=digest)
    kept = [*(tmp_path / "own").glob("*.safetensors")]
    assert kept  # what the other one had done when it was told to stop
    chosen = Settings(batch_size=4, block=3, seed=1, folder=tmp_path)
    others = models() | {"third": nn.Flatten()}
    found = run(others, TRIALS, images(), chosen, name="own", title="toys", facts=digest)
    assert found.complete and same(found, measured(others, block=3))
