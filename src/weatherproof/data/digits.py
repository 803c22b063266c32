"""The handwritten digits that scikit-learn brings, read from its file: to import the library takes two seconds."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weatherproof.data.arrays import Arrays, known_split

DIGITS_SIZE = 32  # pixels a side after enlarging: what small convolutional encoders take
# A bit for each of the 1,797, which is 1 of those that are test: what scikit-learn's train_test_split chooses with
# test_size=0.2, random_state=0 and the labels to stratify by.
_TEST = (
    "000004883524104000064100934205001a00080100240028062c12001000940a009019120420f8a0028110a000080a882044"
    "1524494240a00a0000004004d80000818020004805c400104008a0100005404800301000020ec409000224840083a8013c20"
    "a6980a0000000b08400804a0184802024041c1008004404684376a810216004480004042a0a4180a5000840b8561c6081080"
    "08004c80c02004068e00010882008100380803c008190000100e01008410a0210033282904c044c080680e01028300820088"
    "22a6402c24042108a860809081a00c02820242120138a41500"
)


def digits(split: str) -> Arrays:
    """The 1,797 digits of scikit-learn (8x8, 17 levels), bilinearly enlarged to 32x32; a fixed fifth is test, and "all"
    are all."""
    split = known_split(split, "digits", "all")
    pixels, labels = _digits()
    test = torch.from_numpy(np.unpackbits(np.frombuffer(bytes.fromhex(_TEST), np.uint8), count=len(labels))).bool()
    chosen = {"train": ~test, "test": test, "all": torch.ones_like(test)}[split].nonzero()[:, 0]
    return Arrays(pixels[chosen], labels[chosen], chosen, tuple(map(str, range(10))), split)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """Pixels uint8 [1797, 1, 32, 32] and labels."""
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None, "scikit-learn is among the requirements"
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    small = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    side = (DIGITS_SIZE, DIGITS_SIZE)
    large = np.stack([np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR)) for image in small])
    return torch.from_numpy(large)[:, None], torch.from_numpy(table[:, -1].astype(np.int64))
