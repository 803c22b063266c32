"""Stopped or killed in the middle: the same command goes on, to the same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import PLAIN, Command, results, start

SECONDS = 60  # what a slow machine may need until its first checkpoint
BEGUN = 300  # until a demo trains, whose processes load everything once more


def command(teacher: str, photos: Path, out: Path) -> tuple[object, ...]:
    return (
        "harden", teacher, photos, *PLAIN, "--augment", "none", "--epochs", 30, "--batch-size", 8, "--workers", 0,
        "--checkpoint-seconds", 0.1, "--realizations", 1, "--device", "cpu", "--out", out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(teacher: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from weatherproof.cli import main

    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([str(word) for word in command(teacher, photos, out)]) == 0
    return out


@pytest.mark.parametrize("how", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT])
def test_the_same_command_goes_on(
    how: signal.Signals, teacher: str, photos: Path, tmp_path: Path, undisturbed: Path, weatherproof: Command
) -> None:
    out = tmp_path / "run"
    process = start(*command(teacher, photos, out))
    give_up = time.monotonic() + SECONDS
    while not (out / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(how)
    said, err = process.communicate(timeout=SECONDS)
    assert not (out / "encoder.safetensors").exists(), "finished before it could be stopped"
    assert (out / "checkpoint.pt").exists()
    assert said == "" and "Traceback" not in err
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1].startswith("weatherproof: stopped") and "the same command goes on" in err

    assert weatherproof(*command(teacher, photos, out))[0] == 0
    assert (out / "encoder.safetensors").read_bytes() == (undisturbed / "encoder.safetensors").read_bytes()
    assert results(out) == results(undisturbed)
    steps = [line.split(",")[0] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == [line.split(",")[0] for line in (undisturbed / "log.jsonl").read_text().splitlines()]


def still_training(process: subprocess.Popen[str], folder: Path) -> bool:
    """Waits until the training in that folder has logged; whether it has, and the process still runs."""
    give_up = time.monotonic() + BEGUN
    while not (folder / "log.jsonl").exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return (folder / "log.jsonl").exists() and not (folder / "encoder.safetensors").exists() and process.poll() is None


def test_a_stopped_demo_says_one_line(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from weatherproof.__main__ import main; sys.exit(main())"
    process = subprocess.Popen(  # with a group of its own, as a terminal's: Ctrl-C reaches all processes
        [sys.executable, "-c", program, "demo", "--seeds", "40", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    trains = still_training(process, out / "teacher")
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
    said, err = process.communicate(timeout=SECONDS)
    assert trains, f"ended before it could be stopped, or never began: {err}"
    told = [line for line in err.splitlines() if not line.startswith("demo: ")]
    assert process.returncode == 130 and said == ""
    assert [line.partition(";")[0] for line in told if line] == ["weatherproof: stopped"]


@pytest.mark.slow
def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    """All of them have the same standard error, which ends with the last one."""
    process = start("demo", "--seeds", 40, "--out", tmp_path / "demo")
    trains = still_training(process, tmp_path / "demo/teacher")
    process.kill()
    _, err = process.communicate(timeout=10)
    assert trains, f"ended before it could be killed, or never began: {err}"
