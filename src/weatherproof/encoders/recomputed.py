"""Memory for time: what a backward pass needs is computed once more when it comes, images or blocks at a time."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from weatherproof.encoders.stand_ins import passed_with
from weatherproof.errors import InputError
from weatherproof.modes import unchanged_statistics

_STATE = ("training", "track_running_stats", "forward")  # of a normalisation; the last where it stands in for its own
_LEAST = 2  # layers with weights that make a block worth it


def norms_as_now(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a pass that begins now, and of its repetition: normalisation is then what it is now (its mode, its
    groups, whether it follows the batch), wherever in the step that is, and counts no image twice."""
    norms = [part for part in network.modules() if isinstance(part, _NormBase)]
    return nullcontext(), _AsItWas(norms)


class _AsItWas(AbstractContextManager[None]):
    """Normalisation as it was when this was made. It is entered more than once: a pass may be repeated for a gradient
    in the midst of a step, and again for that of the step."""

    def __init__(self, norms: Sequence[nn.Module]) -> None:
        self.norms, self.states, self.stacks = norms, _states(norms), list[ExitStack]()

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.callback(_restore, self.norms, _states(self.norms))
        _restore(self.norms, self.states)
        stack.enter_context(unchanged_statistics(nn.ModuleList(self.norms)))
        self.stacks.append(stack)

    def __exit__(self, *_: object) -> None:
        self.stacks.pop().close()


def _states(norms: Sequence[nn.Module]) -> list[dict[str, Any]]:
    return [{name: vars(norm)[name] for name in _STATE if name in vars(norm)} for norm in norms]


def _restore(norms: Sequence[nn.Module], states: Sequence[Mapping[str, Any]]) -> None:
    for norm, state in zip(norms, states, strict=True):
        for name in _STATE:
            vars(norm).pop(name, None)
        vars(norm).update(state)


@contextmanager
def each_cast_anew(kind: str) -> Iterator[None]:
    """Inside, mixed precision casts weights each time: a pass that found them cast would keep other tensors than the
    one that it repeats, where a gradient is taken in the midst of a step."""
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):  # no numbers, no precision
        yield
        return
    with torch.autocast(kind, torch.get_autocast_dtype(kind), cache_enabled=False):
        yield


def blocks(network: nn.Module) -> list[nn.Module]:
    """What a network repeats: transformer layers, residual blocks, Fire modules; none inside another.

    A block is a module with a forward pass of its own and two or more layers with weights, in a sequence or list. One
    that itself repeats such modules of one class is a stage, whose blocks are taken.
    """
    found: list[nn.Module] = []
    for child in network.children():
        listed = isinstance(network, nn.Sequential | nn.ModuleList)
        if listed and _is_block(child) and not any(map(_repeats, child.modules())):
            found.append(child)
        else:
            found += blocks(child)
    return found


def _is_block(module: nn.Module) -> bool:
    layers = sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules())
    return layers >= _LEAST and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def _repeats(module: nn.Module) -> bool:
    inside = [type(child) for child in module.children() if _is_block(child)]
    return isinstance(module, nn.Sequential | nn.ModuleList) and len(inside) >= _LEAST and len(set(inside)) == 1


@contextmanager
def blocks_recomputed(network: nn.Module, name: str) -> Iterator[None]:
    """Inside, each block keeps its input alone and is run once more in the backward pass (gradient checkpointing, Chen
    et al. 2016). The gradients are the same, also of adapters, whose tensors stand in for a block's own in the forward
    pass alone. Nothing is left on the network afterwards.

    Args:
        name: what a message calls it.

    Raises:
        InputError: the network has no blocks that we see; in the pass, a block that changes its input in place.
    """
    found = blocks(network)
    if not found:
        raise InputError(
            f"checkpoint_gradients recomputes blocks (transformer layers, residual blocks), and {name} has none: "
            "leave it out, micro_batch saves memory with any network"
        )
    with ExitStack() as stack:
        for block in found:
            setattr(block, "forward", _Recomputed(block, block.forward))  # noqa: B010
            stack.callback(delattr, block, "forward")
        yield


class _Recomputed:
    """The forward pass of a block, recomputed with the tensors that it had."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        self.block, self.forward, self.plain = block, forward, False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.plain or not torch.is_grad_enabled():
            return self.forward(*args, **options)
        tensors = _tensors(self.block)
        versions = [(value, value._version) for value in args if isinstance(value, Tensor)]

        def again(*args: Any) -> Any:
            self.plain = True
            try:
                with each_cast_anew(_kind(args)):
                    now = _tensors(self.block)
                    if all(now[name] is value for name, value in tensors.items()):
                        return self.forward(*args, **options)
                    return passed_with(self.block, tensors, args, options)
            finally:
                self.plain = False

        out = checkpoint(again, *args, use_reentrant=False, context_fn=partial(norms_as_now, self.block))
        if any(value._version != before for value, before in versions):
            raise InputError(
                f"checkpoint_gradients cannot run {type(self.block).__name__} once more, it changes its input in "
                "place: leave it out, micro_batch saves memory with any network"
            )
        return out


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """What a pass depends on: not the running statistics of a normalisation that goes by its batch."""
    norms = [part for part in module.modules() if isinstance(part, _NormBase) and part.training]
    moving = {id(value) for norm in norms for value in norm.buffers(recurse=False)}
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in named.items() if id(value) not in moving}


def _kind(values: tuple[object, ...]) -> str:
    return next((value.device.type for value in values if isinstance(value, Tensor)), "cpu")


@contextmanager
def compiled(*encoders: nn.Module) -> Iterator[None]:
    """Inside, the networks run as `torch.compile` makes them. Weights keep their names; copies are not compiled.

    Raises:
        InputError: it cannot be compiled here, in one line.
    """
    from torch._dynamo.exc import TorchDynamoException

    bodies: list[Any] = [getattr(encoder, "body", encoder) for encoder in encoders]
    try:
        with (
            _quiet_compiler(),
            warnings.catch_warnings(),
        ):  # an adapter's weights are no leaves, which is as it should be
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
            for body in bodies:
                body.compile()
            yield
    except (TorchDynamoException, torch._inductor.exc.InductorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"torch.compile fails here ({reason[:200]}): leave compile out") from error
    finally:
        for body in bodies:
            body._compiled_call_impl = None


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Inside, what the compiler tells its developers (a toolkit without a device) is not said."""
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
