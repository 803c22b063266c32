"""Contrastive inversion: a student learns to give, for a damaged image, what its teacher gives for the clean one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders import MapPlace, embedded_with_map, map_place
from weatherproof.errors import InputError
from weatherproof.methods.by_index import ByIndex
from weatherproof.methods.clean import KeepClean, Multiplier
from weatherproof.methods.curriculum import Curriculum
from weatherproof.methods.parts import AUGMENT, OPERATOR, batch_statistics, check_pair, look, trainable
from weatherproof.modes import eval_mode
from weatherproof.objectives import Dense
from weatherproof.operators import Sometimes
from weatherproof.progress import phase
from weatherproof.protocols import Encoder, Gather, Objective, Operator
from weatherproof.sizes import Size
from weatherproof.types import Embeddings, Images, Keys, Labels, Maps


class Hardening(nn.Module):
    """objective(S(A(x)), R(x)), where crop and flip come first and the same crop x feeds both (paper, section 3).

    Args:
        student: S, trained; its own classifier, if it has one, stays as it is. Weights that it does not train, under
            an adapter, it may share with the teacher.
        teacher: R, frozen, in evaluation mode whatever mode the method is in.
        operator: A, the known damage.
        objective: a component of `weatherproof.objectives`.
        augment: crop and flip, or None for the image as it is.
        teacher_embeddings: R of the clean images by image index (`teacher_cache`, or a tensor), where nothing is
            augmented.
        teacher_bn: "batch" gives the teacher's batch normalisation the statistics of its batch, as in the authors'
            runs (an accident of their framework); its running statistics do not drift. Not with a cache.
        keep: what of the images stays clean, and what is promised for them; None: the paper's training, which sees
            damaged images alone.
        dense: adds its mean over the images of the last maps, the student's of A(x) and the teacher's of x, from the
            same passes; None: embeddings alone.
        side: of the images, or their (rows, columns), where the encoders take any.
        curriculum: how the damage grows over so many `steps`; None: it is the operator's own from the beginning.

    Raises:
        InputError: parts that cannot go together.
    """

    def __init__(
        self,
        student: Encoder,
        teacher: Encoder,
        operator: Operator,
        objective: Objective,
        augment: Operator | None = None,
        teacher_embeddings: ByIndex | Tensor | None = None,
        teacher_bn: Literal["eval", "batch"] = "eval",
        keep: KeepClean | None = None,
        dense: Dense | None = None,
        side: Size | None = None,
        curriculum: Curriculum | None = None,
        steps: int = 1,
    ) -> None:
        super().__init__()
        assert isinstance(student, nn.Module) and isinstance(teacher, nn.Module)
        trainable(student)
        _check(student, teacher, augment, teacher_embeddings, teacher_bn, dense)
        self.student, self.teacher = student, teacher
        self.operator, self.objective, self.augment = operator, objective, augment
        self.teacher_embeddings, self.teacher_bn, self.keep = teacher_embeddings, teacher_bn, keep
        self.curriculum, self.steps, self.seen = curriculum, steps, self._damage(operator)
        self.multiplier = Multiplier(1 - keep.cosine) if keep is not None and keep.cosine else None
        self.dense = dense
        self.places = None if dense is None else _places(student, teacher, side)
        teacher.requires_grad_(False)
        self.train()

    def at_step(self, step: int) -> None:
        """So many steps are done: the next one sees the damage of that time."""
        if self.curriculum is not None:
            self.seen = self._damage(self.curriculum.operator(self.operator, step / self.steps))

    def _damage(self, operator: Operator) -> Operator:
        """The damage of those images that do not stay clean."""
        return operator if self.keep is None or not self.keep.share else Sometimes(operator, 1 - self.keep.share)

    def train(self, mode: bool = True) -> "Hardening":
        """Train mode for the student; the teacher stays in evaluation mode."""
        super().train(mode)
        assert isinstance(self.teacher, nn.Module)
        self.teacher.eval()
        return self

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        clean = look(self.augment, images, keys, AUGMENT)
        seen = look(self.seen, clean, keys, OPERATOR)
        target, target_map = self._target(clean, index)
        teacher = gather(target)
        embedded, own_map = _embedded(self.student, seen, self.places and self.places[0])
        student = gather(embedded)
        with torch.no_grad():
            cosine = F.cosine_similarity(student.float(), teacher.float()).mean()
        terms = {"loss": self.objective(student, teacher), "cosine": cosine}
        if self.dense is not None and own_map is not None and target_map is not None:
            apart = gather(self.dense(own_map, target_map)).mean()
            terms = {"loss": terms["loss"] + apart, "cosine": cosine, "dense": apart.detach()}
        if self.multiplier is None:
            return terms
        return self._anchored(terms, student, teacher, gather(self._is_clean(keys).to(student.device)))

    def _anchored(
        self, terms: dict[str, Tensor], student: Embeddings, teacher: Embeddings, clean: Float[Tensor, "batch"]
    ) -> dict[str, Tensor]:
        """The terms, with the anchor on those images that are clean (1, else 0)."""
        assert self.keep is not None and self.multiplier is not None
        rows, weight = clean > 0, self.multiplier.value.clone()
        anchor_terms = {"clean_cosine": torch.full_like(weight, torch.nan), "multiplier": weight}
        if rows.any():
            anchor, apart = self.keep.anchor(student[rows], teacher[rows])
            terms["loss"] = terms["loss"] + weight * anchor
            anchor_terms["clean_cosine"] = 1 - apart.detach()
            if self.training:
                self.multiplier.follow(apart)
        return terms | anchor_terms

    def _is_clean(self, keys: Keys) -> Float[Tensor, "batch"]:
        """1 for images that the operator is not applied to."""
        assert isinstance(self.seen, Sometimes)
        return (~self.seen.chosen(random.fold(keys, OPERATOR))).float()

    @torch.no_grad()
    def _target(self, clean: Images, index: Labels) -> tuple[Embeddings, Maps | None]:
        if self.teacher_embeddings is not None:
            return self.teacher_embeddings[index].to(clean.device, non_blocking=True), None
        with self._teacher_mode():
            return _embedded(self.teacher, clean, self.places and self.places[1])

    def _teacher_mode(self) -> AbstractContextManager[None]:
        assert isinstance(self.teacher, nn.Module)
        return batch_statistics(self.teacher) if self.teacher_bn == "batch" else nullcontext()


def _embedded(encoder: Encoder, images: Images, place: MapPlace | None) -> tuple[Embeddings, Maps | None]:
    """The embeddings, and where it is asked for the map of the same pass."""
    if place is None:
        return encoder(images), None
    assert isinstance(encoder, nn.Module)
    return embedded_with_map(encoder, images, place)


def _places(student: Encoder, teacher: Encoder, side: Size | None) -> tuple[MapPlace, MapPlace]:
    assert isinstance(student, nn.Module) and isinstance(teacher, nn.Module)
    places = map_place(student, side), map_place(teacher, side)
    if places[0].shape != places[1].shape:
        raise InputError(
            "a dense term compares maps of one size, channels and positions; those of student and teacher have "
            f"{list(places[0].shape)} and {list(places[1].shape)}"
        )
    return places


def _check(
    student: Encoder, teacher: Encoder, augment: Operator | None, cache: ByIndex | Tensor | None, teacher_bn: str,
    dense: Dense | None,
) -> None:  # fmt: skip
    assert isinstance(student, nn.Module) and isinstance(teacher, nn.Module)
    check_pair(student, teacher, ("student", "teacher"))
    if teacher_bn not in ("eval", "batch"):
        raise InputError(f"teacher_bn must be 'eval' or 'batch', got {teacher_bn!r}")
    if cache is not None and (augment is not None or teacher_bn != "eval"):
        raise InputError(
            "cached teacher embeddings belong to unaugmented images and an eval-mode teacher: "
            "drop augment and teacher_bn, or the cache"
        )
    if cache is not None and dense is not None:
        raise InputError("the teacher's cache holds embeddings, and a dense term needs its maps: drop the cache")


@torch.no_grad()
def teacher_cache(
    teacher: nn.Module,
    images: ImageSet,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    label: str = "the teacher's embeddings",
) -> ByIndex:
    """R of every clean image, on the CPU, by image index (NaN where an image cannot be read)."""
    teacher.to(device)
    found: Tensor | None = None
    with eval_mode(teacher), phase(label, len(images)) as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            rows = teacher(batch.images).float().cpu()
            if found is None:
                found = torch.full((len(images), rows.shape[1]), torch.nan)
            found[batch.place] = rows
            meter.advance(len(rows))
    if found is None:
        raise InputError("there are no images to embed")
    return ByIndex(images.index, found)
