"""Adversarial training: the rival that learns from the images that fool it most."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.methods.answers import answer, check_outputs
from weatherproof.methods.parts import ATTACK, AUGMENT, look, trainable
from weatherproof.protocols import Attack, Encoder, Gather, Operator
from weatherproof.types import Images, Keys, Labels


class AdversarialTraining(nn.Module):
    """Mean cross-entropy on attacked images alone (Madry et al. 2018), the attack made anew in every step.

    The attack sees the network as it is now, in evaluation mode, and leaves it as it was. In units of one pass (F
    forward, D backward to the inputs, W backward to the weights) a step with PGD of T steps that keeps the best iterate
    is (T + 1) F + T D, and then F + D + W: with T = 7, 9 F + 8 D + W, six times a plain step.

    Args:
        encoder: trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        attack: `attacks.PGD(L2(0.5), steps=7, step_size=0.1)` is what URRL's rival is trained with.
        augment: crop and flip, before the attack.

    Raises:
        InputError: in training, labels that the head has no output for.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(self, encoder: Encoder, head: nn.Module, attack: Attack, augment: Operator | None = None) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.attack, self.augment = attack, augment
        assert isinstance(encoder, nn.Module)
        trainable(encoder, head)

    def prepare(self, images: ImageSet) -> None:
        """Refuse labels that the head has no output for."""
        check_outputs(self.encoder, self.head, images)

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        clean = look(self.augment, images, keys, AUGMENT)
        assert isinstance(self.encoder, nn.Module)
        classifier = nn.Sequential(self.encoder, self.head).train(self.training)
        with _precision(images), torch.enable_grad():
            attacked = self.attack(classifier, clean, labels, random.fold(keys, ATTACK)).detach()
        answers = answer(self.encoder, self.head, attacked, labels, gather)
        return {"loss": answers.cross_entropy, "accuracy": answers.accuracy(labels)}


def _precision(images: Images) -> AbstractContextManager[object]:
    """In 16-bit floats the gradients of sure answers are zero: the attack is made in float32."""
    kind = images.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return torch.autocast(kind, enabled=False) if half else nullcontext()
