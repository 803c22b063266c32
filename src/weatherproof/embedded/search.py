"""The nearest images of a file of embeddings, by cosine: exactly, block by block, or with FAISS."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof import spec
from weatherproof.errors import InputError, unknown
from weatherproof.progress import phase
from weatherproof.readouts.neighbours import nearer, nothing_yet
from weatherproof.spec import component

LARGE = 1_000_000  # images of an index, beyond which "auto" takes FAISS
MOST_NEIGHBOURS = 1000
_QUERIES, _ROWS = 16_384, 1024  # queries for which the index is read once, and those of a block of similarities
BLOCK = 16_384  # rows of an index that are held at a time
_SMALL = 10_000  # images, up to which FAISS looks at all of them
_FEWEST = 64  # images in each of its lists, on average
_SAMPLE = 256  # images for each of its lists that FAISS learns them from, as many as it uses

Blocks = Callable[[int], Iterator[Tensor] | tuple[Tensor, ...]]  # rows at a time -> queries


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest images of each query, the nearest first; of those that are equally near, the first of the file.

    Attributes:
        cosine: NaN where there is no neighbour: of an embedding of length 0, which has no direction.
        row: of the file; -1 where there is none.
        exact: whether all images were compared.
    """

    cosine: Float[Tensor, "m k"]
    row: Int64[Tensor, "m k"]
    exact: bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def lonely(self) -> int:
        """Queries without a neighbour."""
        return int((self.row[:, :1] < 0).sum())


class Bank(Protocol):
    """What is searched: embeddings, in blocks."""

    path: Path

    @property
    def features(self) -> int: ...

    def __len__(self) -> int: ...

    def blocks(self, rows: int = BLOCK) -> Iterator[Float[Tensor, "n features"]]: ...


class Search(Protocol):
    """How an index is searched."""

    def prepared(self, index: Bank, device: torch.device) -> "Searcher":
        """What finds the nearest, once all is read that has to be."""


class Searcher(Protocol):
    """Finds the k nearest rows of an index."""

    exact: bool

    def __call__(self, queries: Float[Tensor, "m features"], k: int) -> tuple[Tensor, Tensor]:
        """(cosine, row) of queries of unit length; -inf where there is none."""


@component
class Exact:
    """Every query is compared with every image, block by block: memory is that of a block."""

    def prepared(self, index: Bank, device: torch.device) -> "Searcher":
        """See `Search`."""
        return _Exact(index, device)


@component
class Faiss:
    """FAISS (Johnson, Douze and Jegou 2019), on the CPU. The whole index is built in memory, anew for each search.

    Args:
        factory: FAISS's text of the index: "Flat" compares all images, "IVF1024,Flat" those of the lists that are
            nearest to the query, "IVF1024,SQfp16" the same in half the memory. "auto": Flat up to 10,000 images, then
            IVF with up to 4 sqrt(n) lists.
        probes: lists that a query looks into.
    """

    factory: str = "auto"
    probes: int = 32

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise InputError(f"Faiss looks into at least 1 list, got probes={self.probes}")

    def prepared(self, index: Bank, device: torch.device) -> "Searcher":
        """See `Search`."""
        return _Faiss(index, self._text(len(index)), self.probes)

    def _text(self, images: int) -> str:
        if self.factory != "auto":
            return self.factory
        lists = round(min(4 * images**0.5, images / _FEWEST))
        return "Flat" if images <= _SMALL else f"IVF{lists},Flat"


SEARCHES: Mapping[str, Callable[..., Search]] = {"exact": Exact, "faiss": Faiss, "Exact": Exact, "Faiss": Faiss}


def search_of(text: str | Search, images: int) -> Search:
    """What a text names; "auto": what suits an index of so many images. Raises `InputError` for an unknown one, or
    where FAISS is wanted and not installed."""
    if text == "auto":
        text = "exact" if images <= LARGE else "faiss"
        if text == "faiss":
            faiss(f"an index of more than {LARGE:,} images is searched with FAISS, or exactly with --search exact: ")
    if isinstance(text, str) and text.partition("(")[0].strip() not in SEARCHES:
        raise unknown("search", text, ("auto", *SEARCHES))
    found: Search = spec.parse(text, SEARCHES, "search") if isinstance(text, str) else text
    if isinstance(found, Faiss):
        faiss()
    return found


def searched(
    index: Bank, queries: Blocks, k: int, search: Search, device: torch.device | str = "cpu",
    total: int | None = None,
) -> Neighbours:  # fmt: skip
    """The k nearest images of the index to each query. Memory grows with k numbers a query.

    Args:
        queries: gives the embeddings, so many rows at a time, as often as it is called.
        total: how many queries, for whoever waits.
    """
    if not 1 <= k <= MOST_NEIGHBOURS:
        raise InputError(f"neighbours must be at least 1 and at most {MOST_NEIGHBOURS:,}, got {k}")
    if not len(index):
        raise InputError(f"{index.path} holds no embeddings: there is nothing to search")
    k, where = min(k, len(index)), torch.device(device)
    cosines, rows = [torch.zeros(0, k)], [torch.zeros(0, k, dtype=torch.int64)]
    with torch.inference_mode(), phase(f"searching {index.path.name}", total, "queries") as meter:
        find = search.prepared(index, where)
        for some in queries(_QUERIES):
            cosine, row = find(_directed(some.to(where)), k)
            none = ~cosine.isfinite()
            cosines.append(cosine.masked_fill(none, torch.nan).cpu())
            rows.append(row.masked_fill(none, -1).cpu())
            meter.advance(len(some))
    with torch.inference_mode(False):
        return Neighbours(torch.cat(cosines).clone(), torch.cat(rows).clone(), find.exact)


def _directed(rows: Tensor) -> Tensor:
    """Of unit length, as float32; NaN where there is no direction, so that nothing is near."""
    rows = rows.float()
    return torch.where((rows == 0).all(dim=1, keepdim=True), torch.nan, normalize(rows, dim=1))


@dataclass
class _Exact:
    index: Bank
    device: torch.device
    exact: bool = True

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        parts = queries.split(_ROWS)
        found, start = [nothing_yet(part) for part in parts], 0
        for block in self.index.blocks():
            rows = _directed(block.to(self.device))
            found = [nearer(own, part, rows, start, k) for own, part in zip(found, parts, strict=True)]
            start += len(block)
        return torch.cat([cosine for cosine, _ in found]), torch.cat([row for _, row in found])


class _Faiss:
    def __init__(self, index: Bank, factory: str, probes: int) -> None:
        package, self.exact = faiss(), factory == "Flat"
        blocks, start = [], 0
        try:
            self._index = package.index_factory(index.features, factory, package.METRIC_INNER_PRODUCT)
            lists = package.try_extract_index_ivf(self._index)
            if lists is not None:
                lists.nprobe = probes
            if not self._index.is_trained:
                self._index.train(_sample(index, _SAMPLE * (lists.nlist if lists is not None else _SMALL)))
            for block in index.blocks():
                rows = _directed(block)
                good = rows.isfinite().all(dim=1)
                self._index.add(rows[good].numpy())
                blocks.append(good.nonzero().flatten() + start)
                start += len(block)
        except RuntimeError as error:
            raise InputError(f"FAISS refuses the index {factory!r}: {' '.join(str(error).split())[-300:]}") from None
        self._row = torch.cat(blocks)

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        lost = ~queries.isfinite().all(dim=1)
        rows_asked = queries.masked_fill(lost[:, None], 0).cpu().numpy()
        cosine, place = map(torch.from_numpy, self._index.search(rows_asked, k))
        none = (place < 0) | lost.cpu()[:, None]
        row = self._row[place.clamp(min=0)] if len(self._row) else place
        return cosine.masked_fill(none, -torch.inf), row


def _sample(index: Bank, most: int) -> Any:
    """At most so many of the rows, evenly spaced."""
    step, start, chosen = max(1, -(-len(index) // most)), 0, []
    for block in index.blocks():
        rows = _directed(block[(-start) % step :: step])
        chosen.append(rows[rows.isfinite().all(dim=1)])
        start += len(block)
    return torch.cat(chosen).numpy()


def faiss(why: str = "") -> Any:
    """The package. Raises `InputError` where it is not installed."""
    try:
        import faiss as package
    except ModuleNotFoundError:
        raise InputError(f"{why}faiss-cpu is not installed: pip install 'weatherproof[faiss]'") from None
    return package
