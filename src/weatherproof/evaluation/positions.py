"""Encoders under damage, position by position: does a place of the damaged image find itself in the clean one?"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.data import evenly_spaced
from weatherproof.encoders import MapPlace
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.trials import Columns, column
from weatherproof.evaluation.record import Record, make_record
from weatherproof.types import Maps

METRIC, MAP = "position_recall", "map"  # what is kept of an image
MEMORY = 64 << 20  # bytes of maps that are kept of one encoder: 4,096 images of 64x8x8, 167 of 2048x7x7
_SLACK = 1e-6  # of a float32 cosine: a position must not lose to itself, or to its exact copy, by rounding


def position_recall(maps: Maps, clean: Maps) -> Float[Tensor, "batch"]:
    """The share of an image's positions p whose nearest among all positions q of the clean map is p itself:
    cos(m_p, c_p) >= cos(m_p, c_q) for all q.

    Args:
        maps: of the images, damaged or not.
        clean: the teacher's, of the clean images.
    """
    queries, index = (normalize(own.float().flatten(2).mT, dim=2) for own in (maps, clean))
    cosines = queries @ index.mT
    own = cosines.diagonal(dim1=1, dim2=2)[..., None]
    return (cosines <= own + _SLACK).all(dim=2).float().mean(dim=1)


def places_to_keep(count: int, place: MapPlace) -> Int64[Tensor, "m"]:
    """Which of so many images keep their maps, evenly spaced: as many as `MEMORY` holds, at least one."""
    channels, rows, columns = place.shape
    return evenly_spaced(count, max(1, MEMORY // (4 * channels * rows * columns)))


@dataclass(frozen=True, eq=False)
class Positions:
    """Compares the maps of some images with the teacher's of the clean ones.

    Attributes:
        clean: the teacher's maps.
        places: which of the images these are of, ascending.
    """

    clean: Maps
    places: Int64[Tensor, "n"]

    @property
    def digest(self) -> str:
        """Equal where the maps are."""
        return hashlib.sha256(self.clean.cpu().numpy().tobytes()).hexdigest()

    def keep(self, maps: Maps, place: Int64[Tensor, "batch"]) -> Columns:
        """The shares of those images whose clean maps are known; of others NaN."""
        here = torch.isin(place, self.places)
        shares = torch.full((len(place),), torch.nan, device=maps.device)
        if bool(here.any()):
            clean = self.clean[torch.searchsorted(self.places, place[here])].to(maps.device)
            shares[here.to(maps.device)] = position_recall(maps[here.to(maps.device)], clean)
        return {METRIC: shares}

    def of_clean(self, answers: Answers, encoders: Iterable[str], batch_size: int) -> Answers:
        """The same of maps that were kept: of the clean images, for each of these encoders."""
        columns = {}
        for name in encoders:
            parts = zip(answers.of(name)[MAP].split(batch_size), self.clean.split(batch_size), strict=True)
            columns[column(name, METRIC)] = torch.cat([position_recall(maps, clean) for maps, clean in parts])
        return Answers(answers.place, columns)


def position_record(name: str, draws: Sequence[Answers], seed: int, facts: Mapping[str, Any], **about: Any) -> Record:
    """The record of one encoder under one damage.

    Args:
        draws: what `Positions` has kept of each draw, of images whose maps were compared.
        facts: from `protocol_facts`.
        about: more keys of the record; a mapping holds one for each model.
    """
    values = [own[METRIC].double().mean().item() for own in draws]
    return make_record(METRIC, values, min(map(len, draws)), name, seed, facts, **about)
