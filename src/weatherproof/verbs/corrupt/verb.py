"""Write a corrupted copy of a data set."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import torch

from weatherproof import operators, random
from weatherproof.data import ImageSet, batches, load_images
from weatherproof.data.digest import contents_digest
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.operators.eight_bit import as_bytes
from weatherproof.operators.textures import SYNTHETIC_NOTE
from weatherproof.progress import phase
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED
from weatherproof.verbs.corrupt.copies import ArrayCopy, Copy, FolderCopy
from weatherproof.verbs.corrupt.inputs import layout_of, levels_of, names_of, require_clean
from weatherproof.verbs.corrupt.names import file_names
from weatherproof.verbs.data_copy import NOTE_SECONDS, PROGRESS, DataCopy
from weatherproof.verbs.inputs import device_of, require_counts, require_works
from weatherproof.verbs.options import CorruptionOptions, ReadOptions, verb
from weatherproof.verbs.outcome import own_json, recipe_of, text_of

JPEG_QUALITY = 85  # of the distributed ImageNet-C

Layout = Literal["auto", "cifar-c", "imagenet-c"]


@dataclass
class CorruptedCopy(DataCopy):
    """The corrupted images."""

    def lines(self) -> Iterator[str]:
        manifest = self.manifest
        names, levels = manifest["corruptions"], ", ".join(map(str, manifest["severities"]))
        many = f"{len(names)} corruptions" if len(names) > 1 else names[0]
        yield (
            f"{manifest['images']:,} images of {manifest['name']} under {many} at severity {levels}: "
            f"{manifest['parameters']}"
        )
        yield from (f"note     {note}" for note in manifest["notes"])


class _Options(CorruptionOptions, ReadOptions, total=False):
    """How the images are read and corrupted."""

    out: Annotated[str | Path, "the folder of the copy."]
    seed: Annotated[int, "of every random draw."]


@verb(batch_size=64, out=Path("runs/corrupted"))
def corrupt(
    images: str | Path | ImageSet,
    *,
    suite: Literal["common-15", "common-19"] = "common-15",
    corruptions: list[str] | None = None,
    severities: list[int] | None = None,
    layout: Layout = "auto",
    split: str = "test",
    crop_fraction: float = 1.0,
    **options: Unpack[_Options],
) -> CorruptedCopy:
    """Write a copy of a data set under the common corruptions (Hendrycks & Dietterich 2019): arrays as CIFAR-10-C has
    them, or folders as ImageNet-C. It holds what `audit --suite` with the same seed computes on the fly.

    Args:
        images: the clean images: a folder, digits, or NAME:DIR.
        suite: common-15 (the benchmark) or common-19 (with the four for validation).
        corruptions: these instead of the suite's, such as fog.
        severities: from 1 to 5; all five by default, and always in arrays.
        layout: cifar-c (NAME.npy and labels.npy), imagenet-c (NAME/SEVERITY/CLASS/FILE.JPEG) or auto: arrays for images
            of up to 64 pixels.
        jpeg_quality: of the files; 85 as the distributed ImageNet-C. Arrays are not compressed unless it is given.
        split: train, test, or all.
        size: side in pixels at which the images are read, or rows x columns such as 224x288; by default as they are. An
            audit on the fly reads them at the encoder's own input size.
        crop_fraction: the part of the resized shorter side that the centred square keeps: with size 224, 0.875 is the
            published Resize(256), CenterCrop(224).
        batch_size: images at a time. Memory depends on this, not on the number of images.
    """
    recipe = recipe_of("corrupt", locals())
    batch_size, workers, size = options["batch_size"], options["workers"], options["size"]
    frost, jpeg_quality, seed = options["frost"], options["jpeg_quality"], options["seed"]
    require_counts(batch_size=batch_size)
    if workers < 0:
        raise InputError(f"workers is a number of processes, 0 or more, got {workers}")
    names, levels, where = names_of(suite, corruptions), levels_of(severities), device_of(options["device"])
    clean = load_images(images, split, size, crop_fraction=crop_fraction, memory_budget=0)  # files keep their names
    require_clean(clean)
    layout = layout_of(layout, clean, levels)
    if layout == "cifar-c":  # read over and over, and small: better in memory
        clean = load_images(images, split, size, crop_fraction=crop_fraction)
    elif jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InputError(f"jpeg_quality is from 1 to 100, got {jpeg_quality}")
    how = options["parameters"], options["glass"], None if frost is None else str(frost)
    by_severity = {
        name: {
            level: operators.Corruption(name, level, *how, jpeg_quality if layout == "cifar-c" else None)
            for level in levels
        }
        for name in names
    }
    for by_level in by_severity.values():
        for operator in by_level.values():
            require_works(operator, clean, where)
    files = file_names(clean) if layout == "imagenet-c" else []
    run = RunFolder.open(options["out"], recipe, ignore=(*IGNORED, "batch_size"))
    if known := CorruptedCopy.finished(run, "this copy is"):
        return known
    quality = jpeg_quality or JPEG_QUALITY
    copy: Copy = ArrayCopy(run.path, clean) if layout == "cifar-c" else FolderCopy(run.path, files, levels, quality)
    run.provisional |= {*names, *(f"{name}.npy.part" for name in names)}  # a copy without notes is made anew
    try:
        done = _write(run, copy, clean, by_severity, seed=seed, device=where, workers=workers, batch_size=batch_size)
        written = copy.labels() | done["files"]
    finally:
        copy.close()
    assert clean.image_size is not None
    example = by_severity[names[0]][levels[0]]
    manifest = {
        "source": text_of(images), "name": clean.name, "split": split, "seed": seed, "suite": suite, "layout": layout,
        "corruptions": names, "severities": levels, "images": len(clean) - len(done["bad"]),
        "size": list(clean.image_size), "channels": clean.channels, "classes": list(clean.classes),
        "crop_fraction": crop_fraction, "jpeg_quality": jpeg_quality if layout == "cifar-c" else quality,
        "parameters": example.describe_parameters(min(clean.image_size)),
        "operators": {name: [repr(operator) for operator in by_severity[name].values()] for name in names},
        "notes": [SYNTHETIC_NOTE] if "frost" in names and frost is None else [], "left_out": done["bad"],
        "versions": run.recipe["versions"], "hardware": run.recipe["hardware"], "files": written,
    }  # fmt: skip
    return CorruptedCopy.finish(run, manifest, "corrupted")


def _write(
    run: RunFolder, copy: Copy, images: ImageSet, by_severity: Mapping[str, Mapping[int, operators.Corruption]], *,
    seed: int, device: torch.device, workers: int, batch_size: int,
) -> dict[str, Any]:  # fmt: skip
    """Corruption by corruption, all its severities of one batch together. Returns the notes of progress."""
    noted: dict[str, Any] = {
        "files": {}, "finished": [], "bad": {}, "corruption": None, "images": 0, "data": contents_digest(images),
    }  # fmt: skip
    if (run.path / PROGRESS).exists():
        noted |= own_json(run.path / PROGRESS)
    if noted["data"] != contents_digest(images):
        raise InputError(f"{images.name!r} holds other images than when {run.path} was begun: choose another --out")
    levels = len(next(iter(by_severity.values())))
    before = levels * (len(noted["finished"]) * len(images) + noted["images"])

    def note(**news: Any) -> None:
        noted.update(news)
        noted["bad"] |= dict(images.bad)
        run.write_json(PROGRESS, noted)

    with phase(f"a copy of {images.name}", levels * len(by_severity) * len(images), done=before) as meter:
        for name, by_level in by_severity.items():
            if name in noted["finished"]:
                continue
            meter.note = name
            start = reached = copy.begin(name, noted["images"] if noted["corruption"] == name else 0)
            saved, rest = time.monotonic(), torch.arange(start, len(images))
            try:
                for batch in batches(images, batch_size, order=rest, device=device, workers=workers):
                    keys = random.fold(random.keys(seed, batch.index), EVAL_STREAM, 0)  # an audit's first realization
                    clean = as_bytes(batch.images)
                    for severity, operator in by_level.items():
                        copy.write(severity, batch.place, operator(clean, keys).cpu())
                        meter.advance(len(batch.place))
                    reached = int(batch.place[-1]) + 1
                    if time.monotonic() - saved >= NOTE_SECONDS:
                        copy.settle()
                        note(corruption=name, images=reached)
                        saved = time.monotonic()
            except KeyboardInterrupt:
                copy.settle()
                note(corruption=name, images=reached)
                raise
            written = copy.finish()
            note(files=noted["files"] | written, finished=[*noted["finished"], name], corruption=None, images=0)
    return noted
