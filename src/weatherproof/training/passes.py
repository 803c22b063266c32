"""How networks run in a training: some images at a time, blocks computed twice, compiled."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from weatherproof.encoders import Encoder
from weatherproof.encoders.recomputed import blocks_recomputed, compiled
from weatherproof.errors import InputError
from weatherproof.training.plan import Plan


@contextmanager
def passes(method: nn.Module, plan: Plan, weights: Sequence[Tensor] = ()) -> Iterator[None]:
    """Inside, the method's encoders run as the plan says; afterwards as before.

    Args:
        weights: what trains.

    Raises:
        InputError: what the plan asks for cannot be done with this method, or its networks.
    """
    if not (plan.micro_batch or plan.checkpoint_gradients or plan.compile):
        yield
        return
    encoders = [module for module in method.modules() if isinstance(module, Encoder)]
    if not encoders:
        raise InputError(
            f"micro_batch, checkpoint_gradients and compile need an Encoder, and {type(method).__name__} has none"
        )
    trained = {id(weight) for weight in weights}
    learning = [one for one in encoders if not weights or trained & {id(own) for own in one.parameters()}]
    _check(method, plan, learning)
    with ExitStack() as stack:
        if plan.micro_batch:
            for encoder in encoders:
                stack.callback(setattr, encoder, "micro_batch", encoder.micro_batch)
                encoder.micro_batch = plan.micro_batch
        if plan.checkpoint_gradients:
            for encoder in learning:
                stack.enter_context(blocks_recomputed(encoder.body, encoder.name))
        if plan.compile:
            stack.enter_context(compiled(*encoders))
        yield


def _check(method: nn.Module, plan: Plan, learning: Sequence[Encoder]) -> None:
    normed = [one for one in learning if any(isinstance(part, _BatchNorm) for part in one.body.modules())]
    if plan.checkpoint_gradients and any(_second(method, name) for name in ("tikhonov", "penalty")):
        raise InputError(
            "checkpoint_gradients saves nothing where a Tikhonov penalty takes an exact gradient of a gradient, which "
            'keeps all of both: leave it out, micro_batch saves memory, and so does InputGradient(..., "gradients")'
        )
    if plan.micro_batch or plan.checkpoint_gradients:
        again = "micro_batch" if plan.micro_batch else "checkpoint_gradients"
        if normed and getattr(method, "groups", 1) > 1:
            raise InputError(
                f"{again} and batch normalisation in groups do not go together: {normed[0].name} has it, give MoCo "
                "groups=1, or leave one out"
            )
    if plan.micro_batch and getattr(method, "teacher_bn", "eval") == "batch":
        raise InputError("micro_batch would give the teacher's batch normalisation other batches: teacher_bn='eval'")
    if plan.compile and getattr(method, "dense", None) is not None:
        raise InputError("compile hides the maps that a dense term reads: leave compile or dense out")
    if normed and plan.micro_batch and plan.micro_batch < plan.batch_size // plan.devices:
        warnings.warn(
            f"{normed[0].name} has batch normalisation, which takes its statistics over the micro_batch of "
            f"{plan.micro_batch} images, not over the whole batch: the gradient is "
            "near that of one big batch, not the same",
            stacklevel=2,
        )


def _second(method: nn.Module, name: str) -> bool:
    """Whether the method differentiates a gradient once more."""
    penalty = getattr(method, name, None)
    weighs = getattr(penalty, "weight", 0) or any(getattr(method, "betas", ()))
    return bool(weighs) and getattr(penalty, "method", "") == "exact"
