"""Encoders under damage, without labels: does the embedding stay where the clean image's is?"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.data import ImageSet
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation.damaged import Draw, ask, draws_nothing, draws_of
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.engine.trials import Columns, Look
from weatherproof.evaluation.evaluate import Text, measuring
from weatherproof.evaluation.record import Record, make_record, protocol_facts
from weatherproof.protocols import Operator
from weatherproof.readouts import require_embeddings
from weatherproof.types import Embeddings, Images, Keys

METRICS = ("cosine", "recall@1", "recall@5")
_CHUNK = 1 << 16  # index rows at once: 64 MB of similarities for 256 queries
_SLACK = 1e-6  # of a float32 cosine: an image must not lose to itself, or to its exact copy, by rounding


def evaluate_embeddings(
    encoders: Mapping[str, Callable[[Images], Embeddings]],
    teacher: Callable[[Images], Embeddings],
    images: ImageSet,
    *,
    operator: Operator | None = None,
    realizations: int = 10,
    seed: int = 0,
    metrics: Sequence[str] = METRICS,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    data: str | None = None,
    trained_on: Text = None,
) -> list[Record]:
    """Compare embeddings of damaged images with the teacher's of the clean ones.

        cosine    mean over images of <E(A(x)), T(x)>, both of unit length
        recall@k  share of images x for which fewer than k other images y have <E(A(x)), T(y)> > <E(A(x)), T(x)>:
                  the damaged image, as a query, finds its original in an index of clean ones

    All encoders see the same damaged images, those of `evaluate` with the same seed. The index takes one teacher
    embedding an image; it is the only thing that grows much with the data.

    Raises:
        InputError: nothing to measure, an unknown metric, or embeddings that are not finite or of another size than the
            teacher's.
    """
    if not encoders or not metrics or len(images) == 0 or realizations < 1:
        raise InputError(
            f"expected encoders, metrics, images and realizations >= 1; got {len(encoders)} encoders, metrics "
            f"{list(metrics)}, {len(images)} images, realizations={realizations}"
        )
    ranked = bool([rank for rank in map(_rank_of, metrics) if rank])
    settings = Settings(seed=seed, device=device, batch_size=batch_size, workers=workers)
    target = getattr(teacher, "name", None)
    clean = embedded(teacher, images, settings, target or "teacher")
    compared = Compared.with_index(clean, ranked=ranked, device=device)
    answers = ask(encoders, images, draws_of(operator, realizations), compared, settings, measuring(encoders, operator))
    facts = protocol_facts(images, operator, () if draws_nothing(operator) else (seed,), data, teacher=target)
    return [
        record
        for name in encoders
        for record in compared_records(
            name, metrics, [own.of(name) for own in answers], batch_size, seed, facts, trained_on=trained_on
        )
    ]


def embedded(
    encoder: Callable[[Images], Embeddings], images: ImageSet, settings: Settings, name: str, folder: str = "answers"
) -> Answers:
    """The encoder's "embedding" of every image that can be read.

    Args:
        name: of the encoder, in a message.
        folder: what this is called in the settings' folder.

    Raises:
        InputError: no image could be read, or embeddings that are not finite.
    """
    (match,) = ask({name: encoder}, images, [Draw()], _embedding, settings, f"embedding {images.name}", folder)
    return match.of(name)


def _embedding(name: str, model: Callable[..., Embeddings], images: Images, keys: Keys, look: Look) -> Columns:
    embeddings = model(images).float()
    require_embeddings(name, embeddings)
    return {"embedding": embeddings}


@dataclass(frozen=True, eq=False)
class Compared:
    """Keeps how near an image's embedding is to the teacher's of the clean image, and how many others are nearer.

    Attributes:
        index: of unit length, of the clean images that could be read.
        place: which of the images these are, ascending.
        ranked: whether a metric asks how many are nearer.
    """

    index: Float[Tensor, "n features"]
    place: Int64[Tensor, "n"]
    ranked: bool

    @classmethod
    def with_index(cls, clean: Answers, *, ranked: bool = True, device: str | torch.device = "cpu") -> "Compared":
        """From what the teacher's `embedded` gives of the clean images."""
        return cls(normalize(clean["embedding"], dim=1).to(device), clean.place, ranked)

    @property
    def digest(self) -> str:
        """Equal where the index is."""
        return hashlib.sha256(self.index.cpu().numpy().tobytes()).hexdigest()

    def __call__(self, name: str, model: Callable[..., Embeddings], images: Images, keys: Keys, look: Look) -> Columns:
        return self.keep(name, model(images), look.place)

    def keep(self, name: str, embeddings: Embeddings, place: Int64[Tensor, "batch"]) -> Columns:
        """Raises `InputError` for embeddings that are not finite, or of another size than the index."""
        require_embeddings(name, embeddings := embeddings.float())
        queries = normalize(embeddings, dim=1)
        index = self.index.to(queries.device)
        if queries.shape[1] != index.shape[1]:
            raise InputError(
                f"{name!r} gives embeddings of {queries.shape[1]} numbers, the teacher of {index.shape[1]}: "
                f"they can only be compared where these are equal"
            )
        cosine = (queries * index[torch.searchsorted(self.place, place.contiguous())]).sum(dim=1)
        return {"cosine": cosine} | ({"nearer": _how_many_nearer(queries, index, cosine)} if self.ranked else {})

    def of_clean(self, name: str, clean: Answers, batch_size: int) -> Answers:
        """The same of embeddings that were kept: of the clean images, in batches of this size."""
        parts = [
            self.keep(name, rows.to(self.index.device), place)
            for rows, place in zip(clean["embedding"].split(batch_size), clean.place.split(batch_size), strict=True)
        ]
        return Answers(clean.place, {key: torch.cat([part[key] for part in parts]).cpu() for key in parts[0]})


def compared_records(
    name: str, metrics: Sequence[str], draws: Sequence[Answers], batch_size: int, seed: int, facts: Mapping[str, Any],
    **about: Any,
) -> list[Record]:  # fmt: skip
    """The records of one encoder under one damage.

    Args:
        draws: what `Compared` has kept of each draw.
        batch_size: of the partial sums.
        facts: from `protocol_facts`.
        about: more keys of the records; a mapping holds one for each model.
    """

    def value(metric: str, own: Answers) -> float:
        k = _rank_of(metric)
        values = own["cosine"] if k is None else own["nearer"] < k
        return sum(part.double().sum().item() for part in values.split(batch_size)) / len(own)

    images = min(map(len, draws))
    return [
        make_record(metric, [value(metric, own) for own in draws], images, name, seed, facts, **about)
        for metric in metrics
    ]


def _rank_of(metric: str) -> int | None:
    """k of "recall@k"; None for "cosine"."""
    match = re.fullmatch(r"recall@([1-9]\d*)", metric)
    if match is None and metric != "cosine":
        raise unknown("embedding metric", metric, METRICS)
    return int(match[1]) if match else None


def _how_many_nearer(
    queries: Float[Tensor, "batch features"], index: Float[Tensor, "n features"], own: Float[Tensor, "batch"]
) -> Tensor:
    """How many members of the index are nearer to each query than its own original is.

    Not "at most as near" rather than "nearer": where an embedding is not a number, everything counts as nearer.
    """
    limit = own[:, None] + _SLACK
    return sum(((~(queries @ rows.T <= limit)).sum(dim=1) for rows in index.split(_CHUNK)), torch.zeros_like(own))
