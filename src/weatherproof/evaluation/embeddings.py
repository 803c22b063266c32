"""Encoders under damage, without labels: does the embedding stay where the clean image's is?"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation.engine.trials import EVAL_STREAM
from weatherproof.evaluation.evaluate import Text, measuring
from weatherproof.evaluation.record import Record, make_record, protocol_facts
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import embed, evaluating, require_embeddings
from weatherproof.types import Embeddings, Images

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
    metrics: Sequence[str] = ("cosine", "recall@1", "recall@5"),
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
    embedding an image; it is the only thing that grows with the data.

    Raises:
        InputError: nothing to measure, an unknown metric, or embeddings that are not finite or of another size than the
            teacher's.
    """
    if not encoders or not metrics or realizations < 1:
        raise InputError(
            f"expected encoders, metrics and realizations >= 1; got {len(encoders)} encoders, metrics {list(metrics)}, "
            f"realizations={realizations}"
        )
    ranks = {metric: _rank_of(metric) for metric in metrics}
    index, _ = embed(teacher, images, device=device, batch_size=batch_size, workers=workers)
    require_embeddings(getattr(teacher, "name", "teacher"), index)
    index = normalize(index, dim=1).to(device)
    fixed = operator is None or bool(getattr(operator, "deterministic", False))
    runs = 1 if fixed else realizations
    totals = {(name, metric): torch.zeros(runs, dtype=torch.float64) for name in encoders for metric in metrics}
    for encoder in encoders.values():
        if isinstance(encoder, nn.Module):
            encoder.to(device)
    done = 0
    total = len(images) * runs * len(encoders)
    with evaluating(*encoders.values()), phase(measuring(encoders, operator), total, "embeddings") as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            own = index[done : done + len(batch.index)]
            done += len(batch.index)
            for run in range(runs):
                keys = random.fold(random.keys(seed, batch.index), EVAL_STREAM, run)
                damaged = batch.images if operator is None else operator(batch.images, keys)
                for name, encoder in encoders.items():
                    raw = encoder(damaged).float()
                    require_embeddings(name, raw)
                    queries = normalize(raw, dim=1)
                    if queries.shape != own.shape:
                        raise InputError(
                            f"{name!r} gives embeddings of {queries.shape[1]} numbers, the teacher of {own.shape[1]}: "
                            f"they can only be compared where these are equal"
                        )
                    similarity = (queries * own).sum(dim=1)
                    ahead = _how_many_ahead(queries, index, similarity) if any(ranks.values()) else similarity
                    for metric, k in ranks.items():
                        values = similarity if k is None else ahead < k
                        totals[name, metric][run] += values.double().sum().cpu()
                    meter.advance(len(batch.index))

    target = getattr(teacher, "name", None)
    facts = protocol_facts(images, operator, () if fixed else (seed,), data, teacher=target)
    return [
        make_record(metric, (total / done).tolist(), done, name, seed, facts, trained_on=trained_on)
        for (name, metric), total in totals.items()
    ]


def _rank_of(metric: str) -> int | None:
    """k of "recall@k"; None for "cosine"."""
    found = re.fullmatch(r"recall@([1-9]\d*)", metric)
    if found is None and metric != "cosine":
        raise unknown("embedding metric", metric, ("cosine", "recall@1", "recall@5"))
    return int(found[1]) if found else None


def _how_many_ahead(
    queries: Float[Tensor, "batch features"], index: Float[Tensor, "n features"], own: Float[Tensor, "batch"]
) -> Tensor:
    """How many members of the index are nearer to each query than its own original is.

    Not "at most as near" rather than "nearer": where an embedding is not a number, everything counts as ahead.
    """
    limit = own[:, None] + _SLACK
    return sum(((~(queries @ rows.T <= limit)).sum(dim=1) for rows in index.split(_CHUNK)), torch.zeros_like(own))
