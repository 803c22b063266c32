"""The 19 common corruptions: ours in batches, against one image at a time, and against what must be done at least.

Both go from 8-bit images to 8-bit images. The rival is the public `imagecorruptions` where it is installed and still
runs, elsewhere the per-image oracle of the tests (NumPy, SciPy, scikit-image, Pillow). Both may use as many threads;
what a rival does by OpenCV uses them, by NumPy not. The floor of a corruption is reading every image once, writing it
once, and drawing its random numbers; the arithmetic between is what the distance to the floor pays for.

To have imagecorruptions: pip install imagecorruptions opencv-python-headless 'setuptools<81' (in an environment of its
own, if need be).
"""

import itertools
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from skimage.data import astronaut
from skimage.transform import resize

from benchmarks.measure import Row, in_turn
from weatherproof import operators, random
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder
from weatherproof.evaluation import Settings, cases_on_the_fly, evaluate_suite
from weatherproof.operators import COMMON_15, EXTRA_4, Corruption
from weatherproof.readouts import OwnHead, evaluating
from weatherproof.training.memory import keep_freed_memory

NAMES = (*COMMON_15, *EXTRA_4)
SEVERITY = 3
SIZES = {224: ("imagenet", 24, 10), 32: ("cifar", 512, 15)}  # side: parameters, images a call, times the rival
GPU_BATCH, GPU_IMAGES_PER_SECOND = 256, 20_000
SUITE_LIMIT = 1.5
SECONDS = 0.2  # of one measurement: each side does as many images as fit, the rival at least one, we one batch
DRAWS = {  # random numbers for one pixel of one image
    "gaussian_noise": 3, "shot_noise": 3, "impulse_noise": 3, "speckle_noise": 3, "glass_blur": 2, "snow": 1, "fog": 1,
    "spatter": 1, "elastic_transform": 2,
}  # fmt: skip

PerImage = Callable[[np.ndarray], object]


def run(device: str, repeats: int = 5) -> list[Row]:
    return _against_the_floor_of_a_gpu(device, repeats) if device != "cpu" else _on_a_cpu(repeats)


def _on_a_cpu(repeats: int) -> list[Row]:
    rows = []
    keep_freed_memory()  # as an audit of a suite does; it serves the rival too
    threads = torch.get_num_threads()
    for number in sorted({1, threads}):
        torch.set_num_threads(number)
        for side in SIZES:
            rows += _of_a_size(side, repeats, f", {number} thread" + "s" * (number > 1))
    torch.set_num_threads(threads)
    return [*rows, _whole_suite()]


def _of_a_size(side: int, repeats: int, threads: str) -> list[Row]:
    parameters, batch, times = SIZES[side]
    pixels = photographs(side, batch)
    images, keys = _tensor(pixels), random.keys(0, torch.arange(batch))
    rows, ratios = [], []
    for name in NAMES:
        operator = Corruption(name, SEVERITY, parameters=parameters)
        row = _against_rival(operator, images, keys, pixels, repeats, threads)
        ratios.append(statistics.median(row.compared))
        rows += [row, _floor(operator, images, keys, repeats, threads)]
        print(f"  {row.what}: {1 / ratios[-1]:.1f} times {row.against}", flush=True)
    middle = statistics.geometric_mean(ratios)
    what = f"geometric mean of the {len(NAMES)}, {side}×{side}{threads}: share of the rival's time"
    return [*rows, Row(f"{what} ({1 / middle:.1f} times)", "", "×", (middle,), by="itself", limit=1 / times)]


def _against_rival(
    operator: Corruption, images: torch.Tensor, keys: torch.Tensor, pixels: np.ndarray, repeats: int, threads: str
) -> Row:
    called, per_image = rival(operator.name, operator.parameters)
    times, count = _fitting(lambda: operator(images, keys)), _fitting(lambda: per_image(pixels[0]))
    ours, theirs = in_turn(
        lambda: [operator(images, keys) for _ in range(times)],
        lambda: [per_image(image) for image in itertools.islice(itertools.cycle(pixels), count)],
        repeats,
        warmup=1,
    )
    return Row(
        f"{operator.name}, {images.shape[-1]}×{images.shape[-1]}{threads}", called, "ms",
        _milli(ours, times * len(images)), _milli(theirs, count), images=1, limit=1.0,
    )  # fmt: skip


def _floor(operator: Corruption, images: torch.Tensor, keys: torch.Tensor, repeats: int, threads: str = "") -> Row:
    name, side = operator.name, images.shape[-1]
    draws = DRAWS.get(name, 0)
    out = torch.empty_like(images)
    chunks = list(range(0, len(images), max(1, 2**19 // images[0].numel())))

    def least() -> None:
        for start in chunks:
            part = slice(start, start + (chunks[1] if len(chunks) > 1 else len(images)))
            out[part].copy_(images[part])
            if draws:
                random.shorts(keys[part], (draws, side, side), images.device)

    times = _fitting(lambda: operator(images, keys)) if images.device.type == "cpu" else 1
    ours, floor = in_turn(
        lambda: [operator(images, keys) for _ in range(times)],
        lambda: [least() for _ in range(times)],
        repeats, str(images.device), warmup=1,
    )  # fmt: skip
    bytes_moved = 2 * images[0].numel() * images.element_size()
    against = f"{bytes_moved / 2**20:.2f} MiB moved, {draws * side * side:,} draws"
    return Row(
        f"{name}, {side}×{side}{threads}, to its floor", against, "ms", _milli(ours, times * len(images)),
        _milli(floor, times * len(images)), images=1,
    )  # fmt: skip


def _whole_suite(images: int = 512, batch: int = 256, repeats: int = 3) -> Row:
    """`audit --suite common-15` without reading files and writing the page, against as many bare forward passes."""
    pixels = torch.from_numpy(photographs(32, images)).permute(0, 3, 1, 2).contiguous()
    labels = torch.arange(images) % 10
    source = MemoryImages(pixels, labels, name="photographs", classes=tuple(map(str, range(10))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        model = OwnHead(load_encoder("resnet20", num_classes=10))
    cases = cases_on_the_fly(source, operators.suite("common-15"))
    looks = pixels.float().div(255).split(batch)

    def bare() -> None:
        with evaluating(model):
            for _ in cases:
                for look in looks:
                    model(look)

    keep_freed_memory()  # as the audit does
    ours, floor = in_turn(
        lambda: evaluate_suite(model, source, cases, Settings(batch_size=batch)), bare, repeats, warmup=1
    )
    what = f"common-15 of ResNet-20, {len(cases)} sets of {images} images, 32×32"
    return Row(what, "bare forward passes", "s", ours, floor, images=images * len(cases), limit=SUITE_LIMIT)


def _against_the_floor_of_a_gpu(device: str, repeats: int) -> list[Row]:
    images, keys = _tensor(photographs(224, GPU_BATCH)).to(device), random.keys(0, torch.arange(GPU_BATCH))
    rows = [_floor(Corruption(name, SEVERITY, parameters="imagenet"), images, keys, repeats) for name in NAMES]
    middle = statistics.geometric_mean(statistics.median(row.ours) for row in rows)
    what = f"geometric mean of the {len(NAMES)}, 224×224 ({1e3 / middle:,.0f} images/s)"
    return [*rows, Row(what, "", "ms", (middle,), by="itself", limit=1e3 / GPU_IMAGES_PER_SECOND, images=1)]


def photographs(side: int, count: int) -> np.ndarray:
    """uint8 [count, side, side, 3]: pieces of scikit-image's photograph, made small before where they are small."""
    whole = astronaut()
    whole = whole if side > 100 else (resize(whole, (96, 96), anti_aliasing=True) * 255).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, whole.shape[0] - side, (count, 2))
    return np.stack([whole[y : y + side, x : x + side] for y, x in corners])


def rival(name: str, parameters: str) -> tuple[str, PerImage]:
    """(what it is called, image -> corrupted image). imagecorruptions has one set of parameters for all sizes."""
    try:
        import cv2
        from imagecorruptions import corrupt

        cv2.setNumThreads(torch.get_num_threads())
        probe = np.zeros((64, 64, 3), np.uint8)
        probe[16:48, 16:48] = 200

        def public(image: np.ndarray) -> object:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return corrupt(image, corruption_name=name, severity=SEVERITY)

        public(probe)
    except Exception:  # not installed, or one of its functions that today's libraries break
        from tests.oracles import corruptions_numpy

        rng = np.random.default_rng(0)
        return "per-image oracle", lambda image: corruptions_numpy.corrupt(image, name, SEVERITY, rng, parameters)
    return "imagecorruptions", public


def _fitting(call: Callable[[], object]) -> int:
    """How often a call fits into the time of one measurement, at least once."""
    call()
    start = time.perf_counter()
    call()
    return max(1, int(SECONDS / (time.perf_counter() - start)))


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _milli(times: tuple[float, ...], images: int) -> tuple[float, ...]:
    return tuple(1e3 * t / images for t in times)
