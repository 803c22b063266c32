"""Do networks find our corruptions as hard as those of an independent per-image implementation? CIFAR-10 test images
under each of the 19 corruptions, made by both sides, seen by two public networks. Writes docs/results/parity.{json,md}.

    python -m benchmarks.parity --data DIR
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.measure import machine, signature
from tests.oracles import corruptions_numpy as oracle
from weatherproof import load_encoder, load_images, random
from weatherproof.data import ImageSet
from weatherproof.operators import COMMON_19, Corruption
from weatherproof.operators.textures import textures
from weatherproof.readouts import OwnHead

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NETWORKS = {"ResNet-20": "resnet20@{}/resnet20-12fca82f.th", "ResNet-56": "resnet56@{}/resnet56-4bfd9763.th"}
PARAMETERS, SIDE = "cifar", 32
CHUNK = 250  # images that a process makes at a time
Bytes = np.ndarray[Any, Any]  # images x height x width x 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--data", required=True, help="the folder with cifar10/ and the weights of the networks")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--corruptions", nargs="+", default=list(COMMON_19), choices=COMMON_19, metavar="NAME")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that run the per-image side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for parity.json and parity.md")
    args = parser.parse_args()
    images = load_images(f"cifar10:{Path(args.data) / 'cifar10'}", "test")
    networks = {
        name: OwnHead(load_encoder(spec.format(args.data))).eval().to(args.device) for name, spec in NETWORKS.items()
    }
    start = time.perf_counter()
    clean, rows = measure(images, networks, args.corruptions, args.severities, args.images, args.processes, args.device)
    found = {
        "command": " ".join(["python -m benchmarks.parity", *(a if a != args.data else "DIR" for a in sys.argv[1:])]),
        "machine": machine(args.device),
        "seconds": round(time.perf_counter() - start),
        "images": args.images,
        "clean": clean,
        "rows": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "parity.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "parity.md").write_text(render(found))
    print((args.out / "parity.md").read_text())


def measure(
    images: ImageSet, networks: Mapping[str, nn.Module], names: Sequence[str], severities: Sequence[int], count: int,
    processes: int, device: str,
) -> tuple[dict[str, float], list[dict[str, Any]]]:  # fmt: skip
    """Top-1 of each network on the clean images, and one row for each corruption and severity."""
    if not 1 <= count <= len(images):
        raise SystemExit(f"--images: {images.name} has {len(images)}, got {count}")
    chosen = torch.arange(count) * len(images) // count  # even over the set, whatever its order
    pixels, labels = images.read(chosen).permute(0, 2, 3, 1).contiguous().numpy(), images.labels[chosen]
    keys = random.keys(0, images.index[chosen])

    def correct(made: Bytes) -> dict[str, torch.Tensor]:
        x = torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return {
                name: torch.cat([network(part.to(device)).argmax(1).cpu() for part in x.split(500)]) == labels
                for name, network in networks.items()
            }

    clean = {name: hits.double().mean().item() for name, hits in correct(pixels).items()}
    rows = []
    work = [(name, severity) for name in names for severity in severities]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for at, (name, severity, theirs) in enumerate(_by_oracle(pool, pixels, work), start=1):
            ours = _ours(pixels, keys, name, severity, device)
            rows.append(_row(name, severity, ours, theirs, correct(ours), correct(theirs)))
            gaps = ", ".join(f"{n} {100 * g['difference']:+.2f}" for n, g in rows[-1]["networks"].items())
            print(f"{at}/{len(work)} {name} {severity}: {gaps} points", flush=True)
    return clean, rows


def _row(
    name: str, severity: int, ours: Bytes, theirs: Bytes,
    our_hits: dict[str, torch.Tensor], their_hits: dict[str, torch.Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Both see the same images, so the standard error is that of the mean of the paired differences."""
    seen = {}
    for network in our_hits:
        a, b = our_hits[network].double(), their_hits[network].double()
        error = (a - b).std(unbiased=False).item() / math.sqrt(len(a))
        gap = (a - b).mean().item()
        seen[network] = {
            "ours": a.mean().item(),
            "oracle": b.mean().item(),
            "difference": gap,
            "three_standard_errors": 3 * error,
            "within": abs(gap) <= 3 * error,
        }
    row = {"corruption": name, "severity": severity, "networks": seen}
    if name in oracle.DETERMINISTIC:
        apart = np.abs(ours.astype(np.int16) - theirs)
        row |= {"largest_difference": int(apart.max()), "share_differing": float((apart > 0).mean())}
    return row


def _ours(pixels: Bytes, keys: torch.Tensor, name: str, severity: int, device: str) -> Bytes:
    operator = Corruption(name, severity, parameters=PARAMETERS)
    made = []
    for part, key in zip(torch.from_numpy(pixels).split(500), keys.split(500), strict=True):
        x = part.to(device).permute(0, 3, 1, 2).float() / 255
        made.append((operator(x, key) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu())
    return torch.cat(made).numpy()


def _by_oracle(
    pool: ProcessPoolExecutor, pixels: Bytes, work: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, int, Bytes]]:
    """In the order of the work. One step is made ahead, while ours and the networks run."""
    starts = range(0, len(pixels), CHUNK)

    def submit(name: str, severity: int) -> list[Any]:
        frost = _photographs() if name == "frost" else None
        return [pool.submit(_some, pixels[s : s + CHUNK], s, name, severity, frost) for s in starts]

    waiting = [submit(*step) for step in work[:2]]
    for i, (name, severity) in enumerate(work):
        done = waiting.pop(0)
        if i + 2 < len(work):
            waiting.append(submit(*work[i + 2]))
        yield name, severity, np.concatenate([part.result() for part in done])


def _some(pixels: Bytes, first: int, name: str, severity: int, frost: tuple[Bytes, ...] | None) -> Bytes:
    """Runs in another process. Each image has a generator of its own, so that the chunks do not matter."""
    which = COMMON_19.index(name)
    return np.stack([
        oracle.corrupt(image, name, severity, np.random.default_rng((which, severity, i)), PARAMETERS, frost)
        for i, image in enumerate(pixels, start=first)
    ])  # fmt: skip


def _photographs() -> tuple[Bytes, ...]:
    """The package's textures, each once: how often each is drawn is the oracle's business."""
    packed = textures(SIDE, SIDE, 3, None, "cpu")
    shapes = zip(packed.starts.tolist(), packed.heights.tolist(), packed.widths.tolist(), strict=True)
    return tuple(
        packed.pixels[start : start + 3 * h * w].view(3, h, w).permute(1, 2, 0).numpy()
        for start, h, w in dict.fromkeys(shapes)
    )


def render(found: dict[str, Any]) -> str:
    """Markdown, from the JSON alone."""
    rows = found["rows"]
    pairs = [(row, network, gap) for row in rows for network, gap in row["networks"].items()]
    outside = [f"{r['corruption']} {r['severity']} ({n})" for r, n, gap in pairs if not gap["within"]]
    drawn = sum(r["corruption"] not in oracle.DETERMINISTIC for r, _, _ in pairs)
    clean = ", ".join(f"{network} {100 * top1:.2f}" for network, top1 in found["clean"].items())
    lines = [
        "# Parity of the common corruptions",
        "",
        f"Top-1 in per cent of public networks on {found['images']:,} CIFAR-10 test images under our corruptions",
        "and those of the per-image implementation of the tests (`tests/oracles/corruptions_numpy.py`: NumPy, SciPy,",
        "scikit-image and Pillow, written from the description of the algorithms alone). Each side draws its own",
        "random numbers. In brackets: three standard errors of the paired difference. Frost textures are shared.",
        f"On the clean images: {clean}.",
        "",
        f"Outside three standard errors: {len(outside)} of {len(pairs)}"
        + (f" ({', '.join(outside)})" if outside else "")
        + f"; by chance {0.0027 * drawn:.1f} of the {drawn} random ones would be.",
        "",
        "| corruption | severity | " + " | ".join(f"{n}: ours | oracle | difference" for n in found["clean"])
        + " | largest difference, levels | values that differ |",
        "|---|---|" + "---|---|---|" * len(found["clean"]) + "---|---|",
    ]  # fmt: skip
    for row in rows:
        cells = [row["corruption"], str(row["severity"])]
        for gap in row["networks"].values():
            mark = "" if gap["within"] else " **outside**"
            cells += [
                f"{100 * gap['ours']:.2f}",
                f"{100 * gap['oracle']:.2f}",
                f"{100 * gap['difference']:+.2f} ({100 * gap['three_standard_errors']:.2f}){mark}",
            ]
        drawn_nothing = "largest_difference" in row
        cells += [str(row["largest_difference"]), f"{row['share_differing']:.2%}"] if drawn_nothing else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", signature(found)]) + "\n"


if __name__ == "__main__":
    main()
