"""`hf:NAME_OR_PATH` and `parquet:PATTERN`: images in a column of a table, by Hugging Face's datasets.

A data set that `save_to_disk` wrote, one in the library's cache, or Parquet files, which the library copies once into
its cache as Arrow, where any row can be read without its neighbours. Nothing is downloaded, and no code of a data set
runs.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weatherproof.data.layout import SPLIT_FOLDERS
from weatherproof.data.packed.images import Packed
from weatherproof.data.packed.shards import HELD_OUT_SPLITS, held_out_split, of_split
from weatherproof.data.packed.storage import LocalFiles, name_in
from weatherproof.errors import InputError, shown
from weatherproof.names import printable
from weatherproof.regular import irregular
from weatherproof.texts import bounded, path_of

_STRETCH = 1000  # rows that an epoch visits together, before they are mixed with those of other stretches
_IMAGES, _LABELS = ("image", "img", "images", "jpg", "png"), ("label", "labels", "cls", "fine_label", "class")


@dataclass(frozen=True, eq=False)
class Rows:
    """The images of a table: a `Pack`.

    Args:
        table: a `datasets.Dataset` with one column of undecoded images.
        column: its name.
        title: what the source is called.
    """

    table: Any
    column: str
    title: str

    @property
    def first(self) -> Tensor:
        """See `Pack`."""
        count = len(self.table)
        return torch.tensor([*range(0, count, _STRETCH), count])

    def size(self, place: int) -> int:
        """See `Pack`."""
        return len(self.read(place)[1])

    def read(self, place: int) -> tuple[str, bytes]:
        """See `Pack`. What holds no image, or names a file that is not there, has no bytes."""
        found = self.table[int(place)][self.column]
        content, path = (found or {}).get("bytes"), (found or {}).get("path")
        if content is None and path:
            try:
                content = Path(path).read_bytes() if irregular(path) is None else b""
            except OSError:
                content = b""
        return self.name(place), content or b""

    def name(self, place: int) -> str:
        """See `Pack`."""
        return f"{self.title}[{place}]"


def find_hf(text: str, split: str) -> Packed:
    """The images of one split of a Hugging Face data set, on the disk or in the cache.

    Raises:
        InputError: there is none, it has no such split or no column of images, or the library is missing.
    """
    library, path = _library(), path_of(text)
    try:
        found = library.load_from_disk(str(path)) if path.is_dir() else _cached(library, bounded(text))
    except InputError:
        raise
    except Exception as error:  # of the library or of what it stands on
        raise InputError(
            f"no Hugging Face data set {shown(text)}: expected a folder that save_to_disk wrote, or a name in the "
            f"cache (nothing is downloaded): {type(error).__name__}: {error}"
        ) from None
    title = printable(name_in(str(path).rstrip("/")))
    if not isinstance(found, Mapping):
        return _split_of(_packed(found, text, title, split), split, text)
    if split == "all":
        raise InputError(f"{shown(text)} has splits ({', '.join(map(str, found))}): name one of them")
    if [*found] == ["train"] and split in HELD_OUT_SPLITS:
        return _split_of(_packed(found["train"], text, title, split), split, text)
    chosen = next((name for name in SPLIT_FOLDERS.get(split, (split,)) if name in found), None)
    if chosen is not None:
        return _packed(found[chosen], text, title, chosen)
    raise InputError(f"{shown(text)} has no split {split!r}: there are {', '.join(map(str, found))}")


def find_parquet(text: str, split: str) -> Packed:
    """The images of one split of Parquet files, whose names may speak of splits as those of shards.

    Raises:
        InputError: there are none, they have no such split or no column of images, or the library is missing.
    """
    library, pattern = _library(), str(path_of(text))
    files = LocalFiles()
    folder = files.is_folder(pattern)
    paths = [p for inner in ("*.parquet", "*/*.parquet") for p in files.find_in(pattern, inner)] if folder else []
    paths = paths or files.find(pattern)
    if not paths or not all(map(files.exists, paths)):
        raise InputError(f"no Parquet files {shown(text)}: expected a folder or a pattern such as DIR/train-*.parquet")
    for path in paths:
        files.size(path)  # no pipe
    chosen, served = of_split(paths, split, text, pattern if folder else None)
    try:
        table = library.load_dataset("parquet", data_files=chosen or paths, split="train")
    except Exception as error:
        raise InputError(f"{shown(text)} cannot be read as Parquet: {type(error).__name__}: {error}") from None
    home = Path(pattern if folder else paths[0]).absolute()
    found = _packed(table, text, printable(home.name if folder else home.parent.name), served)
    return found if chosen is not None else _split_of(found, split, text)


def _split_of(packed: Packed, split: str, text: str) -> Packed:
    if split not in (*HELD_OUT_SPLITS, "all"):
        raise InputError(f"{shown(text)} has no split {split!r}: it has no splits, so there are train, test and all")
    return packed if split == "all" else held_out_split(replace(packed, split=split), split, text)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError("datasets is not installed: pip install 'weatherproof[hf]'") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it says is in the errors that it raises
    return datasets


def _cached(library: Any, name: str) -> Any:
    name, _, configuration = name.partition("@")
    offline = library.DownloadConfig(local_files_only=True)
    with _offline(library):
        return library.load_dataset(name, configuration or None, download_config=offline)


@contextmanager
def _offline(library: Any) -> Iterator[None]:
    """Inside, the library asks no hub: with `local_files_only` alone it still asks, and waits for an answer."""
    from huggingface_hub import constants

    before = library.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    library.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _packed(table: Any, text: str, title: str, split: str) -> Packed:
    import datasets

    features = table.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    column = _one_of(images, _IMAGES) or _one_of([name for name in features if name in _IMAGES], _IMAGES)
    if column is None:
        raise InputError(f"{shown(text)} has no column of images: it has {', '.join(map(printable, features))}")
    whole = [n for n, f in features.items() if isinstance(f, datasets.ClassLabel) or str(_type(f)).startswith("int")]
    named = [name for name in whole if name in _LABELS or isinstance(features[name], datasets.ClassLabel)]
    label = _one_of(named, _LABELS)
    try:
        rows = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except Exception as error:
        raise InputError(f"column {column!r} of {shown(text)} holds no encoded images: {error}") from None
    labels = torch.full((len(table),), -1)
    classes: tuple[str, ...] = ()
    if label is not None:
        values = table.select_columns([label]).with_format("numpy")[:][label]
        labels = torch.from_numpy(np.nan_to_num(np.asarray(values, np.float64), nan=-1).astype(np.int64))
        top = int(labels.max()) if len(labels) else -1
        known = getattr(features[label], "names", None)
        classes = tuple(map(printable, known)) if known else tuple(map(str, range(top + 1)))
        if int(labels.min() if len(labels) else 0) < -1 or top >= max(len(classes), 1) or top >= 1 << 20:
            raise InputError(f"column {label!r} of {shown(text)} holds labels from {int(labels.min())} to {top}")
    if not len(table):
        raise InputError(f"{shown(text)} holds no rows")
    return Packed(Rows(rows, column, title), labels, torch.arange(len(table)), classes, split, title)


def _type(feature: Any) -> Any:
    return getattr(feature, "dtype", None)


def _one_of(names: Iterable[str], preferred: tuple[str, ...]) -> str | None:
    """The one that is meant: by its usual name, else the first."""
    names = [*names]
    return next((name for name in preferred if name in names), names[0] if names else None)
