"""How many images data sets have as they are published, against a copy of them."""

from collections.abc import Mapping

import torch

from weatherproof.data.images import ImageSet

# ImageNet: Russakovsky et al. 2015. The others: "Inverse Problems Leveraging Pre-trained Contrastive Representations"
# (arXiv 2110.07439), Appendix D.1.
PUBLISHED: Mapping[str, Mapping[str, int]] = {
    "imagenet": {"train": 1_281_167, "test": 50_000},
    "imagenet100": {"train": 126_689, "test": 5_000},
    "imagenet100b": {"train": 128_987, "test": 5_000},
    "covid-xray": {"train": 5_286, "test": 624},
}
# Images to train and to test, classes, side in pixels where all are of one size; of the sets above too. CIFAR:
# Krizhevsky 2009; MNIST: LeCun; STL-10: Coates et al. 2011; the transfer sets: Salman et al. 2020.
SIZES: Mapping[str, tuple[int, int, int, int | None]] = {
    "imagenet": (1_281_167, 50_000, 1000, None), "imagenet100": (126_689, 5_000, 100, None),
    "imagenet100b": (128_987, 5_000, 100, None), "covid-xray": (5_286, 624, 2, None),
    "cifar10": (50_000, 10_000, 10, 32), "cifar100": (50_000, 10_000, 100, 32), "stl10": (5_000, 8_000, 10, 96),
    "mnist": (60_000, 10_000, 10, 28), "synthetic-mnist": (60_000, 10_000, 15, 28),
    "aircraft": (6_667, 3_333, 100, None), "birdsnap": (32_677, 8_171, 500, None),
    "caltech101": (3_030, 5_647, 101, None), "caltech256": (15_420, 15_187, 257, None),
    "cars": (8_144, 8_041, 196, None), "dtd": (3_760, 1_880, 47, None), "flowers": (2_040, 6_149, 102, None),
    "food101": (75_750, 25_250, 101, None), "pets": (3_680, 3_669, 37, None), "sun397": (19_850, 19_850, 397, None),
    "cifar10-c": (0, 10_000, 10, 32), "cifar100-c": (0, 10_000, 100, 32), "imagenet-c": (0, 50_000, 1000, 224),
    "imagenet100-c": (0, 5_000, 100, 224),
}  # fmt: skip
_NAMED = 3  # classes in a line


def difference(source: str, split: str, images: ImageSet) -> str | None:
    """A line on how a copy differs from what is published; None where it does not, or nothing is published.

    Args:
        source: its text, "imagenet100:DIR".
        split: "train" or "test".
        images: the whole split.
    """
    name, _, folder = source.partition(":")
    expected = PUBLISHED.get(name, {}).get(split)
    if expected is None or len(images) == expected:
        return None
    lacks = expected - len(images)
    counts = torch.bincount(images.labels[images.labels >= 0], minlength=len(images.classes)).tolist()
    fewest = sorted(range(len(counts)), key=lambda label: counts[label])[:_NAMED]
    classes = ", ".join(f"{images.classes[label]} {counts[label]:,}" for label in fewest)
    how = f"{lacks:,} are missing (the classes with the fewest: {classes})" if lacks > 0 else f"{-lacks:,} more"
    return (
        f"{name} in {folder} has {len(images):,} images to {split}, and the published set {expected:,}: {how}; numbers "
        "are not those of the whole set"
    )
