"""AugMix's rule (Hendrycks et al. 2020, Algorithm 1) on a batch, without a loop over its images: `MixedChains` of
operations on levels."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.operators.eight_bit import as_bytes, as_pixels
from weatherproof.operators.mixed_chains import chained, keys_at, pieces, weigh
from weatherproof.sizes import Size, sides
from weatherproof.types import Images, Keys
from weatherproof.views.augmix.draws import Draws, Link, Operation, draw
from weatherproof.views.augmix.ops import Levels

View = Float[Tensor, "batch channels rows columns"]


@torch.no_grad()  # levels have no gradient
def mix(
    images: Images,
    keys: Keys,
    links: Sequence[Link],
    width: int,
    depth: tuple[int, int],
    severity: float,
    first: Callable[[Images, Keys], View] | None = None,
    size: Size | None = None,
) -> View:
    """(1 - m) x + m sum_i w_i chain_i(x), x being the image, or what `first` makes of it, of that size."""
    out = images.new_empty(*images.shape[:2], *(sides(size) if size else images.shape[2:]))
    draws = draw(random.fold(keys, 1), links, width, depth, severity, out.shape)
    for part in pieces(out, bytes_each=1):
        seen = first(images[part], random.fold(keys[part], 0)) if first else images[part]
        chains = _chains(as_bytes(seen), draws[part], random.fold(keys[part], 2), links)
        weigh(seen, chains, draws.weights[part], out[part], whole=255)
    return out


def _chains(levels: Levels, draws: Draws, keys: Keys, links: Sequence[Link]) -> tuple[Levels, ...]:
    """What each chain makes of every image."""

    def apply(link: int, some: Levels, rows: Int64[Tensor, "some"], place: int) -> Levels:
        own = links[link]
        if isinstance(own, Operation):
            return own(some, draws.parameter[..., place].flatten()[rows])
        return as_bytes(own(as_pixels(some), keys_at(keys, place, len(draws.link))[rows]))

    return chained(levels, draws.link, len(links), apply)
