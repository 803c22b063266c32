"""What a user wants to know of their installation. Nothing is contacted, nothing is written."""

import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from weatherproof.files import own_cache
from weatherproof.processor import computes_bfloat16, processor_name
from weatherproof.verbs.doctor.outcome import Finding, Section, bytes_words

PACKAGE = "weatherproof"
IMPORTED = ("torch", "torchvision")  # the others are looked up: importing them all takes ten seconds
LITTLE_DISK = 2 * 10**9  # bytes: a run of a large encoder fills them
LITTLE_SHM = 2**29  # bytes of /dev/shm: a batch of 256 images of 224 x 224 is 39 MB, and each worker has two of them
FEW_FILES = 1024  # open files: 64 shards, and what the workers share
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def sections() -> Iterator[Section]:
    """All that is looked at, in the order in which it is shown."""
    yield Section("Versions", [*_versions(), *_essentials()])
    yield Section("Extras", list(_extras()))
    yield Section("Computing", [*_devices(), *_cores(), *_memory()])
    yield Section("Disk and caches", [*_disk(), *_caches()])
    yield Section("Network", list(_network()))


def requirements(lines: list[str] | None = None) -> dict[str, list[tuple[str, str]]]:
    """What the package asks for: by extra ("" for all that is essential), pairs of a package and its bounds.

    Args:
        lines: the metadata's "Requires-Dist"; None: those of the installed package.
    """
    if lines is None:
        try:
            lines = metadata.requires(PACKAGE) or []
        except metadata.PackageNotFoundError:
            lines = []
    found: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        head, _, marker = line.partition(";")
        named = _NAME.match(head.strip())
        if named is None:
            continue
        extra = _EXTRA.search(marker)
        bounds = re.sub(r"^\[[^\]]*\]", "", head.strip()[named.end() :].strip()).strip(" ()")
        found.setdefault(extra[1] if extra else "", []).append((named[0], bounds))
    return found


def _number(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    from weatherproof import __version__

    yield Finding(PACKAGE, f"{__version__}, {Path(__file__).parents[2]}")
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("python", f"{platform.python_version()}, {system}, {sys.prefix}")
    if _number(PACKAGE) is None:
        yield Finding(
            "installed", "no: it runs from its source, so that bounds and extras cannot be looked up", "problem",
            "pip install -e . in the folder of pyproject.toml",
        )  # fmt: skip


def _essentials() -> Iterator[Finding]:
    for package, bounds in requirements().get("", [(name, "") for name in IMPORTED]):
        yield _essential(package, bounds)


def _essential(package: str, bounds: str) -> Finding:
    number = _number(package)
    if number is None:
        return Finding(package, "not installed", "broken", f"pip install '{package}{bounds}'")
    if bounds and not _within(number, bounds):
        return Finding(
            package, f"{number}, and {bounds} is needed", "broken", f"pip install --upgrade '{package}{bounds}'"
        )
    if package in IMPORTED:
        error = _fails(package)
        if error:
            both = "pip install --force-reinstall torch torchvision, of versions that belong together"
            return Finding(package, f"{number}, and cannot be imported: {error}", "broken", both)
    return Finding(package, number)


def _within(number: str, bounds: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(bounds).contains(number, prereleases=True)
    except Exception:  # without packaging, or a number that is none: nothing is known, and nothing said
        return True


def _fails(package: str) -> str:
    """Why a package cannot be imported; empty where it can. What is broken may raise anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(package)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _extras() -> Iterator[Finding]:
    for extra, packages in sorted(requirements().items()):
        if extra in ("", "dev"):
            continue
        numbers = {package: _number(package) for package, _ in packages}
        missing = [package for package, number in numbers.items() if number is None]
        detail = ", ".join(f"{package} {number}" for package, number in numbers.items() if number)
        line = f"pip install '{PACKAGE}[{extra}]'"
        if missing:
            yield Finding(extra, f"absent ({', '.join(missing)}): {line}", "absent", line)
            continue
        old = [p for p, bounds in packages if bounds and not _within(numbers[p] or "", bounds)]
        yield Finding(
            extra, detail, "problem" if old else "ok", f"pip install --upgrade {' '.join(old)}" if old else ""
        )


def _torch() -> Any:
    """PyTorch, where it works."""
    return None if _fails("torch") else import_module("torch")


def _devices() -> Iterator[Finding]:
    torch = _torch()
    if torch is None:
        return
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        count = torch.cuda.device_count() if available else 0
    for number in range(count):
        about = torch.cuda.get_device_properties(number)
        detail = f"{about.name}, {bytes_words(about.total_memory)}, compute capability {about.major}.{about.minor}"
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        yield Finding(f"cuda:{number}", f"{detail}, bfloat16 {'yes' if bf16 else 'no: use --precision 16-mixed'}")
    if not count:
        yield from _no_gpu(torch, " ".join(str(item.message).split("\n")[0] for item in warned))
    yield _processor()


def _no_gpu(torch: Any, hint: str) -> Iterator[Finding]:
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if driver and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield Finding("cuda", "hidden by CUDA_VISIBLE_DEVICES", "problem", "unset CUDA_VISIBLE_DEVICES")
    elif driver:
        build = torch.version.cuda
        reason = hint or ("this PyTorch is a build without CUDA" if build is None else f"PyTorch is built for {build}")
        yield Finding(
            "cuda", f"an NVIDIA driver is here, and PyTorch cannot use it: {reason}", "problem",
            "install a PyTorch that is built for the driver's CUDA (nvidia-smi names it), or update the driver",
        )  # fmt: skip
    else:
        yield Finding("cuda", "no GPU here: everything runs on the processor", "absent")
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        yield Finding("mps", "Apple's GPU is not used", "absent")


def _processor() -> Finding:
    bf16 = "yes" if computes_bfloat16() else "emulated, slower than float32: leave --precision at 32-true"
    return Finding("processor", f"{processor_name()}, bfloat16 {bf16}")


def usable_cores() -> float:
    """Cores that this process may use: those of the machine, less by affinity or by a container's quota."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")  # of cgroup 2: microseconds of each period, or "max"
    with suppress(OSError, ValueError):
        most, period = quota.read_text().split()
        if most != "max":
            cores = min(cores, int(most) / int(period))
    return max(cores, 0.1)


def _cores() -> Iterator[Finding]:
    whole, usable = os.cpu_count() or 1, usable_cores()
    less = "" if usable >= whole else f", and this process may use {usable:g}"
    yield Finding("cores", f"{whole}{less}")
    torch = _torch()
    if torch is None:
        return
    detail, threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    setting = f"{threads} ({'OMP_NUM_THREADS is not set' if detail is None else f'OMP_NUM_THREADS={detail}'})"
    if threads > max(1, usable):
        yield Finding(
            "threads", f"{setting}, more than cores: they wait for each other", "problem",
            f"export OMP_NUM_THREADS={max(1, int(usable))}",
        )  # fmt: skip
    else:
        yield Finding("threads", setting)


def _memory() -> Iterator[Finding]:
    free = _available_memory()
    if free is not None:
        yield Finding("memory", f"{bytes_words(free)} free")
    shm = Path("/dev/shm")
    if shm.is_dir():
        size = shutil.disk_usage(shm).total
        few = size < LITTLE_SHM
        yield Finding(
            "/dev/shm", bytes_words(size), "problem" if few else "ok",
            "processes that decode hand images on there: start the container with --shm-size=8g, or use --workers 0"
            if few else "",
        )  # fmt: skip
    with suppress(ImportError):  # Windows
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        few = 0 < files < FEW_FILES
        yield Finding("open files", f"{files:,}", "problem" if few else "ok", "ulimit -n 4096" if few else "")


def _available_memory() -> int | None:
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with suppress(OSError, ValueError):  # of a container, by cgroup 2
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if most != "max":
            found.append(int(most) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return min(found, default=None)


def _disk() -> Iterator[Finding]:
    for what, folder in (("here", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
        detail = f"{bytes_words(free)} free in {folder}"
        if not writable:
            yield Finding(what, f"{folder} cannot be written to", "problem", "give --out a folder elsewhere")
        elif free < LITTLE_DISK:
            yield Finding(what, detail, "problem", "free some space, or give --out a folder on another disk")
        else:
            yield Finding(what, detail)


def cache_places(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Where weights, data sets and indices are kept."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(environment.get("HF_HOME") or home / "huggingface")
    return {
        "hub cache": Path(environment.get("HF_HUB_CACHE") or hub / "hub"),
        "data set cache": Path(environment.get("HF_DATASETS_CACHE") or hub / "datasets"),
        "torch cache": Path(environment.get("TORCH_HOME") or home / "torch"),
        "own cache": own_cache(environment),
    }


def _caches() -> Iterator[Finding]:
    for what, folder in cache_places().items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if os.access(there, os.W_OK):
            yield Finding(what, f"{folder}{'' if there == folder else ' (not there yet)'}")
        else:
            yield Finding(
                what, f"{folder} cannot be written to", "problem", "set HF_HOME, TORCH_HOME or XDG_CACHE_HOME"
            )
    data = os.environ.get("WEATHERPROOF_DATA")
    if data is None:
        yield Finding("data", "WEATHERPROOF_DATA is not set: reproduce takes --data DIR", "absent")
    elif Path(data).is_dir():
        yield Finding("data", f"WEATHERPROOF_DATA={data}")
    else:
        yield Finding("data", f"WEATHERPROOF_DATA={data} is no folder", "problem", "correct or unset WEATHERPROOF_DATA")


def _network() -> Iterator[Finding]:
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE") if _says_yes(name)]
    if offline:
        yield Finding("hub", f"offline ({', '.join(offline)}): weights come from the cache alone")
    else:
        yield Finding("hub", f"asked for weights that are not in the cache ({_endpoint()})")
    torch = _torch()
    if torch is None:
        return
    if not torch.distributed.is_available():
        yield Finding("processes", "this PyTorch has no torch.distributed: --devices stays at 1", "problem")
        return
    checks: dict[str, Callable[[], bool]] = {
        "gloo": torch.distributed.is_gloo_available, "nccl": torch.distributed.is_nccl_available,
    }  # fmt: skip
    yield Finding("processes", ", ".join(name for name, there in checks.items() if there()) or "no backend")
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "cl"))), None)
    state: Any = "ok" if compiler else "absent"
    yield Finding("--compile", compiler or "no C++ compiler here: torch.compile needs one", state)


def _says_yes(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
