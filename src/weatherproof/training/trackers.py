"""The log's numbers in an experiment tracker too: TensorBoard, MLflow or Weights & Biases.

The id of the tracker's run lies in the run folder (tracker.json), so that a training which is taken up again goes on in
the same one. TensorBoard gets each line at once, and forgets those of steps that are taken again. The others cannot
forget: they get a line when the checkpoint that holds its step is on the disk, so none twice. Nothing leaves the
machine unless the tracker's own variable says where to: MLFLOW_TRACKING_URI, WANDB_MODE=online.
"""

import json
import math
import os
import secrets
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from weatherproof.errors import InputError
from weatherproof.recipe import COMMITS, INPUTS, OWN_FILES
from weatherproof.texts import Malformed, read_json
from weatherproof.training.plan import Plan
from weatherproof.training.run import RunFolder

FILE = "tracker.json"
PROJECT = "weatherproof"
_MOST = 900  # numbers in one call: MLflow takes 1,000
_TEXT = 500  # characters of a setting

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Where lines of the log go."""

    def send(self, rows: Sequence[Row]) -> None:
        """Lines, in the order of their steps."""

    def close(self) -> None:
        """Nothing more comes."""


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name in row.keys() - {"step"}:
                self.writer.add_scalar(name, row[name], row["step"])

    def close(self) -> None:
        self.writer.close()


class _MLflow:
    """By the client alone, which knows no current run. A store in the run folder where no other is named."""

    def __init__(self, run: RunFolder, known: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # files, which need no database package
        try:
            from mlflow.entities import Metric
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise _missing("mlflow") from None
        self.metric = Metric
        where = os.environ.get("MLFLOW_TRACKING_URI") or (run.path.resolve() / "mlflow").as_uri()
        self.client = MlflowClient(tracking_uri=where)
        self.id = str(known.get("id") or self._new(run))
        self.client.update_run(self.id, status="RUNNING")

    def _new(self, run: RunFolder) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment is not None else self.client.create_experiment(name)
        made = self.client.create_run(number, run_name=run.path.name)
        for key, value in _settings(run).items():
            self.client.log_param(made.info.run_id, key, value)
        return str(made.info.run_id)

    def send(self, rows: Sequence[Row]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self.metric(name, float(value), now, row["step"]) for row in rows for name, value in _numbers(row).items()
        ]
        for start in range(0, len(metrics), _MOST):
            self.client.log_batch(self.id, metrics=metrics[start : start + _MOST])

    def close(self) -> None:
        self.client.set_terminated(self.id)


class _Wandb:
    """Offline, where WANDB_MODE says nothing else: `wandb sync` sends what lies in the run folder."""

    def __init__(self, run: RunFolder, known: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError:
            raise _missing("wandb") from None
        self.id = str(known.get("id") or secrets.token_hex(8))
        settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, id=self.id, name=run.path.name, resume="allow",
            dir=str(run.path), mode=mode, config=_settings(run),
            settings=settings, reinit="create_new",
        )  # fmt: skip

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.run.log(_numbers(row), step=row["step"])

    def close(self) -> None:
        self.run.finish()


def _missing(name: str) -> InputError:
    return InputError(f"the tracker {name} needs a package: pip install 'weatherproof[{name}]'")


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: value
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


def _settings(run: RunFolder) -> dict[str, str]:
    return {name: str(value)[:_TEXT] for name, value in run.recipe.items() if name not in (OWN_FILES, INPUTS, COMMITS)}


class Trackers:
    """Those that a plan asks for, of a training in a run folder.

    Args:
        step: where the training begins or goes on.
        rows: what the log holds up to there; what a tracker has not got of it, it gets now.

    Raises:
        InputError: a package is not installed, or a tracker cannot be reached.
    """

    def __init__(self, plan: Plan, run: RunFolder, step: int, rows: Sequence[Row]) -> None:
        self.run = run
        on_board = plan.tensorboard or plan.tracker == "tensorboard"
        self.board: Tracker | None = _TensorBoard(run.path, step) if on_board else None
        self.kind = plan.tracker if plan.tracker in ("mlflow", "wandb") else None
        self.remote: _MLflow | _Wandb | None = None
        self.waiting: list[Row] = []
        self.refused = False
        if self.kind is not None:
            known = self._known()
            self.remote = self._open(known)
            self.sent = int(known.get("step", 0))
            self._remember()
            self.waiting = [row for row in rows if row["step"] > self.sent]

    def _open(self, known: Mapping[str, Any]) -> _MLflow | _Wandb:
        try:
            return _MLflow(self.run, known) if self.kind == "mlflow" else _Wandb(self.run, known)
        except InputError:
            raise
        except Exception as error:  # of any kind, from a library and from behind an address
            raise InputError(
                f"the tracker {self.kind} cannot be used ({type(error).__name__}: {error}): see to its address and "
                "key, or leave out --tracker"
            ) from error

    def _known(self) -> Mapping[str, Any]:
        """The tracker's own run, where an earlier call has begun it."""
        file = self.run.path / FILE
        try:
            found = read_json(file) if file.is_file() else {}
        except (OSError, Malformed) as error:
            raise InputError(
                f"{file} cannot be read ({error}): delete it to begin another run in the tracker"
            ) from None
        known = found.get(self.kind) if isinstance(found, dict) else None
        sound = isinstance(known, dict) and isinstance(known.get("id"), str) and isinstance(known.get("step"), int)
        return known if sound and isinstance(known, dict) else {}

    def _remember(self) -> None:
        assert self.remote is not None
        file = self.run.path / FILE
        others = json.loads(file.read_text()) if file.is_file() else {}
        self.run.write_json(FILE, {**others, self.kind: {"id": self.remote.id, "step": self.sent}})

    def log(self, row: Row) -> None:
        """A new line of the log."""
        if self.board is not None:
            self.board.send([row])
        if self.remote is not None:
            self.waiting.append(row)

    def saved(self) -> None:
        """A checkpoint that holds all lines so far is on the disk."""
        if self.remote is None or not self.waiting:
            return
        try:
            self.remote.send(self.waiting)
        except Exception as error:  # it must not end a training
            if not self.refused:
                warnings.warn(
                    f"the tracker {self.kind} takes nothing ({type(error).__name__}: {error}): training goes on, "
                    "log.jsonl has every line, and the tracker is tried again",
                    stacklevel=2,
                )
            self.refused = True
            return
        self.sent, self.waiting = int(self.waiting[-1]["step"]), []
        self._remember()

    def close(self) -> None:
        """The training ends, or is interrupted."""
        for tracker in (self.board, self.remote):
            if tracker is not None:
                try:
                    tracker.close()
                except Exception as error:
                    warnings.warn(f"a tracker did not close ({type(error).__name__}: {error})", stacklevel=2)
