"""The rival with labels: encoder and classifier trained end to end on damaged images."""

from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.methods.answers import answer, check_outputs
from weatherproof.methods.parts import AUGMENT, OPERATOR, look, trainable
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Encoder, Gather, Operator
from weatherproof.types import Images, Keys, Labels


class Supervised(nn.Module):
    """Mean cross-entropy of head(encoder(A(x))) against the labels; with Tikhonov regularization + lambda / 2 R.

    Args:
        encoder: trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        operator: the damage, or None to train on clean images.
        augment: crop and flip, before the damage.
        tikhonov: the penalty on the gradients by the pixels of A(x).

    Raises:
        InputError: in training, labels that the head has no output for.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        operator: Operator | None = None,
        augment: Operator | None = None,
        tikhonov: InputGradient | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.operator, self.augment, self.tikhonov = operator, augment, tikhonov
        assert isinstance(encoder, nn.Module)
        trainable(encoder, head)

    def prepare(self, images: ImageSet) -> None:
        """Refuse labels that the head has no output for."""
        check_outputs(self.encoder, self.head, images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        seen = look(self.operator, look(self.augment, images, keys, AUGMENT), keys, OPERATOR)
        answers = answer(self.encoder, self.head, seen, labels, gather, self.tikhonov)
        terms = {"loss": answers.cross_entropy, "accuracy": answers.accuracy(labels)}
        if self.tikhonov is None or answers.penalty is None:
            return terms
        return terms | {
            "loss": answers.cross_entropy + self.tikhonov.weight / 2 * answers.penalty,
            "cross_entropy": answers.cross_entropy.detach(),
            "penalty": answers.penalty.detach(),
        }
