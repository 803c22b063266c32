"""AugMix's rule (Hendrycks et al. 2020, Algorithm 1) on a batch, without a loop over its images.

The chains of all images go forward together, one place after the other. At each place they are sorted by the link that
they drew there, so that each pays for its own only.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from weatherproof import random
from weatherproof.operators.eight_bit import as_bytes, as_pixels
from weatherproof.sizes import Size, sides
from weatherproof.types import Images, Keys
from weatherproof.views.augmix.draws import Draws, Link, Operation, draw
from weatherproof.views.augmix.ops import Levels

View = Float[Tensor, "batch channels rows columns"]

_CHUNK = 3 << 20  # values that a CPU works on at a time: fewer, and the many small calls cost more than caches save


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
    at_once = max(1, _CHUNK // out.shape[1:].numel() if images.device.type == "cpu" else len(images))
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        seen = first(images[part], random.fold(keys[part], 0)) if first else images[part]
        chains = _chains(as_bytes(seen), draws[part], random.fold(keys[part], 2), links)
        _weigh(seen, chains, draws.weights[part], out[part])
    return out


def _weigh(images: View, chains: Sequence[Levels], weights: Float64[Tensor, "batch parts"], out: View) -> None:
    own, *others = (column.view(-1, 1, 1, 1).to(images) for column in weights.unbind(1))
    torch.mul(images, own, out=out)
    for levels, weight in zip(chains, others, strict=True):
        out.addcmul_(levels.to(images.dtype), weight / 255)


def _chains(levels: Levels, draws: Draws, keys: Keys, links: Sequence[Link]) -> tuple[Levels, ...]:
    """What each chain makes of every image."""
    width, count, deepest = draws.link.shape
    store = levels.new_empty(int((draws.link < len(links)).sum()), *levels.shape[1:])  # what every link gave
    source, lies = levels, torch.arange(count).repeat(width)  # where each chain's last levels are
    start = 0
    for place in range(deepest):
        drawn, parameter = draws.link[..., place].flatten(), draws.parameter[..., place].flatten()
        *sizes, ended = drawn.bincount(minlength=len(links) + 1).tolist()
        order = drawn.argsort(stable=True)[: len(drawn) - ended]
        found = list(source.index_select(0, lies[order].to(levels.device)).split(sizes))
        for group, (link, rows) in enumerate(zip(links, order.split(sizes), strict=True)):
            if len(rows) and isinstance(link, Operation):
                found[group] = link(found[group], parameter[rows])
            elif len(rows):
                of_chain = torch.cat([random.fold(keys, place, chain) for chain in range(width)])
                found[group] = as_bytes(link(as_pixels(found[group]), of_chain[rows]))
        torch.cat(found, out=store[start : start + len(order)])
        source, lies[order] = store, torch.arange(start, start + len(order))
        start += len(order)
    return store.index_select(0, lies.to(levels.device)).split(count)
