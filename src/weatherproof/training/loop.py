"""The loop: method + images + plan -> weights."""

import copy
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.cluster import Job, job
from weatherproof.data import Batch, ImageSet, batches
from weatherproof.data.files import Decoded
from weatherproof.data.images import order_of
from weatherproof.encoders.layout import convolutions_channels_last
from weatherproof.errors import InputError
from weatherproof.interrupts import number_of
from weatherproof.modes import eval_mode, unchanged_statistics
from weatherproof.progress import Meter, phase, speak
from weatherproof.training import state
from weatherproof.training.errors import TrainingError
from weatherproof.training.looking import looking
from weatherproof.training.memory import keep_freed_memory
from weatherproof.training.optimizers import make_optimizer, require_gradients
from weatherproof.training.passes import passes
from weatherproof.training.plan import Course, Plan
from weatherproof.training.processes import Interrupt, count_unreadable, gather_by, interrupt, launch, make_fabric
from weatherproof.training.run import RunFolder
from weatherproof.training.trackers import Trackers
from weatherproof.training.watch import Watch, due

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_DROPOUT = 0x64726F70  # "drop": the framework's own generators, in training, are a function of (seed, step) alone
_TALK = 2.0  # seconds between two moments at which several processes settle whether to stop


def fit(
    method: nn.Module,
    images: ImageSet,
    plan: Plan,
    run: RunFolder | None = None,
    *,
    watch: Watch | None = None,
    label: str = "training",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Train a method in place and return the log's lines.

    With a run folder the training goes on where an earlier one, stopped or killed at any moment, left off; on one CPU
    the final weights are the same to the last bit. Afterwards the method is in evaluation mode, where it was.

    Args:
        watch: ``watch(method, epoch) -> {name: number}``, called every `watch.every` epochs and at the end in
            evaluation mode, by the first process alone. Its numbers join the log's line of that step, its time does
            not count as training. Among several processes it must be picklable.
        label: what the training is called while it goes on.
        progress: tell of it, as `progress.phase` does.

    Raises:
        InputError: images, plan or disk cannot be used.
        TrainingError: the loss or the weights are no longer numbers. The last checkpoint is from before.
        KeyboardInterrupt: Ctrl-C or another signal that asks to stop, after a checkpoint at the end of a step.
    """
    _check(method, images)
    prepare = getattr(method, "prepare", None)  # of methods that remember something of every image
    if prepare is not None:
        prepare(images)
    course = Course(plan, len(images))
    if plan.shards:
        from weatherproof.training.sharding import check_shareable

        check_shareable(method)
    if (look := looking()) is not None:
        look(method, images, course)
        return []
    fabric = make_fabric(plan)
    home = next(method.parameters()).device
    try:
        if plan.devices == 1:
            rows = _train(fabric, method, images, course, run, watch, label, progress)
        elif (own := job()) is not None:
            rows = _train_in_job(own, fabric, method.to("cpu"), images, course, run, watch, label, progress)
        else:
            rows = _train_in_processes(fabric, method.to("cpu"), images, course, run, watch, label, progress)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the GPU's memory does not hold a batch of {plan.batch_size}: try micro_batch (the same batch, fewer "
            "images at a time), checkpoint_gradients, or a smaller batch_size"
        ) from error
    finally:
        method.to(home, memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return rows


def _check(method: nn.Module, images: ImageSet) -> None:
    if len(images) == 0:
        raise InputError(f"{images.name} holds no images to train on")
    missing = int((images.labels < 0).sum())
    if getattr(method, "needs_labels", False) and missing:
        raise InputError(f"training with labels needs one for every image: {missing} of {len(images)} have none")


def _train(
    fabric: "Fabric",
    method: nn.Module,
    images: ImageSet,
    course: Course,
    run: RunFolder | None,
    watch: Watch | None,
    label: str,
    progress: bool,
    saved: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    keep_freed_memory()
    training = Training(fabric, method, images, course, run, watch, saved)
    shown = progress and fabric.is_global_zero
    if shown and fabric.world_size > 1:
        speak()
    with (
        passes(training.method, course.plan, training.weights),
        phase(label, course.steps, "steps", done=training.step, shown=shown) as meter,
        interrupt() as asked,
        _put_together() if course.plan.shards else nullcontext(),
    ):
        training.go(meter, asked)
        training.give_back()
    return training.rows


def _put_together() -> AbstractContextManager[None]:
    from weatherproof.training.sharding import put_together

    return put_together()


def _train_in_processes(
    fabric: "Fabric", method: nn.Module, images: ImageSet, course: Course, *rest: Any
) -> list[dict[str, Any]]:
    """Only the training has several processes; what the first one ends with comes back through a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.pt"
        launch(fabric, partial(_one_of_many, file=file, of=(method, images, course, *rest)))
        result = torch.load(file, weights_only=True)
    if isinstance(images, Decoded):
        images.bad_files.record(result["bad"], result["warned"])
        images.bad_files.warn()
    if result["interrupted"]:
        raise KeyboardInterrupt(result["interrupted"])
    state.load_trained(method, result["weights"])
    return result["rows"]


def _one_of_many(fabric: "Fabric", file: Path, of: tuple[Any, ...]) -> None:
    method, images, *rest = of
    for tensor in [*method.parameters(), *method.buffers()]:  # they arrive in memory that all processes share
        tensor.data = tensor.data.clone()
    interrupted, rows = 0, []
    try:
        rows = _train(fabric, method, images, *rest)
    except KeyboardInterrupt as error:
        interrupted = int(number_of(error))
    if fabric.is_global_zero:
        found = images.bad_files if isinstance(images, Decoded) else None
        known = {} if found is None else {"bad": found.reasons, "warned": found.warned}
        torch.save({"interrupted": interrupted, "rows": rows, "weights": state.trained(method), **known}, file)


@dataclass(frozen=True)
class _WatchedElsewhere:
    """When the first process looks, for the others."""

    every: float

    def __call__(self, method: nn.Module, epoch: float) -> Mapping[str, float]:
        return {}


def _train_in_job(
    own: Job, fabric: "Fabric", method: nn.Module, images: ImageSet, course: Course, run: RunFolder | None,
    watch: Watch | None, label: str, progress: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """The training of the job's first process; the others get what they need of it, and write nothing."""
    saved = run.load_checkpoint() if run is not None else None
    elsewhere = None if watch is None else _WatchedElsewhere(watch.every)
    with own.together(partial(_train_with_the_first, method, images, course, elsewhere, saved)):
        fabric.launch()
        return _train(fabric, method, images, course, run, watch, label, progress, saved)


def _train_with_the_first(
    method: nn.Module, images: ImageSet, course: Course, watch: Watch | None, saved: Mapping[str, Any] | None
) -> None:
    fabric = make_fabric(course.plan)
    fabric.launch()
    _train(fabric, method, images, course, None, watch, "", progress=False, saved=saved)


def _row_words(row: dict[str, Any]) -> str:
    return f"epoch {row['epoch']:.1f}, loss {row['loss']:.4g}, {row['images_per_second']:.0f} images/s"


class _Arguments:
    """What a method is called with. Wrappers that move every tensor to the GPU cannot see in: keys stay on the CPU."""

    def __init__(self, *values: Any) -> None:
        self.values = values


class _Step(nn.Module):
    """A method, called with `_Arguments`."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, arguments: _Arguments) -> dict[str, Tensor]:
        return self.method(*arguments.values)


class Training:
    """A training under way, in one process.

    Attributes:
        given: the method that is to be trained, whole.
        method: what trains: the same, or where weights are shared out their parts.
        step: steps done.
        rows: the log's lines.
    """

    def __init__(
        self,
        fabric: "Fabric",
        method: nn.Module,
        images: ImageSet,
        course: Course,
        run: RunFolder | None,
        watch: Watch | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.fabric, self.given, self.images, self.course, self.plan = fabric, method, images, course, course.plan
        self.watch = watch
        if saved is None and run is not None:
            saved = run.load_checkpoint()
        self.frozen = state.fingerprint(method) if run is not None or saved is not None else 0
        self.method = copy.deepcopy(method) if self.plan.shards and fabric.is_global_zero else method
        if self.plan.shards:
            self.method.to(memory_format=torch.contiguous_format)
        else:
            convolutions_channels_last(self.method)
        self.method.train()
        with warnings.catch_warnings():  # newer torch has another name for what DDP is told here
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self.module = fabric.setup_module(_Step(self.method))
        self.weights = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer: Any = fabric.setup_optimizers(make_optimizer(self.plan, self.weights, fabric.device))
        self.gather = gather_by(fabric)
        self.run = run if fabric.is_global_zero else None
        self.step = self.saved_step = self._resume(run, saved)
        self.rows = self.run.rewind(self.step) if self.run else []
        tracked = self.plan.tensorboard or self.plan.tracker is not None
        self.board = Trackers(self.plan, self.run, self.step, self.rows) if self.run and tracked else None
        self.tell = getattr(self.method, "at_step", None)  # of methods whose loss changes in the course of the training
        self.losses: list[Tensor] = []  # of the steps since somebody last looked
        self.seen, self.since = 0, time.monotonic()
        self.saved_at = time.monotonic()
        self.talks, self.talked = self.step + 1, (self.step, time.monotonic())

    def go(self, meter: Meter, interrupt: Interrupt) -> None:
        """All steps that are left."""
        try:
            self._go(meter, interrupt)
        finally:
            if self.board is not None:
                self.board.close()

    def give_back(self) -> None:
        """What was given has the weights of now, in the first process. Where they are shared out, all have to come."""
        if self.plan.shards:
            weights = self._whole(state.trained(self.method))
            if self.fabric.is_global_zero:
                state.load_trained(self.given, weights)

    def _whole(self, nest: Any) -> Any:
        from weatherproof.training.sharding import whole

        return whole(nest, keep=self.fabric.is_global_zero) if self.plan.shards else nest

    def _go(self, meter: Meter, interrupt: Interrupt) -> None:
        with closing(self._stream()) as stream:
            while self.step < self.course.steps:
                terms = self._one_step(stream, interrupt)
                row, looks = None, due(self.watch, self.course, self.step)
                if looks or self.step % self.plan.log_every == 0 or self.step in (1, self.course.steps):
                    row = self._log(terms, looks)
                meter.advance()
                if row is not None:
                    meter.note = _row_words(row)
                self._save_or_stop(interrupt)
        count_unreadable(self.images, self.fabric)
        self._look()
        if self.saved_step < self.step:
            self._save()
        elif self.board is not None:
            self.board.saved()

    def _stream(self) -> Generator[tuple[int, Batch], None, None]:
        """(epoch, this process's share of a batch), from the first one that is still to be seen."""
        epoch, done = divmod(self.step, self.course.steps_per_epoch)
        rows = self.plan.batch_size // self.plan.devices
        while True:
            order = order_of(self.images, self.plan.seed, epoch)
            for batch in batches(
                self.images,
                rows,
                order=self.course.share(order, self.fabric.global_rank),
                device=self.fabric.device,
                workers=self.plan.workers,
                start=done * self.plan.accumulate,
                fill=self.plan.devices > 1,
            ):
                yield epoch, batch
            count_unreadable(self.images, self.fabric)
            epoch, done = epoch + 1, 0

    def _one_step(self, stream: Iterator[tuple[int, Batch]], interrupt: Interrupt) -> dict[str, Tensor]:
        """Forward and backward of the step's batches, one move of the weights. Nothing waits for a GPU."""
        plan, parts = self.plan, self.course.batches_of(self.step)
        means: dict[str, Tensor] = {}
        if self.tell is not None:
            self.tell(self.step)
        for part in range(parts):
            try:
                epoch, batch = next(stream)
            except RuntimeError:
                if interrupt.asked:  # Ctrl-C reached the loader's workers too; the step has not begun
                    self._interrupted(interrupt.asked, alone=True)
                raise
            keys = random.fold(random.keys(plan.seed, batch.index), epoch)
            seeds = (_DROPOUT, plan.seed, self.step, part, self.fabric.global_rank)
            with (
                random.framework_seed(*seeds),
                self.fabric.no_backward_sync(self.module, enabled=part < parts - 1 and not plan.shards),
            ):
                terms = self.module(_Arguments(batch.images, batch.labels, batch.index, keys, self.gather))
                for name, value in terms.items():
                    means[name] = means.get(name, 0) + value.detach() / parts
                if self.fabric.device.type == "cpu" and plan.devices == 1 and not terms["loss"].isfinite():
                    raise self._not_a_number(self.step + 1, float(terms["loss"].detach()))
                if not terms["loss"].requires_grad:
                    require_gradients(self.method, self.weights)
                # to the weights alone: a method may have asked for a gradient by the pixels, which is not wanted again
                with self._counted_once():
                    self.fabric.backward(terms["loss"] / parts, inputs=None if plan.shards else self.weights)
                if self.step == 0 and not plan.shards:
                    require_gradients(self.method, self.weights)
            self.seen += len(batch.index) * plan.devices
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.lr(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(means["loss"])
        self.step += 1
        return means

    def _counted_once(self) -> AbstractContextManager[None]:
        """Where the backward pass runs networks once more, their running statistics have counted the images already."""
        again = self.plan.micro_batch or self.plan.checkpoint_gradients
        return unchanged_statistics(self.method) if again else nullcontext()

    def _look(self) -> None:
        """Wait for the losses of the steps since the last look, and stop if one is no number."""
        if not self.losses:
            return
        first = self.step - len(self.losses) + 1
        for step, value in enumerate(self._over_processes(torch.stack(self.losses)).tolist(), first):
            if not abs(value) < float("inf"):
                raise self._not_a_number(step, value)
        self.losses = []

    def _over_processes(self, values: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return values
        mean = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def _log(self, terms: dict[str, Tensor], looks: bool) -> dict[str, Any]:
        self._look()
        values = self._over_processes(torch.stack([value.float() for value in terms.values()])).tolist()
        now = time.monotonic()
        row = {
            "step": self.step,
            "epoch": round(self.step / self.course.steps_per_epoch, 4),
            **dict(zip(terms, values, strict=True)),
            "lr": self.course.lr(self.step - 1),
            "images_per_second": round(self.seen / max(now - self.since, 1e-9), 1),
        }
        if looks and self.watch is not None:
            row |= self._watched(self.watch, row["epoch"])
        self.seen, self.since = 0, time.monotonic()
        self.rows.append(row)
        if self.run is not None:
            self.run.log(row)
        if self.board is not None:
            self.board.log(row)
        return row

    def _watched(self, watch: Watch, epoch: float) -> Mapping[str, float]:
        """What the first process sees, with the weights whole on its device."""
        self.give_back()
        if not self.fabric.is_global_zero:
            return {}
        home = next(self.given.parameters()).device
        with eval_mode(self.given), torch.no_grad():
            seen = watch(self.given.to(self.fabric.device), epoch)
        self.given.to(home)
        return seen

    def _save_or_stop(self, interrupt: Interrupt) -> None:
        due = self.run is not None and time.monotonic() - self.saved_at >= self.plan.checkpoint_seconds
        stop, due = (interrupt.asked, due) if self.fabric.world_size == 1 else self._agreed(interrupt, due)
        if stop:
            self._interrupted(stop)
        if due:
            self._save()

    def _agreed(self, interrupt: Interrupt, due: bool) -> tuple[int, bool]:
        """All processes must stop, and save, at one step: every few seconds they settle it, and when they talk next."""
        if self.step < self.talks:
            return 0, False
        step, then = self.talked
        own = interrupt.asked  # a signal may come at any moment
        numbers = [float(own), float(due), (time.monotonic() - then) / (self.step - step)]
        agreed = self.fabric.all_reduce(torch.tensor(numbers, device=self.fabric.device), reduce_op="max")
        assert isinstance(agreed, Tensor)
        number, saves, seconds = agreed.tolist()
        pause = min(_TALK, self.plan.checkpoint_seconds)
        self.talks, self.talked = self.step + max(1, int(pause / max(seconds, 1e-4))), (self.step, time.monotonic())
        return own or int(number), bool(saves)

    def _interrupted(self, number: int, *, alone: bool = False) -> None:
        """Stop, with a checkpoint; a process alone has none to write where weights are shared out."""
        if self.saved_step < self.step and not (alone and self.plan.shards):
            self._save()
        raise KeyboardInterrupt(number)

    def _save(self) -> None:
        """Checkpoint, after making sure that it is worth keeping."""
        if self.fabric.world_size == 1:
            self._look()
        now = self._whole(state.capture(self.method, self.optimizer, self.fabric, self.course, self.step, self.frozen))
        if not self._of_all(state.all_finite(now["weights"])):
            raise self._not_a_number(self.step, float("nan"), what="weights")
        if self.run is not None:
            self.run.save_checkpoint(now)
        if self.board is not None:
            self.board.saved()
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def _of_all(self, good: bool) -> bool:
        """Whether it is so in the first process, which alone has the weights where they are shared out."""
        return bool(self.fabric.broadcast(good)) if self.plan.shards else good

    def _resume(self, run: RunFolder | None, saved: Mapping[str, Any] | None) -> int:
        if saved is None:
            return 0
        where = Path("checkpoint.pt") if run is None else run.path / "checkpoint.pt"
        if self.plan.shards:
            from weatherproof.training.sharding import parted

            saved = parted(saved, self.method, self.optimizer)
        return state.restore(saved, self.method, self.optimizer, self.fabric, self.course, self.frozen, where)

    def _not_a_number(self, step: int, value: float, what: str = "loss") -> TrainingError:
        if step == 1 and what == "loss":
            return TrainingError(
                f"the loss became {value} at step 1, before any weight was changed: that is not the learning rate, "
                "look at the encoder's weights, the images and the precision"
            )
        last = f"{self.run.path / 'checkpoint.pt'} holds step {self.saved_step}" if self.run and self.saved_step else ""
        return TrainingError(
            f"the {what} became {value} at step {step}: lower lr (now {self.course.lr(step - 1):.3g}) or raise "
            f"warmup_epochs, and use another --out; {last or 'nothing was saved yet'}"
        )
