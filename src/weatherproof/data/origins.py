"""How the published sets of images come: which are fetched, from what, and what to do for the others."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Free:
    """A set that torchvision fetches.

    Attributes:
        kind: its class in `torchvision.datasets`.
        archives: names of the files that it fetches.
        inside: the folder in its root where it looks for these.
        hashed: whether torchvision knows their MD5.
        taken: the folder in its root whose content is the set.
        source: what reads it, where that is not its own name.
    """

    kind: str
    archives: tuple[str, ...]
    inside: str = ""
    hashed: bool = True
    taken: str = ""
    source: str = ""


# As torchvision 0.29 has them.
FREE: Mapping[str, Free] = {
    "cifar10": Free("CIFAR10", ("cifar-10-python.tar.gz",)),
    "cifar100": Free("CIFAR100", ("cifar-100-python.tar.gz",)),
    "stl10": Free("STL10", ("stl10_binary.tar.gz",)),
    "mnist": Free(
        "MNIST",
        tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
        "MNIST/raw",
    ),
    "aircraft": Free("FGVCAircraft", ("fgvc-aircraft-2013b.tar.gz",), hashed=False),
    "caltech101": Free("Caltech101", ("caltech-101.zip",), "caltech101"),
    "caltech256": Free("Caltech256", ("256_ObjectCategories.tar",), "caltech256"),
    "dtd": Free("DTD", ("dtd-r1.0.1.tar.gz",), "dtd"),
    "flowers": Free("Flowers102", ("102flowers.tgz", "imagelabels.mat", "setid.mat"), "flowers-102"),
    "food101": Free("Food101", ("food-101.tar.gz",)),
    "pets": Free("OxfordIIITPet", ("images.tar.gz", "annotations.tar.gz"), "oxford-iiit-pet"),
    "sun397": Free("SUN397", ("SUN397.tar.gz",)),
    "imagenette": Free("Imagenette", ("imagenette2.tgz",), taken="imagenette2", source="folder"),
}  # fmt: skip

_ORDERED = "into train/ and test/ with class folders"
NOT_FREE: Mapping[str, str] = {  # why nothing fetches a set, and what to do
    "cars": "its address is dead, by torchvision's own source: get the set elsewhere, and put its files there as "
    f"torchvision.datasets.StanfordCars reads them (stanford_cars/), or its images {_ORDERED}",
    "birdsnap": "its authors publish addresses of the images, with a program that fetches them "
    f"(http://thomasberg.org/datasets/birdsnap/1.1/birdsnap.tgz): put the images {_ORDERED}",
    "covid-xray": f"no library fetches it: get it where it is published, and put its images {_ORDERED}",
}


def set_of(source: str) -> str:
    """The set that the text of a source names: "cifar10:DIR"; "folder:DIR/imagenette", of a set that is read so."""
    name, _, folder = source.partition(":")
    last = folder.rstrip("/").rpartition("/")[2]
    return last if name == "folder" and last in FREE and FREE[last].source == name else name
