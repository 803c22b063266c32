"""Where a process stands in a job, how the processes meet, and what SLURM is told."""

import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from weatherproof.cluster import Place, here, joined, joining
from weatherproof.cluster.job import join, leave_group
from weatherproof.cluster.place import first_host
from weatherproof.cluster.slurm import requeue, wants_requeue
from weatherproof.errors import InputError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "head", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "1234567", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "2", "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_JOB_NODELIST": "gpu[01-04]",
}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_no_launcher_no_place() -> None:
    assert here({}) is None
    batch_script = {name: value for name, value in SRUN.items() if not name.startswith("SLURM_STEP")}
    assert here(batch_script) is None


def test_torchrun_says_where() -> None:
    assert here(TORCHRUN) == Place(3, 4, 1, "head", 29500, "torchrun")
    assert here({"RANK": "0", "WORLD_SIZE": "1"}) == Place(0, 1, 0, "localhost", 29500, "torchrun")
    assert here(SRUN | TORCHRUN) == Place(3, 4, 1, "head", 29500, "torchrun")


def test_srun_says_where() -> None:
    place = here(SRUN)
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.address, place.by) == (5, 6, 2, "gpu03", "SLURM")
    every = [here(SRUN | {"SLURM_PROCID": str(rank)}) for rank in range(6)]
    assert len({(one.address, one.port) for one in every if one}) == 1
    other = here(SRUN | {"SLURM_JOB_ID": "1234568"})
    assert other is not None and other.port != place.port
    assert here(SRUN | {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "7"}) == Place(5, 6, 2, "10.0.0.7", 7, "SLURM")


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("one", "one"), ("a1,a2", "a1"), ("gpu[07-09,12],login1", "gpu07"), ("n[5]", "n5"),
        ("rack[1-2]n[01-16]-ib,x", "rack1n01-ib"), ("c-[1,3],d", "c-1"),
    ],
)  # fmt: skip
def test_the_first_host(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "4"}, "process 4 of 4"),
        ({"RANK": "-1"}, "RANK must be a whole number from 0, got '-1'"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE must be a whole number"),
        ({"MASTER_PORT": "99999"}, "a port from 1 to 65535, got 99999"),
        ({"MASTER_ADDR": None}, "needs MASTER_ADDR"),
        ({"MASTER_PORT": None}, "needs MASTER_PORT"),
    ],
)
def test_an_environment_that_makes_no_sense(change: dict[str, str | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        here({name: value for name, value in (TORCHRUN | change).items() if value is not None})


# meeting


def place_of(rank: int, world: int, port: int) -> Place:
    return Place(rank, world, rank, "127.0.0.1", port, "torchrun")


def meet(world: int, words: dict[int, list[str]] | None = None) -> dict[int, Any]:
    """What `join` gives each of the processes, which are threads here, or raises there."""
    port, found = free_port(), {}

    def one(rank: int) -> None:
        try:
            found[rank] = join(place_of(rank, world, port), (words or {}).get(rank, ["train"]))
        except InputError as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_all_meet_in_their_order() -> None:
    found = meet(3)
    job, alone = found[0]
    assert alone is None and [other.rank for other in job.others] == [1, 2] and job.world == 3
    for other in job.others:
        other.connection.send(("end", other.rank))
        assert found[other.rank][1].recv() == ("end", other.rank)


def test_a_group_alone() -> None:
    """For those who want torch's process group and no more."""
    joined(place_of(0, 1, free_port()), seconds=20)
    total = torch.ones(2)
    torch.distributed.all_reduce(total)
    assert total.tolist() == [1, 1] and torch.distributed.get_world_size() == 1
    leave_group()
    assert not torch.distributed.is_initialized()


def test_another_command_is_refused() -> None:
    error = meet(2, {1: ["train", "--lr", "0.1"]})[0]
    assert isinstance(error, InputError)
    assert "process 1 on" in str(error) and "the command is 'train --lr 0.1' there and 'train' here" in str(error)


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ("audit --seed 1", "audit --seed 1 --lr 2", "'... 1' there and '... 1 --lr 2' here"),
        ("a --lr 1 --seed 3", "a --lr 2 --seed 3", "'... --lr 1 ...' there and '... --lr 2 ...' here"),
        ("a a", "a a a", "'... a' there and '... a a' here"), ("x", "y z", "'x' there and 'y z' here"),
        ("x b c", "y b c", "'x ...' there and 'y ...' here"), ("a b b", "a b", "'... b b' there and '... b' here"),
    ],
)  # fmt: skip
def test_where_two_commands_part_is_said(there: str, here: str, said: str) -> None:
    with pytest.raises(InputError, match=f"the command is {re.escape(said)}; start"):
        joining._compare(joining.Other(1, "node", None), {"the command": here}, {"the command": there})  # type: ignore[arg-type]


def test_those_that_are_there_are_told_why_nothing_begins() -> None:
    found = meet(3, {2: ["train", "--lr", "0.1"]})
    assert isinstance(found[0], InputError)
    told = [one for rank, one in found.items() if rank and not isinstance(one, InputError)]
    assert told and all(alone.recv() == ("refused", str(found[0])) for _, alone in told)


def test_another_recipe_of_one_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines may have unlike files at one path."""
    file = tmp_path / "recipe.yaml"
    file.write_text("epochs: 1")
    here = joining.facts(["train", "--config", str(file)])
    file.write_text("epochs: 2")
    there = joining.facts(["train", f"--config={file}"]) | {"the command": here["the command"]}
    with pytest.raises(InputError, match="the file --config is '.{12}' there and '.{12}' here"):
        joining._compare(joining.Other(1, "node", None), here, there)  # type: ignore[arg-type]


def test_other_code_or_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = joining.facts(["train"])
    assert own["Python"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("torch", "weatherproof", "Python"):
        with pytest.raises(InputError, match=f"process 1 on node is unlike the first process: {name} is '0' there"):
            joining._compare(joining.Other(1, "node", None), own, own | {name: "0"})  # type: ignore[arg-type]


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHERPROOF_JOIN_SECONDS", "0.3")
    with pytest.raises(InputError, match=r"2 of the job's 3 processes .* at 127.0.0.1 within 0.3 s: 1, 2"):
        join(place_of(0, 3, free_port()), ["train"])


def test_a_first_process_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHERPROOF_JOIN_SECONDS", "1")
    port = free_port()
    with pytest.raises(
        InputError, match=f"process 1 of 2 on .* cannot reach the first one at 127.0.0.1:{port} within 1"
    ):
        join(place_of(1, 2, port), ["train"])


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot open port {port} .* set MASTER_PORT to a free one"):
            join(place_of(0, 2, port), ["train"])


@pytest.mark.parametrize("said", ["soon", "-3", "0", "nan"])
def test_a_time_that_is_none(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHERPROOF_JOIN_SECONDS", said)
    with pytest.raises(InputError, match="WEATHERPROOF_JOIN_SECONDS must be a number of seconds above 0"):
        joining.patience()


def test_strangers_at_the_port_are_no_processes() -> None:
    store: dict[str, Any] = {}

    class Store:
        def set(self, name: str, value: str) -> None:
            store[name] = value

    found: list[Any] = []

    def first() -> None:
        found.append(joining.others_of(place_of(0, 2, 1), Store(), {}, 20.0))  # type: ignore[arg-type]

    thread = threading.Thread(target=first)
    thread.start()
    while not store:
        time.sleep(0.01)
    port, token = store.popitem()[1].split()
    for hello in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x04abcd", b""):
        with socket.create_connection(("127.0.0.1", int(port))) as stranger:
            stranger.sendall(hello)
    guest = joining.connection_of(socket.create_connection(("127.0.0.1", int(port))))
    joining.send(guest, "hello", token=token, rank=1, host="node", facts={})
    thread.join(20)
    assert [str(other) for other in found[0]] == ["process 1 on node"]


# SLURM


def test_which_signals_queue_a_job_again() -> None:
    soon, late = str(int(time.time()) + 5), str(int(time.time()) + 5000)
    assert wants_requeue(signal.SIGUSR1, SRUN) and not wants_requeue(signal.SIGUSR1, {})
    assert wants_requeue(signal.SIGTERM, SRUN | {"SLURM_JOB_END_TIME": soon})
    assert not wants_requeue(signal.SIGTERM, SRUN | {"SLURM_JOB_END_TIME": late})  # scancel, or SLURM itself
    assert not wants_requeue(signal.SIGTERM, SRUN) and not wants_requeue(signal.SIGINT, SRUN)


def scontrol(folder: Path, status: int = 0) -> Path:
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\necho refused >&2\nexit {status}\n')
    program.chmod(0o755)
    return folder


def test_a_job_is_queued_again(tmp_path: Path) -> None:
    own = SRUN | {"PATH": f"{scontrol(tmp_path)}:/bin:/usr/bin"}
    assert requeue(own) == "job 1234567 is queued again"
    array = own | {"SLURM_ARRAY_JOB_ID": "88", "SLURM_ARRAY_TASK_ID": "4"}
    assert requeue(array) == "job 88_4 is queued again"
    assert (tmp_path / "asked").read_text().split("\n")[:2] == ["requeue 1234567", "requeue 88_4"]


def test_a_job_that_cannot_be_queued_again(tmp_path: Path) -> None:
    assert "scontrol says refused" in requeue(SRUN | {"PATH": f"{scontrol(tmp_path, 1)}:/bin"})
    assert "there is no scontrol here" in requeue(SRUN | {"PATH": str(tmp_path / "nothing")})
