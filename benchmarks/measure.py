"""What a measurement is: ours and its floor in turn (A B A B), compared pair by pair, the median with its spread."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

import weatherproof
from weatherproof.processor import processor_name

VERSIONS = ("torch", "torchvision", "timm", "lightning-fabric", "numpy")


@dataclass(frozen=True)
class Row:
    """Repeated measurements of one thing.

    `ours[i]` and `floor[i]` were taken one right after the other, so that what else the machine does falls on both;
    an empty `floor` means that the number stands alone. `limit` bounds the median of `compared`.
    """

    what: str
    against: str
    unit: Literal["s", "ms", "MiB", "×", "loss"]
    ours: tuple[float, ...]
    floor: tuple[float, ...] = ()
    by: Literal["ratio", "difference", "gap", "itself"] = "ratio"
    limit: float | None = None
    images: int | None = None  # per measurement, where images per second say more than seconds

    @property
    def compared(self) -> tuple[float, ...]:
        match self.by:
            case "ratio":
                return tuple(a / b for a, b in zip(self.ours, self.floor, strict=True))
            case "difference":
                return tuple(a - b for a, b in zip(self.ours, self.floor, strict=True))
            case "gap":
                return tuple(abs(a - b) for a, b in zip(self.ours, self.floor, strict=True))
        return self.ours

    def to_dict(self) -> dict[str, Any]:
        compared = self.compared
        middle = statistics.median(compared)
        return asdict(self) | {
            "median": middle,
            "lowest": min(compared),
            "highest": max(compared),
            "repeats": len(compared),
            "within_limit": None if self.limit is None else middle <= self.limit,
        }


@dataclass(frozen=True)
class Case:
    """So many images of a size at a time, and so many measurements."""

    encoder: str
    size: int
    batch: int
    repeats: int

    @property
    def words(self) -> str:
        return f"{self.encoder}, batch {self.batch}, {self.size}×{self.size}"


@dataclass(frozen=True)
class Moment:
    """A time on the wall, and the processor seconds that this process has used by then."""

    wall: float
    processor: float

    def __sub__(self, other: "Moment") -> "Moment":
        return Moment(self.wall - other.wall, self.processor - other.processor)


def now(device: str = "cpu") -> Moment:
    """Once everything that was asked of the device is done."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    return Moment(time.perf_counter(), time.process_time())


def spent(work: Callable[[], object], device: str = "cpu") -> Moment:
    start = now(device)
    work()
    return now(device) - start


def in_turn(
    ours: Callable[[], object], floor: Callable[[], object], repeats: int, device: str = "cpu", warmup: int = 2
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Wall seconds of `ours` and of `floor`, taken in turn; the first `warmup` pairs are thrown away."""
    pairs = [(spent(ours, device).wall, spent(floor, device).wall) for _ in range(warmup + repeats)][warmup:]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def peak_memory() -> float:
    """MiB at most in memory since this program began. Linux begins maxrss with the parent's."""
    if (status := Path("/proc/self/status")).is_file():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def machine(device: str) -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "CPU",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"weatherproof": weatherproof.__version__} | {name: version(name) for name in VERSIONS},
        "date": time.strftime("%Y-%m-%d"),
    }


def signature(found: Mapping[str, Any], libraries: Mapping[str, str] | None = None) -> str:
    """The last line of a page: command, date, time, machine and versions of what was found."""
    where = found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in {**where["versions"], **(libraries or {})}.items())
    return (
        f"`{found['command']}`, {where['date']}, {found['seconds']:,} s, {where['device']}: {where['processor']}, "
        f"{where['cores']} cores, {where['threads']} threads; {where['system']}, {versions}."
    )
