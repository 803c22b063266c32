"""Does an audit need more memory for more images? Whole processes, at N and at 8N image files."""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from benchmarks.measure import Row, peak_memory

FILES, MORE = 1000, 8
SUITE_FILES, SUITE_MORE = 1024, 3  # two and six whole blocks of images
DISTINCT = 50  # the rest are links to these: as many files to decode, fewer to write
SIDE = 96  # 27 KiB a decoded image: were all of them held, 8N - N files would add 185 MiB
LIMIT = 1.05  # the allocator's own noise


def run(device: str, repeats: int = 3) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        _write(few, FILES)
        _write(many, FILES * MORE)
        pairs = [(_peak(many, device), _peak(few, device)) for _ in range(repeats)]
        ours, floor = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
        few, many = Path(folder) / "few suite", Path(folder) / "many suite"
        _write(few, SUITE_FILES)
        _write(many, SUITE_FILES * SUITE_MORE)
        suite = [(_peak(many, device, "suite"), _peak(few, device, "suite"))]
    return [
        Row(f"audit of {FILES * MORE:,} files, {SIDE}×{SIDE}", f"{FILES:,} files", "MiB", ours, floor, limit=LIMIT),
        Row(
            f"audit --suite common-15 of {SUITE_FILES * SUITE_MORE:,} files, {SIDE}×{SIDE}", f"{SUITE_FILES:,} files",
            "MiB", *map(tuple, zip(*suite, strict=True)), limit=LIMIT,
        ),
    ]  # fmt: skip


def _write(folder: Path, count: int) -> None:
    """Noise as JPEG, in two class folders."""
    generator = torch.Generator().manual_seed(0)
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
    files = [folder / ("left", "right")[i % 2] / f"{i:06}.jpg" for i in range(count)]
    for file in files[:DISTINCT]:
        pixels = torch.randint(0, 256, (SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file, quality=75)
    for i, file in enumerate(files[DISTINCT:]):
        file.hardlink_to(files[i % DISTINCT])


def _peak(folder: Path, device: str, kind: str = "mask") -> float:
    """MiB that an audit of the folder needed at most, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", str(folder), device, kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _audit(folder: Path, device: str) -> None:
    """Images decoded on demand, as they are where a set does not fit into the memory budget."""
    from weatherproof import audit, load_images

    images = load_images(f"folder:{folder}", split="all", memory_budget=0)
    with tempfile.TemporaryDirectory() as out:
        audit(
            "small@random", images, operator="RandomMask(0.5)", split="all", realizations=1, device=device,
            out=Path(out) / "a",
        )  # fmt: skip


def _audit_suite(folder: Path, device: str) -> None:
    from weatherproof import audit, load_encoder, load_images

    images = load_images(f"folder:{folder}", split="all", memory_budget=0)
    with tempfile.TemporaryDirectory() as out:
        model = load_encoder("small", num_classes=len(images.classes))
        audit(model, images, suite="common-15", split="all", device=device, out=Path(out) / "a")


def _largest() -> float:
    """MiB: the largest resident memory so far, of this process or of one of its workers."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux
    return max(peak_memory(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20)


if __name__ == "__main__":
    {"mask": _audit, "suite": _audit_suite}[sys.argv[3]](Path(sys.argv[1]), sys.argv[2])
    print(json.dumps(_largest()))
