"""Small things to run whole verbs on: a teacher's weights, and folders of tiny images."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typechecker  # noqa: F401 - before the package, where this file is read first
from PIL import Image
from safetensors.torch import save_file

import weatherproof as wp
from weatherproof.cli import main

CLASSES = ("ant", "bee", "cat")
ALONE: dict[str, Any] = {"keep": "hardened", "keep_clean": 0.0, "lean": False, "curriculum": 0.0}  # as in the paper
PLAIN = ("--keep", "hardened", "--keep-clean", 0, "--lean", "false", "--curriculum", 0)


def save_images(folder: Path, count: int, *, side: int = 16, seed: int = 0, tint: int = 0) -> None:
    """`count` PNG files of noise with a class's own tint, so that there is something to learn."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng([seed, tint])
    for i in range(count):
        pixels = draws.integers(0, 120, (side, side, 3), dtype=np.uint8)
        pixels[..., tint % 3] += 120
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


def class_folders(root: Path, *, train: int = 8, test: int = 4, side: int = 16) -> Path:
    """train/ and test/ with a folder for each of `CLASSES`."""
    for tint, name in enumerate(CLASSES):
        save_images(root / "train" / name, train, side=side, tint=tint)
        save_images(root / "test" / name, test, side=side, seed=1, tint=tint)
    return root


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of an encoder with weights from a file."""
    file = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("small", seed=1)
    save_file({name: value.clone() for name, value in encoder.state().items()}, file)
    return f"small@{file}"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images to learn from and 12 to test on, of three classes, 16 pixels wide."""
    return class_folders(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="session")
def classifier(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a classifier of the photos, called "model"."""
    return wp.train(
        "supervised", photos, encoder="small", epochs=3, batch_size=8, workers=0, realizations=1,
        out=tmp_path_factory.mktemp("classifier") / "model",
    ).folder  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: what a refused command leaves there, it should not have made."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def weatherproof(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process: (exit status, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(weatherproof: Command) -> Callable[..., str]:
    """Run a command line that must be refused: exit status 2, one line on standard error, nothing on the other."""

    def run(*words: object) -> str:
        status, out, err = weatherproof(*words)
        lines = err.splitlines()
        assert (status, out, len(lines)) == (2, "", 1), (status, out, err)
        assert lines[0].startswith("weatherproof: ")
        return lines[0]

    return run


def start(*words: object, cwd: Path | None = None, first: str = "pass") -> "subprocess.Popen[str]":
    """The command line in a process of its own, as `python -m weatherproof`, on one thread.

    Args:
        first: a statement that the process runs before.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    program = f"{first}\nimport sys\nfrom weatherproof.__main__ import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment,
        preexec_fn=_listen_to_interrupts,
    )  # fmt: skip


def _listen_to_interrupts() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and what they start inherits it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def results(folder: Path | str) -> list[dict[str, Any]]:
    """The records of a run folder."""
    return json.loads((Path(folder) / "results.json").read_text())["records"]
