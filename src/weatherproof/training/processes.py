"""One process or several: devices, precision and what the processes tell each other."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.protocols import Gather
from weatherproof.training.errors import TrainingError
from weatherproof.training.plan import Plan
from weatherproof.training.precision import SLOW_BFLOAT16, computes_bfloat16

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(plan: Plan) -> "Fabric":
    """Lightning Fabric for the plan's device, processes and precision.

    Raises:
        InputError: a device that is not here, or fewer than asked for.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision on each call
    kind, _, number = plan.device.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:0', got {plan.device!r}")
    accelerator = "cuda" if kind == "cuda" or (kind == "auto" and gpus >= plan.devices) else "cpu"
    if accelerator == "cuda" and (gpus < plan.devices or (number and int(number) >= gpus)):
        raise InputError(f"device {plan.device!r} with {plan.devices} process(es) needs more GPUs than the {gpus} here")
    if plan.precision == "16-mixed" and accelerator == "cpu":
        raise InputError("precision '16-mixed' needs a GPU: use '32-true' or 'bf16-mixed' on the CPU")
    if plan.precision == "bf16-mixed" and accelerator == "cpu" and not computes_bfloat16():
        warnings.warn(SLOW_BFLOAT16, stacklevel=2)
    # Buffers are not broadcast: in training nothing reads running statistics, and the first process's are kept.
    strategy = DDPStrategy(start_method="spawn", broadcast_buffers=False) if plan.devices > 1 else "auto"
    return Fabric(
        accelerator=accelerator,
        devices=[int(number)] if number else plan.devices,
        strategy=strategy,
        precision=plan.precision,
    )


def launch(fabric: "Fabric", function: Callable[["Fabric"], None]) -> None:
    """function(fabric) in every new process, until all have ended. Their errors are raised here as they were."""
    from torch.multiprocessing.spawn import ProcessRaisedException

    try:
        with _leave_interrupts_to_the_processes():
            fabric.launch(function)
    except ProcessRaisedException as error:
        raise _original(error) from error


def gather_by(fabric: "Fabric") -> Gather:
    """Joins the rows of all processes in rank order.

    Each process computes the loss of the whole batch; the backward pass of the join sums what all of them say about a
    row, and DDP averages over processes: the two factors cancel, and every weight gets the gradient of that one loss.
    """

    def gather(rows: Tensor) -> Tensor:
        if fabric.world_size == 1:
            return rows
        joined = fabric.all_gather(rows.contiguous(), sync_grads=rows.requires_grad)
        assert isinstance(joined, Tensor)
        return joined.flatten(0, 1)

    return gather


def _original(error: Exception) -> Exception:
    """The one-line error that a process's traceback ends with, as the class it had there."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    for known in (InputError, TrainingError):
        if kind == f"{known.__module__}.{known.__qualname__}":
            return known(message)
    return error


class Interrupt:
    """Ctrl-C, seen at the end of a step: `asked` says that it came. A second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interrupt() -> Iterator[Interrupt]:
    """Inside, Ctrl-C waits for the end of the step. Outside the main thread no signal arrives, and nothing changes."""
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, asked)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _leave_interrupts_to_the_processes() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal: those that train end their step, and this one waits for them."""
    with interrupt():
        yield
