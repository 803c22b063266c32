"""What a pretrained encoder's page shows beside its numbers: views, nearest neighbours, a map by class."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random, views
from weatherproof.data import ImageSet, at_most, batches, evenly_spaced
from weatherproof.errors import InputError
from weatherproof.evaluation import plane_map
from weatherproof.evaluation.embeddings import embedded
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.maps import MapBy
from weatherproof.progress import phase
from weatherproof.protocols import Encoder
from weatherproof.readouts import nearest
from weatherproof.reports import FamilyLooks, save_map, save_neighbours, save_views
from weatherproof.sizes import Size, shorter
from weatherproof.types import Embeddings, Images

_STREAM = 0x70696374  # "pict": the draws on the page are those of no training and of no measurement
_DRAWS = 3  # of every family
_QUERIES, _NEIGHBOURS = 8, 5  # test images on the page, and how many training images stand beside each

Families = Mapping[str, tuple[Any, bool]]  # by name: the family, and whether the run used it


def example_families(size: Size, used: Any = None) -> Families:
    """Every family of views that there is at this size, the one that a run used first and marked."""
    rep, rob = views.MoCoV2(size), views.AugMix("all", size)
    known: dict[str, Any] = {
        "SimCLR": views.SimCLR(size), "MoCo v1": views.MoCoV1(size), "MoCo v2": rep, "InstDis": views.InstDis(size),
        "AugMix": views.AugMix("standard", size), "AugMix, all operations": rob,
        "AugMix with MoCo's operations": views.AugMixMoCo(size), "URRL": views.URRL(rep, rob),
    }  # fmt: skip
    with suppress(InputError):  # of 1 and 2 pixels there is no puzzle
        known["Jigsaw"] = views.Jigsaw(shorter(size))
    if used is None:
        return {name: (family, False) for name, family in known.items()}
    name = next((name for name, family in known.items() if repr(family) == repr(used)), None)
    first = name or next((n for n, family in known.items() if type(family) is type(used)), type(used).__name__)
    others = {n: (family, False) for n, family in known.items() if n != first}
    return {first: (used, True), **others}


@phase("pictures for the page")
def save_pretraining_pictures(
    folder: str | Path,
    encoder: Encoder,
    train: ImageSet,
    test: ImageSet,
    families: Families,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    map_by: MapBy = "pca",
    limit: int = 2000,
) -> None:
    """Write `views.safetensors`, `neighbours.safetensors` and `map.safetensors` into a run folder, for its report.

    Args:
        encoder: used in evaluation mode, on `device`.
        train: where neighbours are looked for.
        test: the queries, the points of the map, and, of its first image, the views.
        families: as from `example_families`.
        map_by: "pca" or "tsne".
        limit: at most so many images of each set, evenly spaced.
    """
    batch = next(batches(test, 1, device=device))
    save_views(folder, _bytes(batch.images[0]), _looks(families, batch.images, random.keys(seed, batch.index)))
    settings = Settings(device=device, batch_size=batch_size, workers=workers)
    train, bank = _embedded(encoder, at_most(train, limit), settings)
    test, features = _embedded(encoder, at_most(test, limit), settings)
    _save_neighbours(folder, train, bank, test, features)
    if len(features) >= 3:
        flat = plane_map(features, map_by)
        save_map(folder, flat.points, test.labels, classes=test.classes, by=map_by, shares=flat.shares, data=test.name)


def _looks(families: Families, image: Images, keys: Tensor) -> list[FamilyLooks]:
    """A few draws of every family of one image, [1, C, H, W], in one batch each. A family that was not used is left out
    where it cannot look at such an image: one with fewer pixels than its blur, or more channels than colours."""
    copies = image.expand(_DRAWS, *image.shape[1:])
    own = torch.cat([random.fold(keys, _STREAM, draw) for draw in range(_DRAWS)])
    shown = []
    for name, (family, used) in families.items():
        try:
            looks = family(copies, own)
        except InputError:
            if used:
                raise
            continue
        if isinstance(looks, Tensor):
            looks = views.Twice(family)(copies, own)
        draws = [[_bytes(look[i]) for look in looks] for i in range(_DRAWS)]
        shown.append(FamilyLooks(name, repr(family), draws, used))
    return shown


def _bytes(image: Float[Tensor, "channels height width"]) -> Tensor:
    return image.detach().cpu().clamp(0, 1).mul(255).round().byte()


def _embedded(encoder: Encoder, images: ImageSet, settings: Settings) -> tuple[ImageSet, Embeddings]:
    """The images that can be read, and their embeddings on the CPU, row by row."""
    found = embedded(encoder, images, settings, "the encoder")
    return images.subset(found.place), found["embedding"]


def _save_neighbours(folder: str | Path, train: ImageSet, bank: Tensor, test: ImageSet, features: Tensor) -> None:
    queries = evenly_spaced(len(test), _QUERIES)
    similarity, index = nearest(bank, features[queries], _NEIGHBOURS)
    near = train.read(index.flatten())
    save_neighbours(
        folder, test.read(queries), near.view(*index.shape, *near.shape[1:]), similarity,
        query_labels=test.labels[queries], labels=train.labels[index], classes=train.classes, bank=train.name,
        images=len(train),
    )  # fmt: skip
