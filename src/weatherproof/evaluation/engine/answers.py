"""What is kept of a classifier's answers: nine bytes for an image under a condition, one file for a block of images."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from weatherproof.evaluation.engine.block_files import read_block, write_block
from weatherproof.evaluation.metrics.ranking import hits
from weatherproof.types import Labels, Logits

_PARTS = ("place", "hits", "confidence")


@dataclass(frozen=True)
class Answers:
    """The answers to some images under one condition.

    Attributes:
        place: which image of the case each row is about.
        top1, top5: whether the label was the first guess, and among the first five.
        confidence: the softmax probability of the first guess.
    """

    place: Int64[Tensor, "n"]
    top1: Bool[Tensor, "n"]
    top5: Bool[Tensor, "n"]
    confidence: Float32[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.place)


def judge(logits: Logits, labels: Labels, place: Int64[Tensor, "batch"]) -> Answers:
    """What the logits say of their images; the results are on the CPU."""
    logits = logits.float()
    confidence = (logits.max(dim=1).values - logits.logsumexp(dim=1)).exp().clamp(max=1)  # 1 + 1e-7 by rounding
    told = torch.stack([confidence, hits(logits, labels, 1).float(), hits(logits, labels, 5).float()]).cpu()
    return Answers(place, told[1].bool(), told[2].bool(), told[0].clone())


def joined(parts: Iterable[Answers]) -> Answers | None:
    """The answers of several blocks, by place; None where there is none."""
    parts = list(parts)
    if not parts:
        return None
    place, top1, top5, confidence = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("place", "top1", "top5", "confidence")
    )
    order = place.argsort()
    return Answers(place[order], top1[order], top5[order], confidence[order])


class BlockFile:
    """The answers to one block of images, by the labels of the cases, in a safetensors file.

    Args:
        path: the file; what it holds already is read.
        plan: what the answers depend on; a file with another plan is refused.

    Raises:
        InputError: the file is of another plan, or cannot be read.
    """

    def __init__(self, path: Path, plan: str) -> None:
        self.path, self.plan = path, plan
        self.answers: dict[str, Answers] = _read(path, plan)

    def save(self) -> None:
        """Replace the file, whole or not at all."""
        blocks = {}
        for label, found in self.answers.items():
            both = found.top1.to(torch.uint8) + 2 * found.top5.to(torch.uint8)
            values = (found.place.to(torch.int32), both, found.confidence)
            blocks[label] = dict(zip(_PARTS, values, strict=True))
        write_block(self.path, self.plan, blocks)


def _read(path: Path, plan: str) -> dict[str, Answers]:
    answers = {}
    for label, parts in read_block(path, plan).items():
        place, both, confidence = (parts[part] for part in _PARTS)
        answers[label] = Answers(place.long(), (both & 1).bool(), (both & 2).bool(), confidence)
    return answers
