"""Test images that are nearly training images: compressed or resized again, a little brighter. An encoder proposes who
may be whose copy, the pixels decide, so that a weak encoder raises no alarm."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from weatherproof.data import ImageSet
from weatherproof.data.duplicates import duplicates
from weatherproof.data.images import as_floats
from weatherproof.errors import InputError
from weatherproof.readouts import nearest
from weatherproof.types import Embeddings

MOST = 50_000  # training images whose embeddings are kept: of more, every second, third, ...
PROPOSED = 500  # pairs whose pixels are looked at, the nearest
NEAR = 0.9  # cosine from which on a pair is proposed
SIDE = 16  # of the thumbnails, in pixels
# Root mean square difference of two thumbnails, each channel at mean 0 and variance 1 altogether. Copies as JPEG of
# quality 75: at most 0.053 (200 images of MNIST) and 0.052 (Imagenette at 128 pixels), 0.035 for 95 % of CIFAR-10. The
# nearest training image of another image: 0.075 or more (MNIST, all 10,000), 0.109 (digits), 0.115 (CIFAR-10, 2,000 of
# its test images), 0.282 (Imagenette, 400).
SAME = 0.07
_FLAT = 2 / 255  # standard deviation below which an image shows nothing that could be compared


class Seen:
    """What an encoder gave of training images, at unit length: of all, or of every `step`-th where there are many. Is
    told of each batch.

    Args:
        images: how many there will be, at most.
    """

    def __init__(self, images: int) -> None:
        self.step, self._count = -(-images // MOST), 0
        self._features: list[Tensor] = []
        self._rows: list[Tensor] = []

    def __call__(self, features: Embeddings, positions: Int64[Tensor, "batch"]) -> None:
        """Keep these embeddings of the images at these positions of their set."""
        first = -self._count % self.step
        self._features.append(normalize(features.detach().float(), dim=1)[first :: self.step].half().cpu())
        self._rows.append(positions.cpu()[first :: self.step])
        self._count += len(features)

    @property
    def features(self) -> Float[Tensor, "n features"]:
        """One row an image, on the CPU."""
        return torch.cat(self._features).float()

    @property
    def rows(self) -> Int64[Tensor, "n"]:
        """Which image each is of."""
        return torch.cat(self._rows)

    def take_up(self, features: Float[Tensor, "n features"], rows: Int64[Tensor, "n"]) -> None:
        """What another one has kept."""
        self._features, self._rows = [features], [rows]


def near_duplicates(
    seen: Seen,
    train: ImageSet,
    test: ImageSet,
    queries: Float[Tensor, "m features"],
    asked: Int64[Tensor, "m"],
) -> Int64[Tensor, "d 2"]:
    """(position in test, position in train) of every test image that is nearly a training image, but not equal to it.

    The nearest training image by cosine is proposed, where the cosine is 0.9 or more; of the 500 nearest pairs those
    count whose thumbnails (16 x 16 means) differ, up to brightness and contrast, by no more than 0.07 standard
    deviations. Images without contrast are left out.

    Args:
        seen: the encoder's embeddings of training images, clean or damaged.
        train: the set that they are of.
        queries, asked: its embeddings of test images, and which these are.
    """
    similarity, index = (part[:, 0] for part in nearest(seen.features, queries, 1))
    order = similarity.argsort(descending=True, stable=True)[:PROPOSED]
    proposed = order[similarity[order] >= NEAR]
    pairs = torch.stack([asked[proposed], seen.rows[index[proposed]]], dim=1)
    if not len(pairs):
        return pairs
    equal = duplicates(train.subset(pairs[:, 1].unique()), test.subset(pairs[:, 0]))[:, 0]
    known = {*equal.tolist()}
    alike = [i for i, pair in enumerate(pairs.tolist()) if i not in known and _alike(test, train, *pair)]
    pairs = pairs[torch.tensor(alike, dtype=torch.int64)]
    return pairs[pairs[:, 0].argsort()]


def _alike(test: ImageSet, train: ImageSet, position: int, partner: int) -> bool:
    try:
        pair = [_thumbnail(images.read(torch.tensor([i]))) for images, i in ((test, position), (train, partner))]
    except InputError:
        return False
    a, b = pair
    return a is not None and b is not None and float((a - b).square().mean().sqrt()) <= SAME


def _thumbnail(image: Tensor) -> Tensor | None:
    """Each channel at mean 0, variance 1 altogether; None where the image shows nothing."""
    small = adaptive_avg_pool2d(as_floats(image), (min(SIDE, image.shape[-2]), min(SIDE, image.shape[-1])))
    small = small - small.mean(dim=(-2, -1), keepdim=True)  # a plain colour shows nothing, too
    spread = small.square().mean().sqrt()
    return small / spread if float(spread) >= _FLAT else None
