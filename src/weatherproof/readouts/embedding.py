"""The embeddings of a whole data set, clean or damaged."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders.layout import quick_convolutions
from weatherproof.errors import InputError
from weatherproof.modes import evaluating
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.types import Embeddings, Images, Labels, Logits

STREAM = 0x72656164  # "read": a readout's draws are neither those the encoder was trained on nor those of evaluation


def unmeasurable(name: str, what: str = "NaN logits") -> InputError:
    """An `InputError` for a model whose outputs would be counted as something that they are not."""
    return InputError(f"{name} gives {what} for images in [0, 1]: it cannot be measured")


def require_logits(name: str, logits: Logits) -> None:
    """Raise `InputError` where logits are not numbers: the first guess would be class 0."""
    if bool(logits.isnan().any()):
        raise unmeasurable(name)


def require_embeddings(name: str, embeddings: Embeddings) -> None:
    """Raise `InputError` where embeddings are not finite: none is near another."""
    if not bool(embeddings.isfinite().all()):
        raise unmeasurable(name, "embeddings that are not finite numbers")


def embed(
    encoder: Callable[[Images], Embeddings],
    images: ImageSet,
    *,
    operator: Operator | None = None,
    seed: int = 0,
    realization: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    seen: Callable[[Embeddings, Labels], None] | None = None,
) -> tuple[Float[Tensor, "n features"], Int64[Tensor, "n"]]:
    """Embeddings of all images, in order, and their labels; both on the CPU. Files that cannot be read are left out.

    Args:
        encoder: moved to `device` (and left there), used in evaluation mode.
        operator: applied to every image first; its draws depend on (seed, image index, realization) alone.
        realization: which draw: 0, 1, 2, ... are independent.
        seen: is told of each batch: its embeddings, and the positions of its images.

    Raises:
        InputError: there are no images.
    """
    if len(images) == 0:
        raise InputError(f"no images to embed in {images.name!r}: expected at least one")
    if isinstance(encoder, nn.Module):
        encoder.to(device)
    features: Tensor | None = None
    labels = []
    done = 0
    with quick_convolutions(encoder), evaluating(encoder), phase(f"embedding {images.name}", len(images)) as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            looks = batch.images
            if operator is not None:
                looks = operator(looks, random.fold(random.keys(seed, batch.index), STREAM, realization))
            out = encoder(looks).float().cpu()
            if features is None:
                with torch.inference_mode(False):  # or they could not be trained on later
                    features = torch.empty(len(images), out.shape[1])
            features[done : done + len(out)] = out
            if seen is not None:
                seen(out, batch.place)
            labels.append(batch.labels.cpu())
            done += len(out)
            meter.advance(len(out))
    if features is None:
        raise InputError(f"no image of {images.name!r} could be read")
    return features[:done], torch.cat(labels)
