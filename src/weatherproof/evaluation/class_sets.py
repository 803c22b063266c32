"""Whether the classes of a classifier are those of the images: what must be known before an answer is right or wrong.

That both have ten says nothing: vehicles and animals are no breeds of dogs. What says something are the names on both
sides, folders that are called after the classifier's outputs, and the user's word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch import nn

from weatherproof.data import ImageSet
from weatherproof.data.cifar_classes import CIFAR_10, CIFAR_100
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.readouts import Readout, Reordered

_CIFAR = ("resnet20", "resnet56", "resnet18-cifar", "resnet50-cifar")
_IMAGENET = ("torchvision:", "timm:", "resnetv2-50")  # whose published weights are ImageNet's where the count is
_THOUSAND = 1000
WORD = "--classes-match"


@dataclass(frozen=True)
class Head:
    """What is known of a classifier's outputs.

    Attributes:
        outputs: how many there are.
        title: what goes on "the classifier's classes are": "ImageNet's 1,000".
        names: lists of names that images may have for them, each in the outputs' order; none where nothing is known. By
            the first a class is known on its own, by the others all of them together: ImageNet's "mouse" has buttons.
        numbered: an output's number may be its name.
        words: the words for the outputs, where they are to be shown in place of the images' names; (): they are not.
    """

    outputs: int
    title: str
    names: tuple[tuple[str, ...], ...] = ()
    numbered: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassFit:
    """Whether the images' classes are a classifier's, and why.

    Attributes:
        believed: its accuracy on these images means something.
        why: the reason, a clause to go on from; "" where the names are the same in the same order.
        order: the outputs that belong to the images' classes, in the order of these, and then all others; None: they
            stand in this order already.
        classes: the names of the outputs, in that order.
        among: how many outputs there are, where the images have some of the classes only.
    """

    believed: bool
    why: str
    order: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    among: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What belongs beside numbers that rest on it."""
        return (self.why,) if self.why else ()

    def classifier(self, model: nn.Module) -> nn.Module:
        """The classifier with its outputs in the order of the images' classes."""
        return model if self.order is None else Reordered(model, self.order, self.classes)

    def data(self, images: ImageSet) -> str | None:
        """What records call the images, where their name alone would hide that there were more classes to choose from:
        such a number is none to compare with one among the images' own."""
        return None if self.among is None else f"{images.name} among {self.among:,} classes"


def head_of(encoder: Encoder) -> Head:
    """The own head of an encoder that has one: named after what its architecture's published weights were trained on,
    CIFAR or ImageNet, where their number of classes is the head's."""
    outputs = encoder.num_classes or 0
    if encoder.name in _CIFAR and outputs in (len(CIFAR_10), len(CIFAR_100)):
        names = CIFAR_10 if outputs == len(CIFAR_10) else CIFAR_100
        return Head(outputs, f"those of CIFAR-{outputs}", (names,))
    if encoder.name.startswith(_IMAGENET):
        lists = _imagenet(outputs)
        if lists:
            return Head(outputs, f"ImageNet's {outputs:,}", lists, numbered=outputs == _THOUSAND)
    return Head(outputs, f"{outputs:,} whose names are not known", numbered=True)


def head_of_readout(readout: Readout) -> Head:
    """The outputs of a readout, which were named when it was fitted, or made of words."""
    classes, spoken = readout.classes, readout.spoken
    if spoken is None:
        return Head(len(classes), some(classes), (classes,))
    return head_of_words(classes, spoken.said)


def head_of_words(classes: tuple[str, ...], words: tuple[str, ...]) -> Head:
    """The outputs of a readout from words.

    Args:
        classes: by the names of folders.
        words: the words for them.
    """
    return Head(len(classes), some(classes), tuple(dict.fromkeys((classes, words))), words=words)


def class_fit(head: Head, images: ImageSet, *, classes_match: bool = False) -> ClassFit:
    """Whether the images' classes are those of the head, by the first of these reasons:

    - names: they are the same, or some of the head's (then a right answer is one among all of its classes). Order does
      not matter; neither do case, leading zeros, or whether words are parted by space, "_" or "-"; of ImageNet's
      classes the WordNet id, also before a name, or for all of them the English names;
    - a known order: the images' classes are called 0 to n - 1 in this order, and the head has n outputs without known
      names; or they have these names in any order, and the head is of ImageNet's 1,000 classes;
    - the user's word that both are the same in the same order.

    Args:
        classes_match: the user's word.

    Raises:
        InputError: the user's word, where the numbers of classes differ or images have no label.
    """
    classes = images.classes
    if not len(classes) or not bool((images.labels >= 0).all()):
        if classes_match:
            raise InputError(f"{WORD} is about labelled images, and {images.name!r} has images without a label")
        return ClassFit(False, f"{images.name!r} has images without a label")
    for i, names in enumerate(head.names):
        places = _places(names, classes)
        if places is not None and (i == 0 or len(classes) == head.outputs):
            return _by_name(head, classes, places, names)
    if head.numbered and len(classes) == head.outputs:
        numbers = tuple(map(str, range(head.outputs)))
        places = _places(numbers, classes)
        if places == tuple(range(head.outputs)) or (places is not None and head.names):
            found = _by_name(head, classes, places, numbers)
            reason = f"the images' classes 0 to {head.outputs - 1} are taken as the numbers of the classifier's outputs"
            return ClassFit(True, reason, found.order, found.classes)
    if classes_match:
        if len(classes) != head.outputs:
            raise InputError(
                f"{WORD} says that the classifier's classes are the images', and it has {head.outputs:,} where "
                f"{images.name!r} has {len(classes):,}"
            )
        reason = f"the classifier's classes are the images' on the user's word ({WORD})"
        order = None if not head.words else tuple(range(head.outputs))
        return ClassFit(True, reason, order, head.words or classes)
    why = f"the classifier's classes are {head.title}, the images' are {some(classes)}"
    way = f"; {WORD} says that both are the same in the same order" if len(classes) == head.outputs else ""
    return ClassFit(False, why + way)


def output_names(model: object, images: ImageSet) -> tuple[str, ...]:
    """What the outputs of a classifier are called: by itself, where `ClassFit` gave it names, else as the images'
    classes."""
    return getattr(model, "classes", None) or images.classes


def some(classes: Sequence[str]) -> str:
    """The first classes by name, and how many there are where there are more.

    >>> some(("ant", "bee", "cat", "dog"))
    'ant, bee, cat, ... (4 classes)'
    """
    return ", ".join(classes[:3]) + f", ... ({len(classes):,} classes)" * (len(classes) > 3)


def _by_name(head: Head, classes: tuple[str, ...], places: tuple[int, ...], names: tuple[str, ...]) -> ClassFit:
    if places == tuple(range(head.outputs)) and not head.words:
        return ClassFit(True, "", classes=classes)
    others = [i for i in range(head.outputs) if i not in set(places)]
    order, named = (*places, *others), (*classes, *(names[i] for i in others))
    if head.words:
        named = tuple(head.words[i] for i in order)
        if order == tuple(range(head.outputs)) and not others:
            return ClassFit(True, "", order, named)
    if others:
        reason = f"the images have {len(classes):,} of the classifier's {head.outputs:,} classes: accuracy is among all"
        return ClassFit(True, reason, order, named, head.outputs)
    return ClassFit(True, "the images have the classifier's classes in another order: matched by name", order, named)


def _places(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...] | None:
    """Which of the names each class is; None where one is none of them, or might be several."""
    for key in (str, _key):  # as they are first: a Cardigan is a dog, a cardigan is worn
        known, wanted = [*map(key, names)], [*map(key, classes)]
        if known == wanted:
            return tuple(range(len(known)))
        at = {name: i for i, name in enumerate(known)}
        if len(at) == len(known) and len({*wanted}) == len(wanted) and {*wanted} <= at.keys():
            return tuple(at[name] for name in wanted)
    return None


def _key(name: str) -> str:
    """What is the same for two spellings of a class."""
    wordnet = re.match(r"n\d{8}(?!\d)", name)
    if wordnet:
        return wordnet[0]
    if name.isascii() and name.isdecimal():
        return name.lstrip("0") or "0"
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


@cache
def _imagenet(outputs: int) -> tuple[tuple[str, ...], ...]:
    """Names of the classes of the version of ImageNet that has so many, from timm's and torchvision's own lists:
    WordNet ids, and for the usual 1,000 the English names; () where there is no such version."""
    from timm.data import ImageNetInfo, infer_imagenet_subset
    from torchvision.models import ResNet18_Weights

    version = infer_imagenet_subset({"num_classes": outputs})
    if version is None:
        return ()
    ids = tuple(ImageNetInfo(version).label_names())
    return (ids, tuple(ResNet18_Weights.DEFAULT.meta["categories"])) if outputs == _THOUSAND else (ids,)
