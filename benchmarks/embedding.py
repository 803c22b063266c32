"""`embed` over a folder of JPEGs, against a bare loop over a DataLoader: the same files, decoding, size, batches,
workers and network. Ours is the whole verb: it also lists the folder, hashes the weights, keeps parts, writes a file.
"""

import resource
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import weatherproof as wp
from benchmarks.measure import Row, spent
from weatherproof.data.decoding import Decoder

LIMIT = 1.0  # of the loop's time: at least as many images a second
IMAGES, BATCH, WORKERS = 768, 64, 2
SIDES = (500, 375)  # what ImageNet's files have, on average


@dataclass(frozen=True)
class Case:
    encoder: str
    size: int
    ending: str
    limit: float | None = LIMIT
    repeats: int = 3


CASES = (
    Case("resnet20", 32, "npz", repeats=9),
    Case("torchvision:squeezenet1_0", 128, "parquet"),
    Case("timm:tf_efficientnet_lite0", 160, "parquet"),
)


class Files(Dataset[Tensor]):
    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.decoder = paths, Decoder(size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        return torch.from_numpy(self.decoder.file(str(self.paths[place])).copy())


def run(device: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        paths = _photos(Path(folder) / "photos")
        return [row for case in CASES for row in _rows(case, Path(folder), paths, device)]


def _rows(case: Case, folder: Path, paths: list[Path], device: str) -> list[Row]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        encoder = wp.load_encoder(f"{case.encoder}@random", size=case.size).eval().to(device)
    out = folder / f"embeddings.{case.ending}"

    def ours() -> None:
        wp.embed(encoder, folder / "photos", out=out, batch_size=BATCH, workers=WORKERS, device=device)
        out.unlink()

    @torch.inference_mode()
    def floor() -> None:
        loader = DataLoader(Files(paths, case.size), batch_size=BATCH, num_workers=WORKERS, pin_memory=device != "cpu")
        torch.cat([encoder(batch.to(device, non_blocking=True).float().div_(255)).cpu() for batch in loader])

    pairs = [(_spent(ours, device), _spent(floor, device)) for _ in range(1 + case.repeats)][1:]
    what = f"embed, {case.encoder}, {case.size}×{case.size}, {WORKERS} workers, .{case.ending}"
    against = "loop over a DataLoader"
    walls, processors = ([tuple(one[side][kind] for one in pairs) for side in (0, 1)] for kind in (0, 1))
    rows = [Row(what, against, "s", *walls, limit=case.limit, images=IMAGES)]
    return (
        rows if device != "cpu" else [*rows, Row(f"{what}, processor time", against, "s", *processors, images=IMAGES)]
    )


def _spent(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds on the wall, and of processors in this process and its workers, which have ended by then."""
    before = _processors()
    wall = spent(work, device).wall
    return wall, _processors() - before


def _processors() -> float:
    own = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in own)


def _photos(folder: Path) -> list[Path]:
    """JPEG files of smooth colours with grain: about as many bytes as photographs have."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            SIDES, Image.Resampling.BICUBIC
        )
        grain = draws.normal(0, 12, (SIDES[1], SIDES[0], 1))
        pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg", quality=90)
    return sorted(folder.iterdir())
