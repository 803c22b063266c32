"""Whether several processes compute what one does, and how fast they talk: on a user's own cluster."""

import json
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from weatherproof import __version__, random
from weatherproof.cluster import Place, joined
from weatherproof.encoders import Encoder, Preprocessing
from weatherproof.methods import Hardening
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.progress import phase
from weatherproof.protocols import Gather
from weatherproof.sizes import GivenSize
from weatherproof.training.plan import Course, Plan, Strategy
from weatherproof.training.processes import gather_by, launch, make_fabric
from weatherproof.training.sharding import whole
from weatherproof.verbs.doctor import feeding
from weatherproof.verbs.doctor.installation import usable_cores
from weatherproof.verbs.doctor.outcome import Finding, Section, bytes_words
from weatherproof.verbs.doctor.samples import write_samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROWS, SIDE = 8, 16  # images of each process in the check of gradients, and their side
AGREE = 1e-4  # of the largest gradient: float32 summed in another order, over a few thousand terms
SIZES = (1 << 12, 1 << 20, 1 << 24)  # bytes that each process gives: the latency, a batch of embeddings, bandwidth
STRAGGLER = 0.7  # of the speed of the middle process
_DRAWN = 0x646F6374  # "doct"


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        source: of the images; None: some that are made for it.
        workers: of each process.
        seconds: of each measurement.
        folder: that all processes should see.
        strategy: under which gradients are compared.
    """

    source: str | None
    split: str | None
    size: GivenSize
    workers: int
    seconds: float
    folder: Path
    seed: int
    strategy: Strategy = "ddp"

    def plan(self, processes: int, device: str) -> Plan:
        """Of what is trained to compare gradients."""
        return Plan(1, processes * ROWS, 1e-3, device=device, devices=processes, strategy=self.strategy)


def examine(request: Request, place: Place | None, device: str, processes: int) -> dict[str, Any] | None:
    """The measurements; None in every process but the first of a job.

    Args:
        place: in a job, where all processes come here; None: as many are started as asked for.
        device: auto, cpu or cuda.
        processes: without a job.
    """
    if place is not None:
        joined(place)
        fabric = make_fabric(request.plan(place.world, device), place)
        fabric.launch()
        measurements = _examined(fabric, request)
        if dist.is_initialized():
            dist.destroy_process_group()
        return measurements if place.rank == 0 else None
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind = "cpu" if device == "auto" and gpus < processes else device
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "found.json"
        launch(make_fabric(request.plan(processes, kind)), partial(_to_a_file, request=request, file=file))
        detail: dict[str, Any] = json.loads(file.read_text())
        return detail


def _to_a_file(fabric: "Fabric", request: Request, file: Path) -> None:
    measurements = _examined(fabric, request)
    if fabric.is_global_zero:
        file.write_text(json.dumps(measurements))


def _examined(fabric: "Fabric", request: Request) -> dict[str, Any]:
    """Everything, in every process at the same time; what each has found is known to all."""
    world = fabric.world_size
    with phase("asking all processes", 5, "questions", shown=fabric.is_global_zero) as meter:
        present = _of_all(_present(fabric))
        meter.advance()
        difference = max(_of_all(gradient_difference(fabric, request.seed)))
        meter.advance()
        gathered = [_speed(fabric, _gathering, size, world - 1, request.seconds) for size in SIZES]
        reduced = [_speed(fabric, _reducing, size, 2 * (world - 1) / world, request.seconds) for size in SIZES]
        meter.advance()
        flops = _of_all(_multiplied(fabric.device, request.seconds))
        meter.advance()
        decoded = _of_all(_decoded(fabric, request))
    backend = dist.get_backend() if dist.is_initialized() else "none"
    return {
        "processes": world, "backend": backend, "strategy": request.strategy, "present": present,
        "gradient_difference": difference,
        "gather": gathered, "all_reduce": reduced, "flops": flops, "decoded_per_second": decoded,
        "workers": request.workers, "source": request.source,
        "shared_folder": all(_of_all(_sees(fabric, request.folder))),
    }  # fmt: skip


def _of_all(own: Any) -> list[Any]:
    """What every process has, in the order of their numbers."""
    if not dist.is_initialized():
        return [own]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, own)
    return gathered


def _present(fabric: "Fabric") -> dict[str, Any]:
    on_gpu = fabric.device.type == "cuda"
    return {
        "host": socket.gethostname(), "rank": fabric.global_rank, "local_rank": fabric.local_rank,
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else "CPU", "cores": usable_cores(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "weatherproof": __version__},
    }  # fmt: skip


# gradients


class _Block(nn.Module):
    """Without batch normalisation, whose statistics would be those of a process's share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 16, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(self.first(maps).tanh())


def _network(seed: int) -> Encoder:
    """An encoder with blocks, which some strategies treat apart."""
    with random.framework_seed(_DRAWN, seed):
        blocks, last = nn.Sequential(_Block(), _Block()), nn.Linear(16 * (SIDE // 2) ** 2, 16)
        body = nn.Sequential(nn.Conv2d(3, 16, 2, stride=2), blocks, nn.Flatten(), last)
    plain = Preprocessing((0.5,) * 3, (0.5,) * 3, None)
    return Encoder("the doctor's", body, None, feature_dim=16, preprocessing=plain)


class _Loss(nn.Module):
    """A hardening, called with what a wrapper may move to a GPU: keys are made where they belong."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.method, self.seed = Hardening(_network(1), _network(2), RandomMask((0.2, 0.8)), StudentTeacher()), seed

    def forward(self, images: Tensor, index: Tensor, gather: Gather) -> Tensor:
        here = index.cpu()
        return self.method(images, torch.full_like(here, -1), here, random.keys(self.seed, here), gather)["loss"]


def gradient_difference(fabric: "Fabric", seed: int) -> float:
    """How far the gradients of these processes, each with its share of a batch, are from those of one process with all
    of it: the largest difference over the largest gradient."""
    plan = Plan(1, ROWS * fabric.world_size, 1e-3, devices=fabric.world_size)
    order = random.order(seed, 0, plan.batch_size)
    share = Course(plan, plan.batch_size).share(order, fabric.global_rank)
    pixels = torch.rand(plan.batch_size, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed % (1 << 63)))
    with _exact():
        alone = _Loss(seed).to(fabric.device)
        alone(pixels[order].to(fabric.device), order, lambda rows: rows).backward()
        loss = _Loss(seed)
        shared = fabric.setup_module(loss)
        fabric.backward(shared(pixels[share].to(fabric.device), share, gather_by(fabric)))
    pairs = [
        (one.grad.cpu(), whole(other.grad, keep=True).cpu())
        for one, other in zip(alone.parameters(), loss.parameters(), strict=True)
        if one.grad is not None and other.grad is not None
    ]
    largest = max(float(one.abs().max()) for one, _ in pairs)
    return max(float((one - other).abs().max()) for one, other in pairs) / largest


@contextmanager
def _exact() -> Iterator[None]:
    """Inside, a GPU's convolutions are those of float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


# speeds


def _gathering(fabric: "Fabric", rows: Tensor) -> None:
    gather_by(fabric)(rows)


def _reducing(fabric: "Fabric", rows: Tensor) -> None:
    fabric.all_reduce(rows, reduce_op="mean")


def _speed(
    fabric: "Fabric", act: Callable[["Fabric", Tensor], None], size: int, parts: float, seconds: float
) -> dict[str, float]:
    """Bytes that each process gives, seconds, and bytes per second that pass through a process: `parts` times the size
    in one act of a ring."""
    rows = torch.ones(size // 256, 64, device=fabric.device)
    act(fabric, rows)
    start = time.perf_counter()
    once = max(_of_all(_timed(fabric, lambda: act(fabric, rows))))
    whole = max(_of_all(time.perf_counter() - start))  # with the waiting for each other
    times = int(max(2, min(100, seconds / 4 / max(whole, 1e-6))))
    taken = statistics.median([once, *(max(_of_all(_timed(fabric, lambda: act(fabric, rows)))) for _ in range(times))])
    return {"bytes": size, "seconds": taken, "bytes_per_second": size * parts / taken}


def _timed(fabric: "Fabric", act: Callable[[], object]) -> float:
    fabric.barrier()
    _wait(fabric.device)
    start = time.perf_counter()
    act()
    _wait(fabric.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _multiplied(device: torch.device, seconds: float) -> float:
    """Flop/s of products of large matrices, in bfloat16 on a GPU, else in float32."""
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    one = torch.ones(side, side, device=device, dtype=dtype)
    for _ in range(2):
        one @ one
    _wait(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds / 4:
        one @ one
        _wait(device)
        count += 1
    return 2 * side**3 * count / (time.perf_counter() - start)


def _decoded(fabric: "Fabric", request: Request) -> float:
    """Images per second of this process while all the others decode too."""
    part = (fabric.global_rank, fabric.world_size)
    with tempfile.TemporaryDirectory() as name:
        source = request.source or str(write_samples(Path(name), 2 * feeding.BATCH))
        images = feeding.open_images(source, request.split if request.source else "all", request.size)
        order = feeding.positions(images, request.seed, part if request.source else (0, 1))
        fabric.barrier()
        return feeding.fed(images, request.workers, request.seconds, order).per_second


def _sees(fabric: "Fabric", folder: Path) -> bool:
    """Whether this process sees what the first one writes into the folder."""
    token = folder / ".seen-by-all"
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        token.write_text(str(os.getpid()))
    fabric.barrier()
    seen = token.is_file()
    fabric.barrier()
    if fabric.is_global_zero:
        token.unlink(missing_ok=True)
    return seen


# words


def section(facts: Mapping[str, Any]) -> Section:
    """The measurements in words."""
    return Section("Processes", list(_rows(facts)))


def _rows(facts: Mapping[str, Any]) -> Iterator[Finding]:
    present, world = facts["present"], facts["processes"]
    hosts, devices = ({one[what] for one in present} for what in ("host", "device"))
    yield Finding(
        "processes", f"{world} on {len(hosts)} machine{'s'[: len(hosts) != 1]}, {facts['backend']}, "
        f"{', '.join(sorted(devices))}"
    )  # fmt: skip
    yield from _unlike(present)
    yield _gradients(facts)
    for what, title in (("gather", "gather"), ("all_reduce", "all-reduce")):
        small, large = facts[what][0], facts[what][-1]
        yield Finding(
            title, f"{large['bytes_per_second'] / 1e9:.3g} GB/s at {bytes_words(large['bytes'])}, "
            f"{small['seconds'] * 1e6:,.0f} µs at {bytes_words(small['bytes'])}",
        )  # fmt: skip
    yield _each("products", facts["flops"], present, 1e12, "Tflop/s")
    yield _each("decoded", facts["decoded_per_second"], present, 1, f"images/s, {facts['workers']} worker(s) each")
    shared = facts["shared_folder"]
    yield Finding(
        "run folder", "seen by all" if shared else "not seen by all processes", "ok" if shared else "problem",
        "" if shared else "give an --out on a disk that all machines share",
    )  # fmt: skip


def _unlike(present: list[dict[str, Any]]) -> Iterator[Finding]:
    for package in present[0]["versions"]:
        numbers = {one["versions"][package]: one["host"] for one in present}
        if len(numbers) > 1:
            detail = ", ".join(f"{number} on {host}" for number, host in numbers.items())
            yield Finding(package, detail, "problem", f"install the same {package} on all machines")
    devices = {one["device"]: one["host"] for one in present}
    if len(devices) > 1:
        detail = ", ".join(f"{device} on {host}" for device, host in devices.items())
        yield Finding("devices", detail, "problem", "the slowest decides: leave the others out, or use like ones")


def _gradients(facts: Mapping[str, Any]) -> Finding:
    difference, world = facts["gradient_difference"], facts["processes"]
    detail = (
        f"of {world} processes by {facts['strategy']} against one with the whole batch: {difference:.1e} apart, of the "
        "largest"
    )
    if difference <= AGREE:
        return Finding("gradients", detail)
    return Finding(
        "gradients", f"{detail} (expected at most {AGREE:.0e})", "broken",
        "trainings on these processes do not compute what one process does: compare versions and drivers of all "
        "machines, and try NCCL_P2P_DISABLE=1",
    )  # fmt: skip


def _each(what: str, values: list[float], present: list[dict[str, Any]], unit: float, unit_words: str) -> Finding:
    middle, slowest = statistics.median(values), min(range(len(values)), key=values.__getitem__)
    line = f"{middle / unit:,.3g} {unit_words} in the middle, {min(values) / unit:,.3g} to {max(values) / unit:,.3g}"
    if values[slowest] >= STRAGGLER * middle:
        return Finding(what, line)
    alone = len({one["host"] for one in present}) == 1
    then = "see what else this machine does" if alone else "leave its machine out"
    return Finding(
        what, line, "problem",
        f"process {slowest} on {present[slowest]['host']} is slow, and all wait for it: {then}",
    )  # fmt: skip
