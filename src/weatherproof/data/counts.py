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
    told = ", ".join(f"{images.classes[label]} {counts[label]:,}" for label in fewest)
    how = f"{lacks:,} are missing (the classes with the fewest: {told})" if lacks > 0 else f"{-lacks:,} more"
    return (
        f"{name} in {folder} has {len(images):,} images to {split}, and the published set {expected:,}: {how}; numbers "
        "are not those of the whole set"
    )
