"""Write a data set as WebDataset tar shards."""

import hashlib
import io
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from weatherproof.data import FileImages, ImageSet, MemoryImages, PackedImages, load_images
from weatherproof.data.files import BadFiles, Decoded
from weatherproof.data.layout import role_of
from weatherproof.data.packed.index import COUNT, write_index
from weatherproof.data.packed.shards import FORMAT
from weatherproof.data.packed.tar import LARGEST, split_name
from weatherproof.errors import InputError
from weatherproof.files import replacing
from weatherproof.names import printable, visible
from weatherproof.progress import phase
from weatherproof.regular import irregular
from weatherproof.training import RunFolder
from weatherproof.verbs.data_copy import NOTE_SECONDS, PROGRESS, DataCopy
from weatherproof.verbs.inputs import require_counts
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import own_json, recipe_of, text_of

MOST_BAD = 0.05  # of the images of a split, as wherever images are read
_CHUNK = 64  # images that are read at a time
_DIGITS = 9  # of a key; more where an index has more
_RECORD = tarfile.RECORDSIZE  # bytes: a tar file is a multiple of it


@dataclass
class ShardedCopy(DataCopy):
    """The shards."""

    def lines(self) -> Iterator[str]:
        for split, written in self.manifest["splits"].items():
            size = f"{written['bytes'] / 2**20:,.1f} MiB"
            yield f"{split:<9}{written['images']:,} images of {written['name']} in {written['shards']:,} shards, {size}"
        if left := self.manifest["left_out"]:
            first = min(left)
            yield f"note     {len(left):,} images are left out: first {visible(first)}: {left[first]}"


@verb()
def shard(
    images: str | Path | ImageSet,
    *,
    split: list[str] | None = None,
    images_per_shard: int = 10_000,
    size_mb: float = 256.0,
    size: int | str | None = None,
    crop_fraction: float = 1.0,
    jpeg_quality: int | None = None,
    out: str | Path = Path("runs/shards"),
) -> ShardedCopy:
    """Write a data set as WebDataset tar shards, which `shards:DIR` reads: few large files in place of many small ones.
    Files are copied to the byte; images that lie in no files of their own become PNG. The same command goes on where it
    was stopped.

    Args:
        images: the images: a folder, digits, or NAME:DIR.
        split: train, test, val, unlabeled or all; train and test by default.
        images_per_shard: at most so many in each shard.
        size_mb: a shard ends with the image that brings it to so many MiB.
        size: side in pixels, or rows x columns such as 224x288: read and written as that large, without loss unless a
            quality is given. By default files stay what they are.
        crop_fraction: with a size: the part of the resized shorter side that the centred square keeps.
        jpeg_quality: of images that are written anew; by default they are PNG.
        out: the folder of the shards.
    """
    recipe = recipe_of("shard", locals())
    require_counts(images_per_shard=images_per_shard)
    if not 0 < size_mb < 1 << 20:
        raise InputError(f"size_mb is a number of MiB above 0 and below {1 << 20:,}, got {size_mb:g}")
    if size is None and crop_fraction != 1:
        raise InputError("crop_fraction is of images that are read at a size: give --size, or leave it out")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InputError(f"jpeg_quality is from 1 to 100, got {jpeg_quality}")
    if split is not None and not split:
        raise InputError("split is an empty list: name at least one, or leave it out for train and test")
    if isinstance(images, ImageSet):
        if split is not None and len(split) > 1:
            raise InputError(f"an image set in the hand is one split, got {len(split)} names for it")
        sets = {(split or ["all"])[0]: images}
    else:
        sets = {}
        for wanted in dict.fromkeys(split or ["train", "test"]):
            found = load_images(images, wanted, size, crop_fraction=crop_fraction, memory_budget=0)
            sets.setdefault(_called(wanted, found), found)
    _require_alike(sets)
    run = RunFolder.open(out, recipe)
    if known := ShardedCopy.finished(run, "these shards are"):
        return known
    as_they_are = size is None and jpeg_quality is None
    writers = [_Split(own, name, as_they_are, jpeg_quality) for name, own in sets.items()]
    written = _write(run, writers, images_per_shard, round(size_mb * 2**20))
    index = write_index(run.path, [name for own in written["files"].values() for name in own])
    counted = dict(zip(index.names, index.table[:, COUNT].tolist(), strict=True))
    first = _first(sets)
    bad = {printable(name): reason for own in sets.values() for name, reason in own.bad.items()}  # of a source in packs
    manifest = {
        "format": FORMAT, "source": text_of(images), "classes": list(first.classes), "channels": first.channels,
        "images_per_shard": images_per_shard, "size_mb": size_mb, "size": size, "crop_fraction": crop_fraction,
        "jpeg_quality": jpeg_quality,
        "splits": {
            own.split: {
                "name": own.images.name, "images": sum(counted[name] for name in written["files"][own.split]),
                "shards": len(written["files"][own.split]),
                "bytes": sum(about["bytes"] for about in written["files"][own.split].values()),
            }
            for own in writers
        },
        "left_out": bad | written["bad"], "versions": run.recipe["versions"],
        "files": {name: about | {"images": counted[name]} for own in written["files"].values()
                  for name, about in own.items()},
    }  # fmt: skip
    for name, about in manifest["files"].items():
        if about["images"] != about["written"]:
            raise InputError(
                f"{run.path / name} holds {about['images']} images of {about['written']}: delete {run.path}"
            )
        del about["written"]
    return ShardedCopy.finish(run, manifest, "shards")


def _called(wanted: str, images: ImageSet) -> str:
    """The split that an image set really is, where it says so: test may have been served by val."""
    own = images.name.rpartition("/")[2]
    return own if role_of(own) is not None and own.isalpha() else wanted


def _require_alike(sets: Mapping[str, ImageSet]) -> None:
    first = _first(sets)
    for name, images in sets.items():
        if not name.replace("-", "").isalnum():
            raise InputError(f"a split is called by letters and numbers, got {name!r}")
        deep = isinstance(images, MemoryImages) and images.pixels.dtype != torch.uint8
        if deep or images.channels not in (1, 3):
            raise InputError(
                f"shards hold grey and RGB of 8 bits, and {images.name!r} has {images.channels} channels of "
                f"{16 if deep else 8} bits: leave it an npz file"
            )
        if len(images) == 0 or len(images.index.unique()) < len(images):
            raise InputError(f"{images.name!r} must hold images, each with an index of its own: it becomes its key")
        labelled = bool((images.labels >= 0).any())
        if (labelled and images.classes != first.classes) or images.channels != first.channels:
            raise InputError(
                f"{first.name!r} and {images.name!r} differ in classes or channels: write each into a folder of its "
                "own with --split"
            )


def _first(sets: Mapping[str, ImageSet]) -> ImageSet:
    """One with labels, where there is any."""
    return next((own for own in sets.values() if bool((own.labels >= 0).any())), next(iter(sets.values())))


@dataclass
class _Split:
    """One split on its way into shards."""

    images: ImageSet
    split: str
    as_they_are: bool
    quality: int | None
    fingerprint: str = field(init=False)
    digits: int = field(init=False)

    def __post_init__(self) -> None:
        written = hashlib.sha256(self.images.index.numpy().tobytes())
        written.update(self.images.labels.numpy().tobytes())
        self.fingerprint, self.digits = written.hexdigest(), max(_DIGITS, len(str(int(self.images.index.max()))))

    def content(self, position: int) -> tuple[str, bytes] | tuple[str, str]:
        """The ending and the bytes of an image; or what it is called, and why it has none."""
        images = self.images
        if self.as_they_are and isinstance(images, FileImages):
            path = images.paths[position]
            try:
                if kind := irregular(path):
                    return path, f"it is {kind}, no regular file"
                content = Path(path).read_bytes()
            except OSError as error:
                return path, error.strerror or str(error)
            return (path, f"more than {LARGEST:,} bytes") if len(content) > LARGEST else (Path(path).suffix, content)
        if self.as_they_are and isinstance(images, PackedImages):
            name, content = images.encoded(position)
            parted = split_name(name.rpartition("/")[2])
            return f".{parted[1].rpartition('.')[2] if parted else 'jpg'}", content
        chosen = torch.tensor([position])
        if isinstance(images, Decoded):
            pixels, _, bad, _ = images.decode(chosen)
            for path, reason in bad.items():
                return path, reason
        else:
            pixels = images.read(chosen)
        return _encoded(pixels[0].numpy(), self.quality)

    def samples(self, start: int) -> Iterator[tuple[int, str, bytes | str, int]]:
        """(position, ending, bytes, label), or (position, name, reason, label), from a position on."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            for begin in range(start, len(self.images), _CHUNK):
                positions = range(begin, min(begin + _CHUNK, len(self.images)))
                labels = self.images.labels[begin : positions.stop].tolist()
                for position, (name, found), label in zip(
                    positions, pool.map(self.content, positions), labels, strict=True
                ):
                    yield position, name, found, label

    def key(self, position: int) -> str:
        return f"{int(self.images.index[position]):0{self.digits}}"


def _encoded(pixels: np.ndarray, quality: int | None) -> tuple[str, bytes]:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    stream = io.BytesIO()
    if quality is None:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=quality)
    return ".png" if quality is None else ".jpg", stream.getvalue()


def _write(run: RunFolder, splits: Sequence[_Split], most: int, most_bytes: int) -> dict[str, Any]:
    """Shard by shard. Returns the notes of progress."""
    noted: dict[str, Any] = {
        "files": {own.split: {} for own in splits}, "done": {own.split: 0 for own in splits}, "bad": {},
        "data": {own.split: own.fingerprint for own in splits},
    }  # fmt: skip
    if (run.path / PROGRESS).exists():
        before = own_json(run.path / PROGRESS)
        if before.get("data") != noted["data"]:
            raise InputError(f"the source holds other images than when {run.path} was begun: choose another --out")
        noted = before
        for own in noted["files"].values():
            for name, about in own.items():
                path = run.path / name
                if not path.is_file() or path.stat().st_size != about["bytes"]:
                    raise InputError(
                        f"{path} is gone or cut off since it was written: delete {run.path} and begin anew"
                    )
    saved = time.monotonic()
    total = sum(len(own.images) for own in splits)
    rest = _Rest(total, noted)
    with phase("writing shards", total, done=sum(noted["done"].values())) as meter:
        for own in splits:
            files, guard = noted["files"][own.split], BadFiles(own.images.name, len(own.images), MOST_BAD)
            samples = own.samples(noted["done"][own.split])
            try:
                while noted["done"][own.split] < len(own.images):
                    name = f"{own.split}-{len(files):06}.tar"
                    run.provisional.add(name)  # without a note it is written anew
                    before = noted["done"][own.split]
                    about, reached, bad = _shard(run.path / name, own, samples, most, most_bytes, rest)
                    guard.record(bad)
                    noted["done"][own.split], noted["bad"] = reached, noted["bad"] | bad
                    if about is None:
                        continue
                    files[name] = about
                    meter.advance(reached - before)
                    if time.monotonic() - saved >= NOTE_SECONDS:
                        run.write_json(PROGRESS, noted)
                        saved, rest.images = time.monotonic(), total - sum(noted["done"].values())
            except KeyboardInterrupt:
                if any(noted["files"].values()):
                    run.write_json(PROGRESS, noted)
                raise
            if not files:
                first = next(iter(noted["bad"].items()), ("", "there are none"))
                raise InputError(f"no image of {own.images.name!r} can be read: {printable(first[0])}: {first[1]}")
    run.write_json(PROGRESS, noted)
    return noted


class _Rest:
    """How large the shards are that are not in a note of progress, as far as what was written so far says.

    Args:
        total: images of all splits.
        noted: the note with which this begins.
    """

    def __init__(self, total: int, noted: Mapping[str, Any]) -> None:
        self.seen = sum(noted["done"].values())
        self.length = sum(about["bytes"] for own in noted["files"].values() for about in own.values())
        self.images = total - self.seen

    def count(self, contents: Iterable[bytes]) -> None:
        """What is about to be written of one image, whether there is room for it or not."""
        self.length += sum(tarfile.BLOCKSIZE * (1 + -(-len(own) // tarfile.BLOCKSIZE)) for own in contents)

    def needed(self) -> int:
        """Bytes; 0 before the first image."""
        return -(-self.length * self.images // (self.seen * _RECORD)) * _RECORD if self.seen else 0


class _Hashed:
    """A file that is written from its start to its end, with its length and its hash."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length, self.hash = file, 0, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.hash.update(content)
        self.length += len(content)

    def member(self, name: str, content: bytes) -> None:
        about = tarfile.TarInfo(name)  # no owner, no time: the same images make the same bytes
        about.size = len(content)
        self.write(about.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
        self.write(content)
        self.write(bytes(-len(content) % tarfile.BLOCKSIZE))


def _shard(
    path: Path, own: _Split, samples: Iterator[tuple[int, str, bytes | str, int]], most: int, most_bytes: int,
    rest: _Rest,
) -> tuple[dict[str, Any] | None, int, dict[str, str]]:  # fmt: skip
    """Write one shard. Returns what the manifest says of it (None where all that was left is bad), the position that
    the next one begins with, and the images that are left out."""
    written, reached, bad = 0, len(own.images), {}
    with suppress(_Nothing), replacing(path, rest.needed) as file:
        out, before = _Hashed(file), rest.length
        for position, name, found, label in samples:
            rest.seen += 1
            if isinstance(found, str):
                bad[printable(name)] = found
                continue
            key = own.key(position)
            members = {f"{key}{name.lower()}": found}
            if label >= 0:
                members[f"{key}.cls"] = str(label).encode()
            rest.count(members.values())
            for called, content in members.items():
                out.member(called, content)
            written += 1
            if written >= most or out.length >= most_bytes:
                reached = position + 1
                break
        if not written:
            raise _Nothing
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        out.write(bytes(-out.length % _RECORD))
        rest.length = before + out.length
    if not written:
        return None, reached, bad
    return {"bytes": out.length, "sha256": out.hash.hexdigest(), "written": written}, reached, bad


class _Nothing(Exception):
    """No image was left for a shard."""
