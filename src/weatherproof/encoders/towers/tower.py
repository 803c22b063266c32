"""A text tower, whoever wrote it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from weatherproof.errors import InputError, shown
from weatherproof.progress import phase
from weatherproof.types import Embeddings

Tokens = Tensor | dict[str, Tensor]  # of a batch of texts, one a row


@dataclass(frozen=True)
class TowerSource:
    """Where a text tower comes from.

    Attributes:
        text: of the encoder: "open_clip:ViT-B-32/openai@clip.safetensors".
        digest: SHA-256 of the file, or the commit, that holds its weights.
    """

    text: str
    digest: str


@dataclass(frozen=True, eq=False)
class TextTower:
    """Texts to embeddings among those of the images.

    Attributes:
        network: tokens -> embeddings [batch, feature_dim].
        tokenize: texts -> tokens.
        count: how many tokens a text has, whole.
        longest: so many tokens the network reads.
        scale, bias: of the logits: scale * cosine + bias, as the image encoder was trained.
        source: None: of no file.
    """

    name: str
    network: nn.Module
    tokenize: Callable[[Sequence[str]], Tokens]
    count: Callable[[str], int]
    longest: int
    feature_dim: int
    scale: float
    bias: float = 0.0
    source: TowerSource | None = None

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], *, device: str | torch.device = "cpu", batch_size: int = 256) -> Embeddings:
        """Embeddings [texts, feature_dim] of unit length, on the CPU.

        Raises:
            InputError: no text, one that is longer than what the tower reads, or embeddings that are not finite.
        """
        if not texts:
            raise InputError("no text to embed: expected at least one")
        for text in texts:
            if (count := self.count(text)) > self.longest:
                raise InputError(
                    f"{shown(text)} has {count:,} tokens, and {self.name} reads {self.longest}: say it in fewer words"
                )
        network, rows = self.network.to(device).eval(), []
        with phase("reading words", len(texts), "texts") as meter:
            for start in range(0, len(texts), batch_size):
                own = list(texts[start : start + batch_size])
                tokens = self.tokenize(own)
                moved = {k: v.to(device) for k, v in tokens.items()} if isinstance(tokens, dict) else tokens.to(device)
                rows.append(normalize(network(moved).float(), dim=1).cpu())
                meter.advance(len(own))
        found = torch.cat(rows)
        if not bool(found.isfinite().all()):
            raise InputError(f"{self.name} gives embeddings that are not finite numbers: are its weights whole?")
        return found.clone()


def scale_of(logarithm: Tensor, name: str) -> float:
    """The factor of cosines whose logarithm a model holds. Raises `InputError` for one that is no finite number."""
    value = float(logarithm.float().flatten()[0].exp())
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: its logit scale is {value}, expected a finite number above 0")
    return value
