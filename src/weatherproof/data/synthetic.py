"""Synthetic MNIST: a small digit in a corner, which decides the class of some images and means nothing in the others.

Source: "Balancing Robustness and Sensitivity Using Feature Contrastive Learning" (FCL), section 4.1. A digit 5-9 keeps
its label with a corner digit; a digit 0-4 with one is of class 10-14. In training these classes are rare.

    training            5-9 always with a corner digit, 0-4 without one, and a few images 10-14
    validation, test    5-9 with a corner digit, every 0-4 once without and once with one: 15 classes of like size

The paper gives the counts; `docs/data.md` has what it leaves open and what is chosen here. Every draw is a function of
the image's index: there is one such data set.
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from weatherproof import random
from weatherproof.data.arrays import Arrays, digits, known_split, mnist
from weatherproof.types import Keys, Labels

SYNTHETIC_SEED = 0  # of the one data set there is
SYNTHETIC_CLASSES = tuple(map(str, range(15)))
STREAM = 0x636F726E  # "corn": its draws are independent of every other use of the seed
CONTEXT = 5  # only in the classes below does a corner digit change the label, by 10
COPY = 100_000  # a 10-14 has the index of its plain copy and this

MNIST_CORNER = 9  # of 28 pixels
MNIST_RARE = 50  # training images of each class 10-14: a hundredth of the other classes' 5,000
DIGITS_CORNER = 10  # of 32 pixels
DIGITS_RARE = 8  # a hundredth of the other classes' 115 would be one
DIGITS_MARGIN = 4  # scikit-learn's digits fill the image: so much is left free around them, as around MNIST's


def synthetic_mnist(folder: Path, split: str) -> Arrays:
    """Synthetic MNIST from the four IDX files: 50,250 training images, 15,100 for validation and 15,139 for testing.

    A sixth of MNIST's training images is the validation split. Pixels are uint8 [n, 1, 28, 28].

    Raises:
        InputError: the split is not train, validation (or val) or test; the files are missing or broken.
    """
    split = known_split(split, "synthetic-mnist", "validation")
    found = mnist(folder, "test" if split == "test" else "train")
    return _synthesised(_part(found, split, 6), MNIST_CORNER, MNIST_RARE)


def synthetic_digits(split: str) -> Arrays:
    """The same in small from scikit-learn's digits, without files: 1,189 training images, 433 and 540.

    A fifth of the training images of `digits` is the validation split. Pixels are uint8 [n, 1, 32, 32].

    Raises:
        InputError: the split is not train, validation (or val) or test.
    """
    split = known_split(split, "synthetic-digits", "validation")
    found = digits("test" if split == "test" else "train")
    small = _shrunk(found.pixels, found.pixels.shape[-1] - 2 * DIGITS_MARGIN)
    found = replace(found, pixels=pad(small, (DIGITS_MARGIN,) * 4))
    return _synthesised(_part(found, split, 5), DIGITS_CORNER, DIGITS_RARE)


def _part(found: Arrays, split: str, parts: int) -> Arrays:
    """The split's own images: validation is one image in `parts` of every class, training the others, test all."""
    if split == "test":
        return found
    drawn = _keys(found, 0).argsort()
    drawn = drawn[found.labels[drawn].argsort(stable=True)]
    held = torch.zeros_like(drawn, dtype=torch.bool)
    held[drawn[::parts]] = True
    own = held if split == "validation" else ~held
    return Arrays(found.pixels[own], found.labels[own], found.index[own], found.classes, split)


def _synthesised(plain: Arrays, corner: int, rare: int) -> Arrays:
    """The images of one split with their corner digits, and after them the images 10-14."""
    copied = (plain.labels < CONTEXT).nonzero().flatten()
    if plain.split == "train":
        copied = copied[_few_of_each(plain.labels[copied], _keys(plain, 1)[copied], rare)]
    positions = torch.cat([torch.arange(len(plain.labels)), copied])
    labels = torch.cat([plain.labels, plain.labels[copied] + 10])
    index = torch.cat([plain.index, plain.index[copied] + COPY])
    images = Arrays(plain.pixels[positions], labels, index, SYNTHETIC_CLASSES, plain.split)
    carrying = (labels >= CONTEXT).nonzero().flatten()
    source = random.integers(_keys(images, 2), len(plain.labels))[carrying]
    place = random.integers(_keys(images, 3), 4)[carrying]
    _paste(images.pixels, carrying, place, _shrunk(plain.pixels[source], corner))
    return images


def _keys(images: Arrays, use: int) -> Keys:
    """One key an image, also apart from those of the other MNIST file, which numbers its images from 0, too."""
    return random.fold(random.keys(SYNTHETIC_SEED, images.index), STREAM, int(images.split == "test"), use)


def _few_of_each(labels: Labels, keys: Keys, count: int) -> Int64[Tensor, "m"]:
    """Positions of the images with the `count` lowest keys of every class 0-4, in rising order."""
    order = keys.argsort()
    return torch.cat([order[labels[order] == label][:count] for label in range(CONTEXT)]).sort().values


def _paste(
    pixels: UInt8[Tensor, "n 1 side side"],
    carrying: Int64[Tensor, "m"],
    place: Int64[Tensor, "m"],
    small: UInt8[Tensor, "m 1 corner corner"],
) -> None:
    """Lay each small digit into one corner of its image, in place: the larger value of the two at every pixel.

    Args:
        pixels: all images.
        carrying: positions of those that get a digit.
        place: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
        small: the digits.
    """
    first, last = slice(None, small.shape[-1]), slice(-small.shape[-1], None)
    for number, (rows, columns) in enumerate(((first, first), (first, last), (last, first), (last, last))):
        here = place == number
        corner = pixels[..., rows, columns]
        corner[carrying[here]] = corner[carrying[here]].maximum(small[here])


def _shrunk(pixels: UInt8[Tensor, "n 1 side side"], side: int) -> UInt8[Tensor, "n 1 small small"]:
    """Smaller squares: each new pixel is the mean of what it covers, parts of old pixels counted as parts, rounded.

    Lengths in 1/side of an old pixel are whole, so are the sums, and so they are exact. Not in float32, which a program
    may have told the framework to multiply with fewer bits.
    """
    old = pixels.shape[-1]
    ends = torch.arange(1, side + 1)[:, None] * old, torch.arange(1, old + 1) * side
    starts = ends[0] - old, ends[1] - side
    shared = (torch.minimum(*ends) - torch.maximum(*starts)).clamp_(min=0).double()  # [side, old]
    return (shared @ pixels.double() @ shared.T).div_(old**2).round_().to(torch.uint8)
