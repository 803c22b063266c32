"""Turn what people have into what studies read, and fetch what is free."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from weatherproof.benchmark import COMMON_19
from weatherproof.data.origins import FREE, NOT_FREE
from weatherproof.data.sources import contents
from weatherproof.encoders.load import published_weights
from weatherproof.encoders.weights import read_checkpoint
from weatherproof.errors import InputError, unknown
from weatherproof.files import disk_errors, replacing
from weatherproof.progress import phase
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import print_lines
from weatherproof.verbs.prepare import imagenet
from weatherproof.verbs.prepare.archives import ARCHIVES, check, opened, take
from weatherproof.verbs.prepare.fetching import beside, download, fetched, placed, to_be_had

What = Literal[
    "weights", "imagenet-val", "imagenet-train", "imagenet-c", "cifar10-c", "cifar100-c", "cifar10", "cifar100",
    "stl10", "mnist", "aircraft", "caltech101", "caltech256", "dtd", "flowers", "food101", "pets", "sun397",
    "imagenette",
]  # fmt: skip
_ARRAYS = frozenset(f"{name}.npy" for name in (*COMMON_19, "labels"))


@dataclass
class Prepared:
    """What is there now."""

    path: Path
    text: str
    status: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"path": str(self.path), "text": self.text, "status": self.status}

    def show(self) -> None:
        """Print one line."""
        print_lines([f"{self.path}: {self.text}"])


@verb()
def prepare(
    what: str | None = None,
    source: str | Path | None = None,
    *,
    out: str | Path | None = None,
    labels: str | Path | None = None,
) -> Prepared:
    """Turn what people have into what studies read, and fetch what is free. The same command goes on where it stopped.

    Args:
        what: weights (a .pth file, or a library's name, into safetensors), imagenet-val, imagenet-train, imagenet-c,
            cifar10-c, cifar100-c (archives into what imagenet: and cifar10-c: read; the last two are fetched where no
            source is given), or a set that is fetched: cifar10, cifar100, stl10, mnist, aircraft, caltech101,
            caltech256, dtd, flowers, food101, pets, sun397, imagenette.
        source: the file, archive or folder, or the name of published weights such as torchvision:resnet101; for what is
            fetched leave it out.
        out: where it goes.
        labels: for imagenet-val, the development kit (ILSVRC2012_devkit_t12.tar.gz, or its folder), Kaggle's
            LOC_val_solution.csv, or a text file with a WordNet id a line.
    """
    if what is None:
        raise InputError(f"prepare what? one of {', '.join(get_args(What))}")
    if what in NOT_FREE:
        raise InputError(f"nothing fetches {what}: {NOT_FREE[what]}")
    if what not in get_args(What):
        raise unknown("thing to prepare", what, get_args(What))
    if labels is not None and what != "imagenet-val":
        raise InputError(f"labels are those of imagenet-val: {what} needs none")
    if what in FREE:
        if source is not None:
            raise InputError(f"{what} is fetched: leave the source out, or put its published archive into the folder")
        target = Path(_required(what, "--out, a folder", out))
        return Prepared(target, fetched(what, target))
    if what in ARCHIVES:
        target = Path(_required(what, "--out, a folder", out))
        return _corrupted(what, None if source is None else Path(source), target)
    source = str(_required(what, "a source", source))
    if what == "weights":
        return _weights(source, None if out is None else Path(out))
    target = Path(_required(what, "--out, a folder", out))
    if what == "imagenet-val":
        classes = Path(_required(what, "--labels, the development kit or a text file", labels))
        return Prepared(target, f"{imagenet.validation(Path(source), classes, target):,} images in folders by class")
    if what == "imagenet-train":
        return Prepared(target, f"{imagenet.training(Path(source), target):,} images in folders by class")
    count = imagenet.corruptions(Path(source), target)
    return Prepared(target, f"{count:,} images, by name and severity (no hash of these archives is known here)")


def _required(what: str, name: str, value: str | Path | None) -> str | Path:
    if value is None:
        raise InputError(f"prepare {what} needs {name}: weatherproof prepare --help")
    return value


def _weights(source: str, out: Path | None) -> Prepared:
    """Tensors alone, by their names: of a file nothing that runs is ever read."""
    from safetensors.torch import save

    named = ":" in source and not Path(source).exists()
    if out is None:
        if named:
            raise InputError(f"prepare weights {source} needs a file to write: --out NAME.safetensors")
        out = Path(source).with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise InputError(f"weights are written as safetensors: {out} should end so")
    if out.exists():
        try:
            there = read_checkpoint(out, outline=True).names
        except InputError as error:
            raise InputError(f"{error}: it is there already, and nothing is overwritten: remove it first") from None
        return Prepared(out, f"is there already with {len(there):,} tensors, nothing was done")
    found = (published_weights(source) if named else read_checkpoint(source)).plain()
    content = save({name: tensor.detach().clone().contiguous() for name, tensor in found.items()}, {"source": source})
    with disk_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out, len(content)) as file:
        file.write(content)
    return Prepared(out, f"{len(found):,} tensors, {len(content) / 1e6:,.1f} MB")


def _corrupted(what: str, source: Path | None, out: Path) -> Prepared:
    published = ARCHIVES[what]
    if source is None and (out / published.name).is_file():
        source = out / published.name
    if source is not None:
        return Prepared(out, _unpacked(what, source, out))
    if all((out / name).is_file() for name in _ARRAYS):
        with suppress(InputError):
            return Prepared(out, f"is there already ({len(contents(f'{what}:{out}', 'test').parts)} sets)")
    with phase(f"fetching {what}"), beside(out) as folder:
        with to_be_had(what, (published.name,), out):
            download(published.url, folder / published.name)
        (folder / "arrays").mkdir()
        said = _unpacked(what, folder / published.name, folder / "arrays")
        placed(folder / "arrays", out)
    return Prepared(out, said)


def _unpacked(what: str, source: Path, out: Path) -> str:
    if not source.is_file():
        raise InputError(f"no archive {str(source)!r}: leave it out to have it fetched from {ARCHIVES[what].page}")
    check(source, ARCHIVES[what])

    def place(name: PurePosixPath) -> Path | None:
        return Path(name.name) if name.name in _ARRAYS else None

    with opened(source) as archive:
        count = take(archive, out, place)
    if count != len(_ARRAYS):
        raise InputError(f"{source} has {count} of the {len(_ARRAYS)} files of {ARCHIVES[what].name}")
    return f"{count} arrays, the archive's MD5 is the published one"
