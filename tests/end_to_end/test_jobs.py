"""Jobs of several processes: by torchrun over localhost, by an `srun` of the test's own, and by their environment."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import weatherproof as wp
from weatherproof.cli import main
from weatherproof.training import RunFolder, loop

from .conftest import PLAIN, Command, results

SECONDS = 240  # what a slow machine may need
OWN = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "WEATHERPROOF_JOIN_SECONDS": "120"}


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder without batch normalisation, whose statistics would be those of a process's share."""
    file = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("lenet", seed=1)
    save_file({name: value.clone() for name, value in encoder.state().items()}, file)
    return f"lenet@{file}"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digits in one shard for training and one for test: fewer than processes."""
    out = tmp_path_factory.mktemp("shards")
    assert main(["shard", "digits", "--out", str(out)]) == 0
    return f"shards:{out}"


def hardening(encoder: str, images: str, out: Path, epochs: float = 1) -> list[str]:
    words = (
        "harden", encoder, images, *PLAIN, "--augment", "none", "--objective", "NTXent()", "--lr", 1e-4, "--epochs",
        epochs, "--batch-size", 64, "--workers", 0, "--checkpoint-seconds", 0.1, "--realizations", 1, "--test-images",
        60, "--device", "cpu", "--out", out,
    )  # fmt: skip
    return [str(word) for word in words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def program(*before: str) -> list[str]:
    """The command line as a program; statements may run before."""
    lines = [*before, "import sys", "from weatherproof.__main__ import main", "sys.exit(main())"]
    return [sys.executable, "-c", "\n".join(lines)]


def begin(words: Sequence[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | OWN | environment,
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list["subprocess.Popen[str]"]]]:
    """`job(2, *words)` starts the second process of two with this command, and makes this one the first."""
    started: list[subprocess.Popen[str]] = []

    def of(world: int, *words: object) -> list["subprocess.Popen[str]"]:
        where = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        for rank in range(1, world):
            own = where | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(begin([*program(), *map(str, words)], **own))
        for name, value in (where | {"RANK": "0", "LOCAL_RANK": "0"}).items():
            monkeypatch.setenv(name, value)
        return started

    yield of
    for process in started:
        process.kill()
        process.communicate()


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "encoder.safetensors")


def assert_near(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys() and max(float((b[name] - value).abs().max()) for name, value in a.items()) < 1e-5


def assert_moved(run: Path, encoder: str) -> None:
    start = wp.load_encoder(encoder).state()
    assert any((value - start[name]).abs().max() > 5e-5 for name, value in weights(run).items())


@pytest.mark.slow
def test_two_processes_harden_as_one_does(
    lenet: str, job: Callable[..., list["subprocess.Popen[str]"]], weatherproof: Command,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """All rows are each other's negatives; what the second one does is seen nowhere but in the weights."""
    two, one = tmp_path / "two", tmp_path / "one"
    words = hardening(lenet, "digits", two, 0.1)
    (other,) = job(2, *words)
    status, _, err = weatherproof(*words)
    assert status == 0, err
    assert other.communicate(timeout=SECONDS) == ("", "") and other.returncode == 0
    alone(monkeypatch)
    assert weatherproof(*hardening(lenet, "digits", one, 0.1))[0] == 0
    assert_near(one, two)
    assert_moved(one, lenet)
    assert [row["step"] for row in RunFolder(two, {}).rows()] == [row["step"] for row in RunFolder(one, {}).rows()]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("option", ["--devices", "--processes"])
def test_what_the_launcher_says_is_not_said_again(
    option: str, weatherproof: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for rank, lines in ((0, 1), (1, 0)):
        monkeypatch.setenv("RANK", str(rank))
        for name, value in (("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
            monkeypatch.setenv(name, value)
        status, out, err = weatherproof("harden", "small@random", "digits", f"{option}=2", "--out", tmp_path / "run")
        assert (status, out, len(err.splitlines())) == (2, "", lines)
        assert rank or f"{option} is said by torchrun here, which has started 2 processes: leave it out" in err
    assert not (tmp_path / "run").exists()


def test_help_is_given_once(weatherproof: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (0, 1):
        for name, value in (("RANK", str(rank)), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "x"), ("MASTER_PORT", "1")):
            monkeypatch.setenv(name, value)
        assert bool(weatherproof("--help")[1]) == (rank == 0)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes(
    lenet: str, job: Callable[..., list["subprocess.Popen[str]"]], weatherproof: Command,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    words = hardening(lenet, "digits", tmp_path / "run", 20)
    (other,) = job(2, *words)
    save = torch.save

    def full(state: object, file: Any, **how: Any) -> None:  # by which tensors are pickled, too
        if isinstance(state, dict) and "optimizer" in state:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, file, **how)

    monkeypatch.setattr(torch, "save", full)
    status, out, err = weatherproof(*words)
    assert (status, out) == (2, "") and "no space left on the disk of" in err.splitlines()[-1]
    _, said = other.communicate(timeout=SECONDS)
    assert other.returncode in (1, 2) and "Traceback" not in said
    assert not [file for file in (tmp_path / "run").iterdir() if "checkpoint" in file.name]


# torchrun


def torchrun(
    nodes: int, each: int, words: Sequence[str], *, before: str = "", on_the_last: Sequence[str] = ()
) -> list["subprocess.Popen[str]"]:
    """One torchrun a node, as an administrator types it on each, but all on this machine.

    Args:
        before: a file of statements that every process runs before the command line.
        on_the_last: words in place of "-m weatherproof" and `words` on the last node.
    """
    port, own = free_port(), [*([before] if before else ["-m", "weatherproof"]), *words]
    return [
        begin([
            sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={node}",
            f"--nproc-per-node={each}", "--master-addr=127.0.0.1", f"--master-port={port}",
            *(on_the_last if on_the_last and node == nodes - 1 else own),
        ])
        for node in range(nodes)
    ]  # fmt: skip


def script(file: Path, *lines: str) -> str:
    """The command line as a file, which does something before."""
    file.write_text("\n".join([*lines, *program()[2].splitlines()]))
    return str(file)


def ended(processes: Sequence["subprocess.Popen[str]"]) -> tuple[list[int], str]:
    """The exit status of each, and what all of them said."""
    said = [process.communicate(timeout=SECONDS) for process in processes]
    return [process.returncode for process in processes], "\n".join(out + err for out, err in said)


def process_of_rank(rank: int, launchers: Sequence["subprocess.Popen[str]"]) -> int:
    for launcher in launchers:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        for child in children:
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
    raise AssertionError(f"no process of rank {rank}")


def wait_for(condition: Callable[[], object], processes: Sequence["subprocess.Popen[str]"]) -> None:
    give_up = time.monotonic() + SECONDS
    while not condition() and all(p.poll() is None for p in processes) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert condition(), ended(processes)


SGD = """\
from dataclasses import replace
from weatherproof.training import loop
made = loop.make_optimizer
loop.make_optimizer = lambda plan, *rest: made(replace(plan, optimizer="sgd"), *rest)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("each", "strategy"), [(1, "ddp"), (2, "ddp"), (1, "fsdp")])
def test_a_job_of_two_nodes_survives_a_kill(
    each: int, strategy: str, lenet: str, shards: str, tmp_path: Path, weatherproof: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From shards, fewer than there are processes. By SGD: Adam divides a gradient that is almost none by its own size,
    and what a processor rounds otherwise in smaller batches then shows."""
    undisturbed, killed, one = tmp_path / "undisturbed", tmp_path / "killed", tmp_path / "one"
    sgd, shared = script(tmp_path / "sgd.py", SGD), ["--strategy", strategy, "--lr", "0.01"]
    status, said = ended(torchrun(2, each, hardening(lenet, shards, undisturbed, 2) + shared, before=sgd))
    assert status == [0, 0], said
    assert said.count("encoder  ") == 1 and "Traceback" not in said

    words = hardening(lenet, shards, killed, 2) + shared
    job = torchrun(2, each, words, before=sgd)
    wait_for((killed / "checkpoint.pt").exists, job)
    os.kill(process_of_rank(2 * each - 1, job), signal.SIGKILL)
    status, said = ended(job)
    assert 0 not in status and not (killed / "encoder.safetensors").exists(), said
    assert f"process {2 * each - 1} on" in said and "has ended in the middle of the training" in said

    status, said = ended(torchrun(2, each, words, before=sgd))
    assert status == [0, 0], said
    assert (killed / "encoder.safetensors").read_bytes() == (undisturbed / "encoder.safetensors").read_bytes()
    assert results(killed) == results(undisturbed)
    make = loop.make_optimizer
    monkeypatch.setattr(loop, "make_optimizer", lambda plan, *rest: make(replace(plan, optimizer="sgd"), *rest))
    assert weatherproof(*hardening(lenet, shards, one, 2), "--lr", 0.01)[0] == 0
    assert_near(one, killed)
    assert_moved(one, lenet)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["pretrain", "train", "finetune"])
def test_two_nodes_train_as_one_process_does(verb: str, lenet: str, tmp_path: Path, weatherproof: Command) -> None:
    def words(out: str) -> list[str]:
        subject = {
            "pretrain": ["mocov2", "digits", "--encoder", lenet, "--queue", "256"],  # without batch normalisation
            "train": ["supervised", "digits", "--encoder", lenet, "--realizations", "1"],
            "finetune": [lenet, "digits", "--realizations", "1"],
        }[verb]
        more = ("--optimizer", "sgd", "--lr", 0.05, "--epochs", 0.2, "--batch-size", 64, "--workers", 0, "--device",
                "cpu", "--test-images", 60, "--out", tmp_path / out)  # fmt: skip
        return [verb, *subject, *map(str, more)]

    status, said = ended(torchrun(2, 1, words("two")))
    assert status == [0, 0] and "Traceback" not in said, said
    assert weatherproof(*words("one"))[0] == 0
    assert_near(tmp_path / "one", tmp_path / "two")
    assert_moved(tmp_path / "one", lenet)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:small.* no weights given")
def test_a_study_is_shared_by_two_processes(tmp_path: Path, weatherproof: Command) -> None:
    """Batch normalisation takes its statistics of each process's share: the models have folders of their own."""

    def words(out: str) -> list[str]:
        return ["reproduce", "own-head", "--store", str(tmp_path / out / "store"), "--out", str(tmp_path / out / "run")]

    status, said = ended(torchrun(1, 2, words("two")))
    assert status == [0] and "Traceback" not in said, said
    assert weatherproof(*words("one"))[0] == 0
    made = [{file.parent.name for file in (tmp_path / out).rglob("encoder.json")} for out in ("one", "two")]
    assert len(made[0]) == len(made[1]) == len(made[0] | made[1]) / 2 > 0
    numbers = [{(r["model"], r["readout"], r["label_fraction"]): r["value"] for r in results(tmp_path / out / "run")}
               for out in ("one", "two")]  # fmt: skip
    assert numbers[0] == pytest.approx(numbers[1], abs=0.1)
    assert "devices=2" in (tmp_path / "two" / "run" / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["arguments", "versions"])
def test_nodes_that_are_unlike_begin_nothing(what: str, lenet: str, tmp_path: Path) -> None:
    words = hardening(lenet, "digits", tmp_path / "run")
    other = {
        "arguments": ["-m", "weatherproof", *words, "--lr", "0.5"],
        "versions": [
            script(tmp_path / "other.py", "import weatherproof", "weatherproof.__version__ = '0.0.1'"),
            *words,
        ],
    }[what]
    job = torchrun(2, 1, words, on_the_last=other)
    said = [process.communicate(timeout=SECONDS)[1].splitlines() for process in job]
    lines = [[line for line in own if line.startswith("weatherproof: ")] for own in said]
    assert len(lines[0]) == 1 and lines[0] == lines[1]
    assert lines[0][0].startswith("weatherproof: process 1 on ") and "is unlike the first process: " in lines[0][0]
    assert {"arguments": "--lr 0.5", "versions": "0.0.1 (code "}[what] in lines[0][0]
    assert lines[0][0].endswith("start the same command with the same versions everywhere")
    assert all(any("exitcode  : 2" in line for line in own) for own in said) and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_image_that_cannot_be_read_ends_no_job(teacher: str, photos: Path, tmp_path: Path) -> None:
    """Of images that are decoded when a batch needs them."""
    shutil.copytree(photos, tmp_path / "photos")
    bad = [tmp_path / "photos" / "train" / name for name in ("ant/001.png", "cat/005.png")]
    for file in bad:
        file.write_bytes(b"no image")
    lazily = script(
        tmp_path / "lazily.py", "import warnings", "warnings.simplefilter('default')",
        "from weatherproof.data import load_images",
        "load_images.__kwdefaults__ |= {'memory_budget': 0, 'max_bad': 0.2}",
    )  # fmt: skip
    words = [
        *hardening(teacher, str(tmp_path / "photos"), tmp_path / "run", 2),
        "--batch-size",
        "8",
    ]
    status, said = ended(torchrun(2, 1, words, before=lazily))
    assert status == [0, 0], said
    assert said.count("2 of 24 images (8.3%) in 'photos/train' cannot be read and are left out: first ") == 1, said
    assert RunFolder(tmp_path / "run", {}).rows()[-1]["epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("each", "rank"), [(1, 0), (1, 1), (2, 1)])
def test_an_audit_of_two_nodes_survives_a_kill(
    each: int, rank: int, lenet: str, shards: str, tmp_path: Path, weatherproof: Command
) -> None:
    """Of the first process, or of another one of its node, which torchrun ends: started again, it goes on from the
    blocks that are there. Of one of another node: it is not even stopped. From shards."""

    def words(out: str) -> list[str]:
        more = ("--operator", "GaussianNoise(0.3)", "--realizations", "1", "--device", "cpu", "--workers", "0")
        return ["audit", lenet, shards, "--split", "train", *more, "--out", str(tmp_path / out)]

    job = torchrun(2, each, words("killed"))
    wait_for(lambda: [*(tmp_path / "killed").rglob("block-*.safetensors")], job)
    os.kill(process_of_rank(rank, job), signal.SIGKILL)
    if rank < each:
        status, said = ended(job)
        assert 0 not in status and not (tmp_path / "killed" / "results.json").exists(), said
        status, said = ended(torchrun(2, each, words("killed")))
        assert status == [0, 0], said
    else:  # the first node's torchrun waits minutes for the other one's before it ends
        wait_for((tmp_path / "killed" / "report.html").exists, job[:1])
        os.killpg(job[0].pid, signal.SIGKILL)
        ended(job)
    assert weatherproof(*words("one"))[0] == 0
    assert results(tmp_path / "killed") == results(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_another_number_of_processes_goes_on(
    how: signal.Signals, lenet: str, tmp_path: Path, weatherproof: Command
) -> None:
    out = tmp_path / "run"
    (job,) = torchrun(1, 2, hardening(lenet, "digits", out, 15))
    wait_for(lambda: (out / "log.jsonl").exists() and len(RunFolder(out, {}).rows()) > 2, [job])
    job.send_signal(how)
    _, said = ended([job])
    assert said.count("weatherproof: stopped; what was done is saved, the same command goes on from there") == 1
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 10 < saved["step"] < 22 * 15 and saved["processes"] == 2
    warnings.simplefilter("default")
    status, _, err = weatherproof(*hardening(lenet, "digits", out, 15))
    assert status == 0 and "this training began with 2 process(es) and goes on with 1" in err
    undisturbed = tmp_path / "undisturbed"
    assert weatherproof(*hardening(lenet, "digits", undisturbed, 15))[0] == 0
    a, b = weights(out), weights(undisturbed)
    assert all((value - b[name]).abs().max() < 1e-3 for name, value in a.items())  # 330 steps of Adam later


# SLURM

SRUN = """\
import os, signal, subprocess, sys, time
many, words = int(sys.argv[2]), sys.argv[3:]
job = {**os.environ, "SLURM_JOB_ID": "4242", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(many),
       "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(many), "MASTER_PORT": os.environ["PORT"],
       "SLURM_JOB_END_TIME": str(int(time.time()) + 60)}
places = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(many)]
tasks = [subprocess.Popen(words, env=job | place) for place in places]
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: [task.send_signal(number) for task in tasks])
sys.exit(max(abs(task.wait()) for task in tasks))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGTERM])
def test_slurm_stops_a_job_before_its_time_limit_and_queues_it_again(
    how: signal.Signals, lenet: str, tmp_path: Path
) -> None:
    """By an srun and a scontrol on the path; SIGTERM is the time limit's own, which is near."""
    tools, out = tmp_path / "bin", tmp_path / "run"
    tools.mkdir()
    (tools / "srun").write_text(f"#!{sys.executable}\n{SRUN}")
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tools}/asked\n')
    for tool in ("srun", "scontrol"):
        (tools / tool).chmod(0o755)

    def srun(run: Path) -> "subprocess.Popen[str]":
        words = ["srun", "-n", "2", *program(), *hardening(lenet, "digits", run, 6)]
        return begin(words, PATH=f"{tools}:{os.environ['PATH']}", PORT=str(free_port()))

    job = srun(out)
    wait_for((out / "checkpoint.pt").exists, [job])
    before = torch.load(out / "checkpoint.pt", weights_only=True)["step"]
    job.send_signal(how)
    (status,), said = ended([job])
    assert status == 128 + how, said
    assert said.splitlines()[-1].endswith("the same command goes on from there; job 4242 is queued again")
    assert (tools / "asked").read_text() == "requeue 4242\n"
    assert before < torch.load(out / "checkpoint.pt", weights_only=True)["step"] < 6 * 22
    again, undisturbed = ended([srun(out)]), ended([srun(tmp_path / "undisturbed")])
    assert again[0] == undisturbed[0] == [0], (again, undisturbed)
    assert (out / "encoder.safetensors").read_bytes() == (tmp_path / "undisturbed" / "encoder.safetensors").read_bytes()
