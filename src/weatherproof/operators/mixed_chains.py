"""Compositions as AugMix makes them (Hendrycks et al. 2020, Algorithm 1): chains of operations, mixed with the image.

The chains of all images go forward together, one place after the other. At each place they are sorted by the link that
they drew there, so that each pays for its own only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators.combine import check_operator
from weatherproof.protocols import Operator
from weatherproof.spec import component
from weatherproof.types import Images, Keys

Links = Int64[Tensor, "width batch deepest"]  # which of the links; their number where the chain has ended
Weights = Float64[Tensor, "batch parts"]  # of the image itself, then of each chain; their sum is 1
Apply = Callable[[int, Tensor, Int64[Tensor, "some"], int], Tensor]

CHUNK = 3 << 20  # bytes of images that a CPU works on at a time: fewer, and many small calls cost more than caches save
_MOST = 10  # chains, and operators in a chain
_ALPHAS = (0.1, 100.0)


@component
class MixedChains:
    """(1 - m) x + m sum_i w_i chain_i(x), with m ~ Beta(alpha, alpha) and w ~ Dirichlet(alpha, ..., alpha).

    AugMix's rule with damages for operations: ``MixedChains(GaussianNoise((0.0, 0.2)), GaussianBlur((0.0, 2.0)))``.
    Each of `width` chains is of 1 to `depth` operators, as many as often, drawn alike and with replacement; an operator
    draws anew at every place.

    Args:
        width: number of chains, up to 10.
        depth: most operators in a chain, up to 10.
        alpha: of both laws, from 0.1 to 100. The smaller, the more often one chain, or the image, is nearly alone.

    Raises:
        InputError: no operator, what cannot be called, or a setting out of its range.
    """

    ops: tuple[Operator, ...] = field(metadata={"star": True})
    width: int = 3
    depth: int = 3
    alpha: float = 1.0

    def __init__(self, *ops: Operator, width: int = 3, depth: int = 3, alpha: float = 1.0) -> None:
        for op in ops:
            check_operator(op)
        for name, value in (("ops", ops), ("width", width), ("depth", depth), ("alpha", alpha)):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        if not self.ops:
            raise InputError("MixedChains needs at least one operator")
        for name in ("width", "depth"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise InputError(f"{name} of MixedChains must be from 1 to {_MOST}, got {getattr(self, name)}")
        if not _ALPHAS[0] <= self.alpha <= _ALPHAS[1]:
            raise InputError(f"alpha of MixedChains must be from {_ALPHAS[0]:g} to {_ALPHAS[1]:g}, got {self.alpha}")

    @torch.no_grad()
    def __call__(self, images: Images, keys: Keys) -> Images:
        weights = mixing_weights(random.fold(keys, 0), self.width, self.alpha)
        which = random.uniforms(random.fold(keys, 1), (self.width, self.depth)).double().transpose(0, 1)
        lengths = random.uniforms(random.fold(keys, 2), (self.width,)).double()
        links, own = links_of(which, lengths, len(self.ops), (1, self.depth)), random.fold(keys, 3)
        drawn_with = torch.stack([keys_at(own, place, self.width) for place in range(self.depth)])
        drawn_with = drawn_with.unflatten(1, (self.width, -1))  # [depth, width, batch]
        out = torch.empty_like(images)
        for part in pieces(images):
            of_part = drawn_with[:, :, part].flatten(1)

            def apply(
                link: int,
                some: Tensor,
                rows: Int64[Tensor, "some"],
                place: int,
                keys: Int64[Tensor, "depth chains"] = of_part,
            ) -> Tensor:
                return self.ops[link](some, keys[place, rows])

            chains = chained(images[part], links[:, part], len(self.ops), apply)
            weigh(images[part], chains, weights[part], out[part])
        return out


def mixing_weights(keys: Keys, width: int, alpha: float = 1.0) -> Weights:
    """(1 - m, m w_1, ..., m w_width) with m ~ Beta(alpha, alpha) and w ~ Dirichlet(alpha, ..., alpha).

    Independent Gamma(alpha) numbers over their sum follow Dirichlet. Both laws are drawn by their quantiles, which at
    alpha = 1 are those of the uniform and of the exponential law.
    """
    uniform = random.uniforms(keys, (width + 1,)).double()
    if alpha == 1:
        m, gamma = uniform[:, :1], -uniform[:, 1:].log()
    else:
        from scipy.special import betaincinv, gammainccinv

        m = torch.from_numpy(betaincinv(alpha, alpha, uniform[:, :1].numpy()))
        gamma = torch.from_numpy(gammainccinv(alpha, uniform[:, 1:].numpy()))
    return torch.cat((1 - m, m * gamma / gamma.sum(1, keepdim=True)), dim=1)


def links_of(
    which: Float64[Tensor, "width batch deepest"],
    lengths: Float64[Tensor, "batch width"],
    count: int,
    depth: tuple[int, int],
) -> Links:
    """Links drawn alike from `count` for chains of depth[0] to depth[1] of them, as many as often.

    Args:
        which, lengths: numbers uniform on (0, 1).
    """
    whole = (lengths * (depth[1] - depth[0] + 1)).long() + depth[0]
    ended = torch.arange(depth[1]) >= whole.T[:, :, None]
    return (which * count).long().masked_fill_(ended, count)


def keys_at(keys: Keys, place: int, width: int) -> Int64[Tensor, "chains"]:
    """Those with which the links at this place of all chains draw, chain by chain."""
    return torch.cat([random.fold(keys, place, chain) for chain in range(width)])


def chained(start: Tensor, links: Links, count: int, apply: Apply) -> tuple[Tensor, ...]:
    """What each chain makes of every image, of the type that `start` has.

    Args:
        count: of the links.
        apply: ``apply(link, images, rows, place)``: the images after that link; `rows` are their places among those of
            the first chain, then of the second, and so on.
    """
    width, images, deepest = links.shape
    store = start.new_empty(int((links < count).sum()), *start.shape[1:])  # what every link gave
    source, lies = start, torch.arange(images).repeat(width)  # where each chain's last images are
    begin = 0
    for place in range(deepest):
        drawn = links[..., place].flatten()
        *sizes, ended = drawn.bincount(minlength=count + 1).tolist()
        order = drawn.argsort(stable=True)[: len(drawn) - ended]
        found = list(source.index_select(0, lies[order].to(start.device)).split(sizes))
        for link, rows in enumerate(order.split(sizes)):
            if len(rows):
                found[link] = apply(link, found[link], rows, place)
        torch.cat(found, out=store[begin : begin + len(order)])
        source, lies[order] = store, torch.arange(begin, begin + len(order))
        begin += len(order)
    return store.index_select(0, lies.to(start.device)).split(images)


def weigh(images: Images, chains: Sequence[Tensor], weights: Weights, out: Images, whole: int = 1) -> None:
    """The weighted sum of the image and its chains, into `out`.

    Args:
        whole: what 1 is for the chains: 255 of levels.
    """
    own, *others = (column.view(-1, 1, 1, 1).to(images) for column in weights.unbind(1))
    torch.mul(images, own, out=out)
    for chain, weight in zip(chains, others, strict=True):
        out.addcmul_(chain.to(images.dtype), weight / whole)


def pieces(images: Float[Tensor, "..."], bytes_each: int = 4) -> Iterator[slice]:
    """The batch in parts that a CPU's caches bear; on another device whole.

    Args:
        bytes_each: of a value that is worked on.
    """
    each = bytes_each * max(1, images.shape[1:].numel())
    at_once = max(1, CHUNK // each if images.device.type == "cpu" else len(images))
    return (slice(start, start + at_once) for start in range(0, len(images), at_once))
