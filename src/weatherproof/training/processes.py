"""One process or several: devices, precision and what the processes tell each other."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import active_children
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from weatherproof.cluster import Place, job
from weatherproof.data import ImageSet
from weatherproof.data.files import Decoded
from weatherproof.errors import InputError
from weatherproof.interrupts import STOPPING
from weatherproof.protocols import Gather
from weatherproof.training.errors import TrainingError
from weatherproof.training.plan import Plan
from weatherproof.training.precision import SLOW_BFLOAT16, computes_bfloat16

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(plan: Plan, place: Place | None = None) -> "Fabric":
    """Lightning Fabric for the plan's device, processes and precision. In a job of several processes a plan for more
    than one is for all of them.

    Args:
        place: of this process among those of a job; None: what the job says, where there is one.

    Raises:
        InputError: a device that is not here, or fewer than asked for.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision on each call
    kind, _, number = plan.device.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:0', got {plan.device!r}")
    in_job = job() if place is None else None
    own = (place if in_job is None else in_job.place) if plan.devices > 1 else None
    needed = plan.devices if own is None else 1  # each process of a job has its own, which may be another machine's
    accelerator = "cuda" if kind == "cuda" or (kind == "auto" and gpus >= needed) else "cpu"
    if accelerator == "cuda" and (gpus < needed or (number and int(number) >= gpus)):
        raise InputError(f"device {plan.device!r} with {plan.devices} process(es) needs more GPUs than the {gpus} here")
    if plan.precision == "16-mixed" and accelerator == "cpu":
        raise InputError("precision '16-mixed' needs a GPU: use '32-true' or 'bf16-mixed' on the CPU")
    if plan.precision == "bf16-mixed" and accelerator == "cpu" and not computes_bfloat16():
        warnings.warn(SLOW_BFLOAT16, stacklevel=2)
    if own is not None and number:
        raise InputError(f"device {plan.device!r} is that of one process: in a job each has its own, say cuda")
    if own is not None and own.world != plan.devices:
        raise InputError(f"a training in a job of {own.world} processes is shared by all, not by {plan.devices}")
    if plan.shards:
        from weatherproof.training.sharding import Sharded
    strategy: type[DDPStrategy] = Sharded if plan.shards else DDPStrategy
    # Buffers are not broadcast: in training nothing reads running statistics, and the first process's are kept.
    # DDP puts gradients into other buckets after its first step, unless it looks for unused weights; with three or more
    # processes that is another order of adding, and a training that goes on would differ in the last bit.
    ddp: dict[str, Any] = {"broadcast_buffers": False, "find_unused_parameters": plan.devices > 2}
    if own is not None:
        where = own.local_rank % gpus if accelerator == "cuda" else 0
        return Fabric(
            accelerator=accelerator, devices=[where] if accelerator == "cuda" else 1, num_nodes=own.world,
            strategy=strategy(cluster_environment=_environment(own), **ddp), precision=plan.precision,
        )  # fmt: skip
    return Fabric(
        accelerator=accelerator,
        devices=[int(number)] if number else plan.devices,
        strategy=strategy(start_method="spawn", **ddp) if plan.devices > 1 else "auto",
        precision=plan.precision,
        plugins=[LightningEnvironment()],  # whatever launcher there is: this process works alone, or starts others
    )


def _environment(place: Place) -> Any:
    """A process's place as Fabric wants it: each one is a node with one device, whichever that is."""
    from lightning_fabric.plugins.environments import ClusterEnvironment

    class Environment(ClusterEnvironment):
        creates_processes_externally = True
        main_address, main_port = place.address, place.port

        @staticmethod
        def detect() -> bool:
            return False

        def world_size(self) -> int:
            return place.world

        def set_world_size(self, size: int) -> None:
            assert size == place.world

        def global_rank(self) -> int:
            return place.rank

        def set_global_rank(self, rank: int) -> None:
            assert rank == place.rank

        def local_rank(self) -> int:
            return 0

        def node_rank(self) -> int:
            return place.rank

    return Environment()


def launch(fabric: "Fabric", function: Callable[["Fabric"], None]) -> None:
    """function(fabric) in every new process, until all have ended. Their errors are raised here as they were."""
    from torch.multiprocessing.spawn import ProcessRaisedException

    try:
        with _leave_interrupts_to_the_processes():
            fabric.launch(partial(_and_part, function=function))
    except ProcessRaisedException as error:
        raise _original(error) from error


def _and_part(fabric: "Fabric", function: Callable[["Fabric"], None]) -> None:
    """A process that ends while gloo's threads run may be aborted."""
    function(fabric)
    distributed.destroy_process_group()


def gather_by(fabric: "Fabric") -> Gather:
    """Joins the rows of all processes in rank order.

    Each process computes the loss of the whole batch; the backward pass of the join sums what all of them say about a
    row, and DDP and FSDP average over processes: the two factors cancel, and every weight gets the gradient of that
    one loss.
    """

    def gather(rows: Tensor) -> Tensor:
        return rows if fabric.world_size == 1 else _joined(rows)

    return gather


def _joined(rows: Tensor) -> Tensor:
    found: Tensor = _Joined.apply(rows)
    return found


class _Joined(torch.autograd.Function):
    """The rows of all processes, of which each has as many. Its gradient is `_Parted`, and the other way round, so that
    gradients of gradients are exact, too."""

    @staticmethod
    def forward(_context: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        found: Tensor = _Parted.apply(gradients[0])
        return found


class _Parted(torch.autograd.Function):
    """This process's rows of the sum over all processes."""

    @staticmethod
    def forward(_context: Any, rows: Tensor) -> Tensor:
        total = rows.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()].clone()

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return _joined(gradients[0])


def _original(error: Exception) -> Exception:
    """The one-line error that a process's traceback ends with, as the class it had there."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    for known in (InputError, TrainingError):
        if kind == f"{known.__module__}.{known.__qualname__}":
            return known(message)
    return error


class Interrupt:
    """A signal that asks to stop, seen at the end of a step: `asked` is its number, or 0. A second Ctrl-C stops at
    once, but in a job, whose launcher may pass on the one that each process has got already."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, number: int, *_: Any) -> None:
        if self.asked and number == signal.SIGINT and job() is None:
            raise KeyboardInterrupt
        self.asked = self.asked or number


@contextmanager
def interrupt() -> Iterator[Interrupt]:
    """Inside, a signal waits for the end of the step. Outside the main thread none arrives, and nothing changes."""
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked) for number in STOPPING}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _leave_interrupts_to_the_processes() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal: those that train end their step, and this one waits for them. What
    reaches this one alone is passed on to them."""
    with interrupt():
        for number in {*STOPPING} - {signal.SIGINT}:
            if threading.current_thread() is threading.main_thread():
                signal.signal(number, _pass_on)
        yield


def _pass_on(number: int, *_: Any) -> None:
    for child in active_children():
        with suppress(OSError):
            os.kill(child.pid or 0, number) if child.pid else None


def count_unreadable(images: ImageSet, fabric: "Fabric") -> None:
    """The images of all processes that cannot be read, each having met those of its share. The first one says it.

    Raises:
        InputError: together they are more than may be left out (see `load_images`).
    """
    if not isinstance(images, Decoded):
        return
    own = images.bad_files
    if fabric.world_size > 1:
        reports: list[Any] = [None] * fabric.world_size
        distributed.all_gather_object(reports, (own.reasons, own.warned))
        for reasons, warned in reports:
            own.record(reasons, warned)
    if fabric.world_size == 1 or (fabric.is_global_zero and job() is not None):
        own.warn()
