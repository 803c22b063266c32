"""A run folder: what was asked, how far it got, what came of it. Files only."""

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from weatherproof import texts
from weatherproof.cluster import job
from weatherproof.errors import InputError, Stopped, shown
from weatherproof.files import disk_errors, replacing, write_atomically
from weatherproof.interrupts import interrupts_noticed, number_of
from weatherproof.processor import processor_name
from weatherproof.recipe import INPUTS, OWN_FILES, RECORDED
from weatherproof.spec import fits
from weatherproof.training.lock import Lock, hold

# Settings that do not change what comes out.
IGNORED = (
    "out", "json", "config", "device", "workers", "progress", "minutes", "processes", "checkpoint_gradients", "compile",
    "devices",  # a training that goes on with another number says what that changes
    "strategy", "tracker",
)  # fmt: skip
_PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy")
_BEGUN = frozenset({"recipe.yaml", ".lock", "tracker.json"})  # files that are there before anything is done
_BOARDS = frozenset({"tensorboard", "mlflow", "wandb"})  # folders of trackers

_opened: ContextVar[list["RunFolder"] | None] = ContextVar("opened", default=None)


@contextmanager
def refusals_leave_nothing() -> Iterator[None]:
    """The work of a verb, which this decorates: where it ends in an error, each run folder that was opened inside is
    discarded, so that one which had not got anywhere is as it was before. So it is after Ctrl-C where none of them
    holds work; where one does, they stay, and it is a `Stopped`. Other signals that ask to stop are as Ctrl-C."""
    runs: list[RunFolder] = []
    token = _opened.set(runs)
    try:
        with interrupts_noticed(once=job() is not None) as interrupted:
            yield
    except (Exception, KeyboardInterrupt) as error:
        refused = not isinstance(error, KeyboardInterrupt) and not interrupted()
        stopped = not refused and any(run.holds_work for run in runs)
        for run in () if stopped else reversed(runs):
            run.discard()
        if refused:
            raise
        number = number_of(error) if isinstance(error, KeyboardInterrupt) else interrupted()
        raise (Stopped if stopped else KeyboardInterrupt)(number) from None
    finally:
        _opened.reset(token)


@dataclass(frozen=True)
class _Before:
    """What there was before a run folder was opened.

    Attributes:
        missing: the folder and those above it that had to be made, innermost first.
        names: what stood in it.
    """

    missing: tuple[Path, ...]
    names: frozenset[str]

    @classmethod
    def of(cls, folder: Path) -> "_Before":
        above = [path for path in (folder, *folder.parents) if not path.exists()]
        return cls(tuple(above), frozenset(item.name for item in folder.iterdir()) if not above else frozenset())

    def since(self, folder: Path) -> Iterator[Path]:
        """Everything in the folder that was not there, what is inside first. What was there is not walked through."""
        for item in folder.iterdir():
            if item.name not in self.names:
                for home, folders, files in os.walk(item, topdown=False):
                    yield from (Path(home) / name for name in (*files, *folders))
                yield item

    def restore(self, folder: Path, files: Sequence[Path]) -> None:
        """Remove these files of the folder, and the folders that are empty then and were not there."""
        for path in files:
            with suppress(OSError):
                path.unlink()
        for path in (*list(self.since(folder)), *self.missing):
            with suppress(OSError):  # it is no folder, or somebody else has put something there in the meantime
                path.rmdir()


class RunFolder:
    """One run's folder, held by one process at a time.

    Attributes:
        path: the folder.
        recipe: the settings as they stand in recipe.yaml.
        provisional: files and folders in it, such as measured/clean, that are of no use before something else tells of
            them.
    """

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], lock: Lock | None = None, before: _Before | None = None
    ) -> None:
        self.path, self.recipe, self._lock, self._before = path, recipe, lock, before
        self.provisional: set[str] = set()

    @classmethod
    def open(cls, path: str | Path, recipe: Mapping[str, Any], *, ignore: Sequence[str] = IGNORED) -> "RunFolder":
        """Start a run, or take up one of the same recipe where it stopped.

        Args:
            path: the folder; made where it is not there.
            recipe: the verb and its arguments; components become their text.
            ignore: settings that may differ when a run is taken up again.

        Raises:
            InputError: the folder cannot be written, holds something else or another run, or is in use. It is then as
                it was before.
        """
        folder, wanted = _folder(path), _plain(recipe)
        with disk_errors(folder):
            before = _Before.of(folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, wanted, before=before)
        try:
            run._lock = hold(folder)
        except InputError:
            before.restore(folder, ())  # the files that are there belong to the process which holds the folder
            raise
        try:
            run._begin(wanted, {*ignore, *RECORDED})
        except Exception:
            run.discard()
            raise
        runs = _opened.get()
        if runs is not None:
            runs.append(run)
        return run

    def _begin(self, wanted: Mapping[str, Any], ignore: set[str]) -> None:
        file = self.path / "recipe.yaml"
        if file.exists():
            self.recipe = _read_recipe(file)
            _compare(self.path, self.recipe, wanted, ignore)
            return
        if any(not item.name.startswith(".") for item in self.path.iterdir()):
            raise InputError(f"{self.path} holds other files and no run: choose another --out, or an empty folder")
        self.recipe = {**wanted, "versions": dict(_versions()), "hardware": _hardware()}
        self.write_text("recipe.yaml", yaml.safe_dump(self.recipe, sort_keys=False, allow_unicode=True))

    @property
    def finished(self) -> bool:
        """Whether the results are there."""
        return (self.path / "results.json").exists()

    @property
    def holds_work(self) -> bool:
        """Whether there is something in it from which the same command would go on."""
        return any(file.is_file() and not self._is_nothing(file) for file in self.path.rglob("*"))

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock = None

    def discard(self) -> None:
        """Let it go, and where nothing is worth keeping (a checkpoint, a result) leave the folder as `open` found it:
        what never began need not be found. What others have put there stays, and so does an earlier call's work."""
        if self._before is not None and self.path.is_dir():
            since = [path for path in self._before.since(self.path) if not path.is_dir() or path.is_symlink()]
            if all(map(self._is_nothing, since)):
                self._before.restore(self.path, since)
        self.close()

    def _is_nothing(self, file: Path) -> bool:
        """Whether the work would be the same without this file."""
        inside = file.relative_to(self.path)
        if any(inside.is_relative_to(name) for name in self.provisional) or _BOARDS & {*inside.parts[:-1]}:
            return True
        if file.name == "log.jsonl" and not file.with_name("checkpoint.pt").exists():
            return True
        return file.name in _BEGUN or (file.name.startswith(".") and file.name.endswith(".tmp"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}  # a lock stays with its process

    # the log

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl."""
        file = self.path / "log.jsonl"
        with disk_errors(file), file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(finite(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The log's lines; one that a kill has torn is left out."""
        return list(_json_lines(self.path / "log.jsonl"))

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Forget what the log says of later steps, which will be taken again. Returns what is left."""
        rows = [row for row in self.rows() if row["step"] <= step]
        if (self.path / "log.jsonl").exists():
            self.write_text("log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    # the checkpoint

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace checkpoint.pt. The log comes first, so that no checkpoint is ahead of it after a power cut."""
        log = self.path / "log.jsonl"
        if log.exists():
            with disk_errors(log), log.open("rb") as stream:
                os.fsync(stream.fileno())
        with replacing(self.path / "checkpoint.pt", _size(state)) as file:
            torch.save(dict(state), file)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What `save_checkpoint` wrote last, on the CPU; None at the start of a run."""
        file = self.path / "checkpoint.pt"
        if not file.exists():
            return None
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes of the reader
            raise InputError(f"{file} cannot be read, delete it to train from the start: {error}") from error

    # everything else

    def write_text(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        write_atomically(self.path / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file, whole or not at all. What JSON has no number for (NaN, infinity) becomes null."""
        self.write_text(name, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def _folder(path: object) -> Path:
    """Where a run may go. Raises `InputError` for what is no path, or a file."""
    if not isinstance(path, str | Path) or "\0" in str(path) or not str(path):
        raise InputError(f"--out is the folder of the run, got {shown(path)}")
    folder = Path(path)
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: expected a folder for the run, choose another --out")
    return folder


def _read_recipe(file: Path) -> dict[str, Any]:
    try:
        found = texts.read_yaml(file)
    except (texts.Malformed, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}): choose another --out or delete it") from None
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no settings: choose another --out or delete it")
    return found


def _compare(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], ignore: set[str]) -> None:
    for name in dict.fromkeys([*wanted, *found]):
        there, here = found.get(name), wanted.get(name)
        if name in (OWN_FILES, INPUTS):
            _compare_files(folder, there, here)
            continue
        if name not in ignore and there != here:
            raise InputError(
                f"{folder} holds another run: setting {shown(name)} is {shown(there)} there and {shown(here)} here; "
                "choose another --out or delete it"
            )


def _compare_files(folder: Path, there: object, here: object) -> None:
    """Raise `InputError` where the user's own code, weights or images are others than the run began with."""
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return
    for file, content in there.items():
        if here.get(file, content) != content:
            raise InputError(
                f"{file} has changed since the run in {folder} began: choose another --out, or delete the folder"
            )


def _plain(value: Any) -> Any:
    """The value as YAML holds it: components and paths become their text, tuples lists."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    return str(value)


def finite(value: Any) -> Any:
    """The value as JSON holds it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = texts.parse_json(line)
        except texts.Malformed:
            continue
        if isinstance(row, dict) and fits(row.get("step"), int):
            yield row


def _size(state: Any) -> int:
    """Bytes of all tensors in a nest of mappings and lists."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(_size, state.values()))
    return sum(map(_size, state)) if isinstance(state, list | tuple) else 0


@cache
def _versions() -> Mapping[str, str]:
    from weatherproof import __version__

    found = {"weatherproof": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, Any]:
    found: dict[str, Any] = {"processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found
