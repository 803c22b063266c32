"""Test images that are nearly training images: compressed or resized again, a little brighter. An encoder proposes who
may be whose copy, the pixels decide, so that a weak encoder raises no alarm."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from weatherproof.data import FileImages, ImageSet, PackedImages
from weatherproof.data.duplicates import duplicates
from weatherproof.data.images import as_floats
from weatherproof.errors import InputError
from weatherproof.readouts import nearest
from weatherproof.types import Embeddings, Images

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


class Remembering(nn.Module):
    """An encoder that keeps what it gave of the first images that it saw, at unit length.

    Args:
        encoder: images to embeddings.
        positions: of the images that it will see first, in the set that they are of. `features` has a row for each that
            can be read, or for every `step`-th of those where they are many.
    """

    def __init__(self, encoder: nn.Module, positions: Int64[Tensor, "n"]) -> None:
        super().__init__()
        self.encoder, self.positions, self.step = encoder, positions, -(-len(positions) // MOST)
        self._rows: list[Tensor] = []
        self._seen = 0

    @property
    def features(self) -> Float[Tensor, "n features"]:
        """One row an image, on the CPU."""
        return torch.cat(self._rows).float() if self._rows else torch.empty(0, 0)

    def remember(self, features: Tensor) -> None:
        """Take up what another one has seen of these images."""
        self._rows, self._seen = [features], len(self.positions)

    def forward(self, images: Images) -> Embeddings:
        out: Tensor = self.encoder(images)
        if self._seen < len(self.positions):
            first = -self._seen % self.step
            self._rows.append(normalize(out.detach().float(), dim=1)[first :: self.step].half().cpu())
            self._seen += len(out)
        return out


def near_duplicates(
    encoder: Remembering,
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
        encoder: has seen the training images in order, clean or damaged.
        train: the set that they are of.
        queries, asked: the encoder's embeddings of test images, and which these are.
    """
    seen = _readable(train)[encoder.positions]
    features, rows = encoder.features, encoder.positions[seen][:: encoder.step]
    if len(features) != len(rows):
        return torch.empty(0, 2, dtype=torch.int64)
    similarity, index = (part[:, 0] for part in nearest(features, queries, 1))
    order = similarity.argsort(descending=True, stable=True)[:PROPOSED]
    proposed = order[similarity[order] >= NEAR]
    pairs = torch.stack([asked[proposed], rows[index[proposed]]], dim=1)
    if not len(pairs):
        return pairs
    equal = duplicates(train.subset(pairs[:, 1].unique()), test.subset(pairs[:, 0]))[:, 0]
    known = {*equal.tolist()}
    alike = [i for i, pair in enumerate(pairs.tolist()) if i not in known and _alike(test, train, *pair)]
    pairs = pairs[torch.tensor(alike, dtype=torch.int64)]
    return pairs[pairs[:, 0].argsort()]


def _readable(images: ImageSet) -> Bool[Tensor, "n"]:
    """Which images are no files that turned out to be bad: `embed` leaves those out."""
    if isinstance(images, FileImages):
        return torch.tensor([path not in images.bad for path in images.paths])
    if isinstance(images, PackedImages) and images.bad:
        return torch.tensor([images.called(i) not in images.bad for i in range(len(images))])
    return torch.ones(len(images), dtype=torch.bool)


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
