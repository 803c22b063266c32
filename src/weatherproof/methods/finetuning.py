"""Fine-tuning that keeps what the encoder knew: its similarities, its weights, or its calm under small changes."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.methods.answers import answer, check_outputs
from weatherproof.methods.parts import AUGMENT, OPERATOR, check_pair, look, trainable
from weatherproof.objectives import L2SP, InputGradient, SimilarityMatrix
from weatherproof.protocols import Encoder, Gather, Operator
from weatherproof.types import Embeddings, Images, Keys, Labels


class FineTuning(nn.Module):
    """mean cross-entropy + w |S - S*| / N (similarity) + alpha / 2 |w_S - w0_S|^2 + beta / 2 |w_new|^2 (L2-SP)
    + lambda / 2 R (Tikhonov), as many of them as are given (URRL, section 2.2).

    S are the similarities of this encoder's features within the batch, S* those of the teacher's, which sees exactly
    the same augmented images, frozen and in evaluation mode: one more forward pass. Since the student's batch
    normalisation is in training mode, S = S* at the start only for networks without one.

    Args:
        encoder: trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        teacher: where fine-tuning starts; None: a copy of the encoder as it is now. Needed by the first two alone.
        similarity, sp, tikhonov: the regularizers.
        operator: the damage, or None to train on clean images.
        augment: crop and flip, before the damage.

    Raises:
        InputError: a teacher that shares the encoder's weights, has features of another size, or, for L2-SP, other
            weights; in training, labels that the head has no output for.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        teacher: Encoder | None = None,
        similarity: SimilarityMatrix | None = None,
        sp: L2SP | None = None,
        tikhonov: InputGradient | None = None,
        operator: Operator | None = None,
        augment: Operator | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder, self.head = encoder, head
        self.similarity, self.sp, self.tikhonov = similarity, sp, tikhonov
        self.operator, self.augment = operator, augment
        self.teacher: nn.Module | None = None
        trainable(encoder, head)
        if similarity is not None or sp is not None:
            frozen = copy.deepcopy(encoder) if teacher is None else teacher
            assert isinstance(frozen, nn.Module)
            _check(encoder, frozen, sp)
            self.teacher = frozen.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "FineTuning":
        """Train mode for all but the teacher."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def prepare(self, images: ImageSet) -> None:
        """Refuse labels that the head has no output for."""
        check_outputs(self.encoder, self.head, images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        seen = look(self.operator, look(self.augment, images, keys, AUGMENT), keys, OPERATOR)
        answers = answer(self.encoder, self.head, seen, labels, gather, self.tikhonov, alone=self.similarity is None)
        loss, terms = answers.cross_entropy, {"cross_entropy": answers.cross_entropy.detach()}
        if self.similarity is not None:
            distance = self.similarity(gather(answers.embeddings), gather(self._target(seen)))
            loss, terms["similarity"] = loss + self.similarity.weight * distance, distance.detach()
        if self.sp is not None:
            pull = self.sp(*self._weights())
            loss, terms["l2_sp"] = loss + pull, pull.detach()
        if self.tikhonov is not None and answers.penalty is not None:
            loss, terms["penalty"] = loss + self.tikhonov.weight / 2 * answers.penalty, answers.penalty.detach()
        return {"loss": loss, **terms, "accuracy": answers.accuracy(labels)}

    @torch.no_grad()
    def _target(self, seen: Images) -> Embeddings:
        assert self.teacher is not None
        return self.teacher(seen)

    def _weights(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The encoder's weights, the same at the start, and the head's."""
        assert isinstance(self.encoder, nn.Module) and self.teacher is not None
        start = dict(self.teacher.named_parameters())
        names = [name for name, _ in _pretrained_weights(self.encoder, self.head)]
        here = dict(self.encoder.named_parameters())
        return [here[name] for name in names], [start[name] for name in names], [*self.head.parameters()]


def _pretrained_weights(encoder: nn.Module, head: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights that were there before and are trained; a classifier that is the head counts as new."""
    new = {id(p) for p in head.parameters()}
    return ((name, p) for name, p in encoder.named_parameters() if p.requires_grad and id(p) not in new)


def _check(encoder: nn.Module, teacher: nn.Module, sp: L2SP | None) -> None:
    check_pair(encoder, teacher, ("encoder", "teacher"))
    ours, theirs = ({name: p.shape for name, p in module.named_parameters()} for module in (encoder, teacher))
    if sp is not None and ours != theirs:
        other = next(name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name))
        raise InputError(f"L2-SP draws weights to the teacher's, which must be of the same network: {other} differs")
