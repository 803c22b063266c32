"""Tar shards against the same images as files: speed, the time to start, and memory at many shards."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from benchmarks.measure import Row, in_turn, peak_memory

IMAGES, SIDE = 1024, 224
FILES = 100_000  # tiny ones, whose finding is measured
FEW, MANY, EACH = 10, 10_000, 2  # shards; of MANY, images in each; as many in all of FEW
BATCH = 64
SPEED, MEMORY, RIVAL = 1.0, 1.05, 1 / 0.95
_CALL = "import json, sys; from benchmarks import shards; print(json.dumps(shards.measured(*sys.argv[1:])))"


def run(device: str, repeats: int = 5) -> list[Row]:
    """Whole passes in turn, decoded here; starts and peaks in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows = _speed(root, repeats)
        rows += _starts(root, 3)
        rows += _memory(root, 3)
    return rows


def _speed(root: Path, repeats: int) -> list[Row]:
    from weatherproof import load_images, shard
    from weatherproof.data import batches

    _write(root / "files", IMAGES, SIDE)
    shard(root / "files", split=["all"], images_per_shard=128, out=root / "shards")
    files = load_images(root / "files", "all", size=SIDE, memory_budget=0)
    packed = load_images(f"shards:{root / 'shards'}", "all", size=SIDE, memory_budget=0)

    def whole_pass(images: object, order: torch.Tensor | None) -> int:
        return sum(len(batch.index) for batch in batches(images, BATCH, order=order))  # type: ignore[arg-type]

    anyhow = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    rows = [
        Row(
            f"{IMAGES:,} JPEG images of {SIDE}×{SIDE} from shards, {how}", "the same as files", "s",
            *in_turn(lambda o=order: whole_pass(packed, o), lambda o=order: whole_pass(files, o), repeats),
            limit=1 / SPEED, images=IMAGES,
        )
        for how, order in (("in their order", None), ("in any order", anyhow))
    ]  # fmt: skip
    if importlib.util.find_spec("webdataset") is not None:
        ours, floor = in_turn(lambda: whole_pass(packed, None), lambda: _webdataset(root / "shards"), repeats)
        rows.append(
            Row("a pass over shards, in their order", "webdataset's own loop", "s", ours, floor, limit=RIVAL,
                images=IMAGES)
        )  # fmt: skip
    return rows


def _webdataset(folder: Path) -> int:
    """The loop of its documentation: decoded by Pillow, to a tensor, in batches."""
    import webdataset
    from torchvision.transforms.v2.functional import pil_to_tensor

    urls = sorted(map(str, folder.glob("*.tar")))
    pipeline = (
        webdataset.WebDataset(urls, shardshuffle=False)
        .decode("pil").to_tuple("jpg", "cls").map_tuple(pil_to_tensor, int).batched(BATCH)
    )  # fmt: skip
    return sum(len(pixels.float() / 255) for pixels, _ in pipeline)


def _starts(root: Path, repeats: int) -> list[Row]:
    _write(root / "tiny", FILES, 8)
    _call("shard", root / "tiny", root / "tiny shards", 1000)
    pairs = [(_call("open", f"shards:{root / 'tiny shards'}"), _call("open", root / "tiny")) for _ in range(repeats)]
    ours, floor = (tuple(pair[i]["seconds"] for pair in pairs) for i in (0, 1))
    return [
        Row(f"opening {FILES:,} images in {FILES // 1000} shards", "the same as files", "s", ours, floor, limit=1.0)
    ]


def _memory(root: Path, repeats: int) -> list[Row]:
    images = MANY * EACH
    _write(root / "fewer", images, 8)
    _call("shard", root / "fewer", root / "few", images // FEW)
    _call("shard", root / "fewer", root / "many", EACH)
    pairs = [
        (_call("pass", f"shards:{root / 'many'}"), _call("pass", f"shards:{root / 'few'}")) for _ in range(repeats)
    ]
    found = [{what: tuple(pair[i][what] for pair in pairs) for what in ("seconds", "peak")} for i in (0, 1)]
    title, other = f"{images:,} images in {MANY:,} shards", f"in {FEW} shards"
    return [
        Row(f"{title}: peak memory", other, "MiB", found[0]["peak"], found[1]["peak"], limit=MEMORY),
        Row(f"{title}: opening them", other, "s", found[0]["seconds"], found[1]["seconds"], by="difference"),
    ]


def _write(folder: Path, count: int, side: int) -> None:
    """Smooth noise as JPEG, in two class folders; ten different ones."""
    generator = torch.Generator().manual_seed(0)
    contents = []
    for i in range(10):
        pixels = torch.rand(1, 3, side // 4, side // 4, generator=generator)
        pixels = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear")[0] * 255
        path = folder.with_suffix(f".{i}.jpg")
        Image.fromarray(pixels.byte().permute(1, 2, 0).contiguous().numpy()).save(path, quality=85)
        contents.append(path.read_bytes())
        path.unlink()
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
    for i in range(count):
        (folder / ("left", "right")[i % 2] / f"{i:06}.jpg").write_bytes(contents[i % 10])


def _call(*arguments: object) -> dict[str, float]:
    command: Sequence[str] = [sys.executable, "-W", "ignore", "-c", _CALL, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(what: str, source: str, out: str = "", each: str = "") -> dict[str, float]:
    """One act in this process: its seconds, and MiB at its highest."""
    import time

    from weatherproof import load_images, shard
    from weatherproof.data import batches

    start = time.perf_counter()
    if what == "shard":
        shard(source, split=["all"], images_per_shard=int(each), out=out)
    else:
        images = load_images(source, "all", size=16, memory_budget=0)
    seconds = time.perf_counter() - start
    if what == "pass":
        for _ in batches(images, BATCH, order=torch.randperm(len(images))[:4096]):
            pass
    return {"seconds": seconds, "peak": peak_memory()}
