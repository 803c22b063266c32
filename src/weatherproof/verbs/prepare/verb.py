"""Turn what people have into what studies read, and fetch what is free."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from weatherproof.benchmark import COMMON_19
from weatherproof.encoders.load import published_weights
from weatherproof.encoders.weights import read_checkpoint
from weatherproof.errors import InputError, unknown
from weatherproof.files import disk_errors, replacing
from weatherproof.progress import phase
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import print_lines
from weatherproof.verbs.prepare import imagenet
from weatherproof.verbs.prepare.archives import ARCHIVES, check, opened, take

What = Literal[
    "weights", "imagenet-val", "imagenet-train", "imagenet-c", "cifar10-c", "cifar100-c", "cifar10", "cifar100",
    "stl10", "mnist",
]  # fmt: skip
_FREE = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "stl10": "STL10",
    "mnist": "MNIST",
}  # torchvision checks each hash


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
            cifar10-c, cifar100-c (archives into what imagenet: and cifar10-c: read), or cifar10, cifar100, stl10, mnist
            (fetched).
        source: the file, archive or folder, or the name of published weights such as torchvision:resnet101; for what is
            fetched leave it out.
        out: where it goes.
        labels: for imagenet-val, the development kit (ILSVRC2012_devkit_t12.tar.gz, or its folder), Kaggle's
            LOC_val_solution.csv, or a text file with a WordNet id a line.
    """
    if what is None:
        raise InputError(f"prepare what? one of {', '.join(get_args(What))}")
    if what not in get_args(What):
        raise unknown("thing to prepare", what, get_args(What))
    if labels is not None and what != "imagenet-val":
        raise InputError(f"labels are those of imagenet-val: {what} needs none")
    if what in _FREE:
        return _fetched(what, Path(_required(what, "--out, a folder", out)))
    source = str(_required(what, "a source", source))
    if what == "weights":
        return _weights(source, None if out is None else Path(out))
    target = Path(_required(what, "--out, a folder", out))
    if what == "imagenet-val":
        classes = Path(_required(what, "--labels, the development kit or a text file", labels))
        return Prepared(target, f"{imagenet.validation(Path(source), classes, target):,} images in folders by class")
    if what == "imagenet-train":
        return Prepared(target, f"{imagenet.training(Path(source), target):,} images in folders by class")
    if what == "imagenet-c":
        count = imagenet.corruptions(Path(source), target)
        return Prepared(target, f"{count:,} images, by name and severity (no hash of these archives is known here)")
    return _corrupted(what, Path(source), target)


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


def _corrupted(what: str, source: Path, out: Path) -> Prepared:
    if not source.is_file():
        raise InputError(f"no archive {str(source)!r}: fetch it from {ARCHIVES[what].page}")
    check(source, ARCHIVES[what])
    names = {f"{name}.npy" for name in (*COMMON_19, "labels")}

    def place(name: PurePosixPath) -> Path | None:
        return Path(name.name) if name.name in names else None

    with opened(source) as archive:
        count = take(archive, out, place)
    if count != len(names):
        raise InputError(f"{source} has {count} of the {len(names)} files of {ARCHIVES[what].name}")
    return Prepared(out, f"{count} arrays, the archive's MD5 is the published one")


def _fetched(what: str, out: Path) -> Prepared:
    from torchvision import datasets

    kind: Callable[..., Any] = getattr(datasets, _FREE[what])
    with phase(f"fetching {what}"):
        try:
            with disk_errors(out):
                kind(str(out), download=True)
        except InputError:
            raise
        except Exception as error:  # of a network that is not there, or another file than the published one
            words = " ".join(str(error).split())[:160]
            raise InputError(
                f"{what} is not to be had ({words}): put its published archive into {out} and try again"
            ) from None
    return Prepared(out, "is there; torchvision has compared its MD5")
