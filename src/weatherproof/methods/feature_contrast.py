"""Labels, and a second term that says what noise may do to the embedding."""

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.encoders.taps import EMBEDDING, stages, tapped
from weatherproof.errors import InputError
from weatherproof.methods.answers import check_outputs
from weatherproof.methods.partners import Partner, Partners
from weatherproof.methods.parts import AUGMENT, NOISE, OPERATOR, batch_statistics, look, pixel_precision, trainable
from weatherproof.methods.split_norm import split_batch_norm
from weatherproof.methods.utility import Loss, utility, utility_of
from weatherproof.objectives import FeatureContrast, FeatureContrastMargin
from weatherproof.objectives.class_losses import cross_entropy
from weatherproof.protocols import Encoder, Gather, Operator
from weatherproof.types import Embeddings, Images, Keys, Labels, Logits

LAST_INNER = "-1"
OUTPUT = "output"  # the layer beyond the embedding


class FeatureContrastive(nn.Module):
    """mean cross-entropy + weight * objective(z, z+, z-), z the embedding (feature contrastive learning, algorithm 1).

    With `UtilityNoise` and `FeatureContrast` this is the paper's method; with `WholeNoise` its rivals: CL+Gaussian with
    the same objective, XE+Gaussian with none, where the noisy copies are to be classified instead.

    The clean pass serves the cross-entropy, the utility and z; one backward pass to the pixels gives the utility; both
    noisy copies go through as one batch. In units of one pass: 3 forward, 4 backward to the inputs, 3 to the weights.
    Batch normalisation: the clean pass as ever; each noisy copy with the statistics of its own batch, which its running
    statistics do not see. In 16-bit floats the utility has a float32 pass of its own, as it would underflow; bfloat16
    has the range of float32 and shares.

    Two variants that the authors name and did not try: the embedding may be that of an inner stage, or the output, and
    the loss another one than cross-entropy, in the first term and in the utility alike.

    Args:
        encoder: phi, trained. Its own classifier is trained only where it is the head.
        head: [batch, feature_dim] -> [batch, classes].
        partner: makes the noisy copies.
        objective: of the embeddings; None: the sum of the noisy copies' cross-entropies.
        weight: lambda. The term is a sum over the batch (unless the objective says "mean"), so that it grows with it.
        start: steps before which the weight is 0, and only the cross-entropy is computed: early utilities are noise.
        ramp: steps over which it then rises to `weight`.
        operator: damage that all passes see, such as `PatchGaussian`.
        augment: crop and flip, before the damage.
        layer: what the objective compares: "embedding", "output" (the logits), a name of `encoders.taps.stages`, or the
            number of a stage from 1 on; "-1": the last one before the embedding.
        loss: of single answers (`objectives.class_losses`), in place of the cross-entropy.

    Raises:
        InputError: a weight out of range, or a layer that the encoder does not have; in training, k that the images do
            not have, or labels that the head has no output for; a call in evaluation mode.
    """

    needs_labels = True  # the training loop refuses images without

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        partner: Partner,
        objective: FeatureContrast | FeatureContrastMargin | None,
        weight: float,
        *,
        start: int = 0,
        ramp: int = 0,
        operator: Operator | None = None,
        augment: Operator | None = None,
        layer: str = EMBEDDING,
        loss: Loss = cross_entropy,
    ) -> None:
        super().__init__()
        check_weight(weight, getattr(objective, "reduction", "sum"))
        if start < 0 or ramp < 0:
            raise InputError(f"start and ramp are steps, 0 or more; got {start} and {ramp}")
        self.encoder, self.head = encoder, head
        self.partner, self.objective, self.weight = partner, objective, weight
        self.start, self.ramp, self.operator, self.augment = start, ramp, operator, augment
        self.step, self.loss = 0, loss
        assert isinstance(encoder, nn.Module)
        self.layer = _layer(encoder, layer)
        trainable(encoder, head)

    def prepare(self, images: ImageSet) -> None:
        """Refuse labels that the head has no output for."""
        check_outputs(self.encoder, self.head, images)

    def at_step(self, step: int) -> None:
        """Told by the training loop before each step: how many are done."""
        self.step = step

    @property
    def weight_now(self) -> float:
        """The weight at this step."""
        if self.step < self.start:
            return 0.0
        return self.weight * min(1.0, (self.step - self.start + 1) / max(self.ramp, 1))

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        if not self.training:
            raise InputError(
                "feature contrastive learning is a training: the model is in evaluation mode, call train()"
            )
        clean = look(self.operator, look(self.augment, images, keys, AUGMENT), keys, OPERATOR)
        weight = self.weight_now
        z, logits, useful = self._clean_pass(clean, labels, needed=weight > 0 and self.partner.needs_utility)
        loss = self.loss(logits, labels).mean()
        term = loss.new_zeros(())
        if weight > 0:
            with pixel_precision(images):
                partners = self.partner(clean, random.fold(keys, NOISE), useful)
            term = self._term(z, labels, partners, gather)
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {
            "loss": loss + weight * term,
            "cross_entropy": loss.detach(),
            "contrast": term.detach(),
            "weight": loss.new_full((), weight),
            "accuracy": accuracy,
        }

    def _clean_pass(self, clean: Images, labels: Labels, *, needed: bool) -> tuple[Embeddings, Logits, Images | None]:
        """What is compared, logits, and where needed the utility."""
        apart = needed and _half(clean.device.type)
        pixels = clean.detach().requires_grad_() if needed and not apart else clean
        z, logits = self._outputs(pixels)
        if not needed:
            return z, logits, None
        if apart:
            with batch_statistics(self):
                return z, logits, utility(lambda x: self.head(self.encoder(x)), clean, labels, self.loss)
        return z, logits, utility_of(logits, pixels, labels, keep_graph=True, loss=self.loss)

    def _outputs(self, images: Images) -> tuple[Embeddings, Logits]:
        """What is compared, and the logits."""
        if self.layer in (EMBEDDING, OUTPUT):
            z = self.encoder(images)
            logits = self.head(z).float()
            return (logits if self.layer == OUTPUT else z), logits
        assert isinstance(self.encoder, nn.Module)
        inner, z = tapped(self.encoder, images, (self.layer, EMBEDDING))
        return inner, self.head(z).float()

    def _compared(self, images: Images) -> Embeddings:
        """What is compared, alone."""
        if self.layer == EMBEDDING:
            return self.encoder(images)
        if self.layer == OUTPUT:
            return self.head(self.encoder(images)).float()
        assert isinstance(self.encoder, nn.Module)
        return tapped(self.encoder, images, (self.layer,))[0]

    def _term(self, z: Embeddings, labels: Labels, partners: Partners, gather: Gather) -> Tensor:
        """The second term: a sum over the whole batch, unless the objective says otherwise."""
        copies = [partners.low] if partners.high is None else [partners.low, partners.high]
        assert isinstance(self.encoder, nn.Module)
        with ExitStack() as norms:
            norms.enter_context(batch_statistics(self.encoder))
            norms.enter_context(split_batch_norm(self.encoder, len(copies)))
            together = torch.cat(copies)
            noisy = (self.encoder if self.objective is None else self._compared)(together).chunk(len(copies))
        if self.objective is None:
            logits = gather(self.head(noisy[0]).float())
            return F.cross_entropy(logits, gather(labels), reduction="sum")
        keep = None if partners.keep is None else gather(partners.keep.to(torch.uint8)).bool()
        return self.objective(gather(z), gather(noisy[0]), gather(noisy[1]) if len(noisy) > 1 else None, keep)


def _layer(encoder: nn.Module, name: str) -> str:
    """The name of a layer, from its name or the number of its stage."""
    if name in (EMBEDDING, OUTPUT):
        return name
    known = stages(encoder)
    if name in [str(number) for number in range(1, len(known) + 1)]:
        return known[int(name) - 1]
    if name == LAST_INNER:
        return known[-2]
    if name not in known:
        raise InputError(
            f"no layer {name!r} to compare at: expected {OUTPUT}, one of {', '.join(known)}, or 1 to {len(known)}"
        )
    return name


def _half(device: str) -> bool:
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16


def check_weight(weight: float, reduction: str = "sum") -> None:
    """Raise `InputError` unless lambda is a number of 0 or more."""
    if not 0 <= weight < float("inf"):
        raise InputError(
            f"weight (lambda) must be a number of 0 or more, got {weight}: it multiplies the {reduction} of the second "
            "term over a batch (the paper: 1e-4 to 1e-3, for the sum)"
        )
