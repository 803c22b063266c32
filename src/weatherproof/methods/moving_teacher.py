"""The teacher moves too: its last stage is trained with the student, held by an anchor to what it was."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof.encoders import stages
from weatherproof.encoders.taps import SIDE, body_of
from weatherproof.errors import InputError
from weatherproof.methods.parts import AUGMENT, OPERATOR, check_pair, look, trainable
from weatherproof.modes import eval_mode
from weatherproof.objectives.embeddings import check_weights
from weatherproof.objectives.similarity import anchored
from weatherproof.protocols import Encoder, Gather, Objective, Operator
from weatherproof.sizes import sides
from weatherproof.spec import component
from weatherproof.types import Embeddings, Images, Keys, Labels


@component
class Anchor:
    """w (mean of 1 - cos(T(x), R(x)) + v |S_T - S_R|^2 / N^2): how far the moving teacher T is from its frozen self R
    on clean images, and the similarity matrices of a batch's N images from each other (URRL, eq. 4).

    Args:
        weight: w; 0: the teacher goes where it likes.
        similarity: v.

    Raises:
        InputError: a weight that is no number of 0 or more.
    """

    weight: float = 1.0
    similarity: float = 0.0

    def __post_init__(self) -> None:
        check_weights(self, "weight", "similarity")

    def __call__(self, moving: Embeddings, frozen: Embeddings) -> Float[Tensor, ""]:
        return self.weight * anchored(moving, frozen, self.similarity)[0]


class Teachers(nn.Module):
    """A frozen encoder, and a copy of it whose last stage may be trained. The trunk before that is the same weights,
    and is run once for both. Both are in evaluation mode whatever mode this is in: batch normalisation keeps its
    statistics.

    Args:
        encoder: its weights are shared with `frozen` and with the trunk of `moving`.
        last: the module of the encoder's body after which the last stage begins; None: of `encoders.stages`.

    Raises:
        InputError: no such module, nothing to train after it, or an encoder that is more than its body (a gate, or an
            adapter that is on: `adapters.merged` makes one of it).
    """

    def __init__(self, encoder: nn.Module, last: str | None = None) -> None:
        super().__init__()
        self.last = stages(encoder)[-2] if last is None else last
        behind = {id(parameter) for parameter in _weights_after(encoder, self.last)}
        own_head = getattr(encoder, "head", None)
        head = {id(p) for p in own_head.parameters()} if isinstance(own_head, nn.Module) else set()
        shared = {id(p): p for p in encoder.parameters() if id(p) not in behind or id(p) in head}
        self.moving = copy.deepcopy(encoder, dict(shared))
        self.frozen = encoder.requires_grad_(False)
        for parameter in self.moving.parameters():
            parameter.requires_grad_(id(parameter) not in shared)
        if not any(parameter.requires_grad for parameter in self.moving.parameters()):
            raise InputError(f"nothing to train after {self.last}: name an earlier module of the teacher")
        self.train()
        with torch.no_grad():
            moving, frozen = self(_some_images(encoder))
        if not torch.allclose(moving, frozen, rtol=1e-3, atol=1e-4 * float(frozen.abs().max())):
            raise InputError("the teacher cannot be parted at its last stage: take a plain encoder, no gate or adapter")

    def train(self, mode: bool = True) -> "Teachers":
        """Evaluation mode, always."""
        return super().train(False)

    def forward(self, images: Images) -> tuple[Embeddings, Embeddings]:
        """What the moving and the frozen one give; gradients reach the last stage of the moving one."""
        with (
            torch.no_grad(),
            _recorded_passes(self.frozen, "") as whole,
            _recorded_passes(self.frozen, self.last) as halfway,
        ):
            frozen = self.frozen(images)
        pixels, trunk = whole[0][0], halfway[0][1]
        with _hooked(self.moving, self.last, lambda *_: trunk):
            raw = body_of(self.moving)(pixels[:1])  # one image up to the last stage, and there all take its place
        return raw.mean(dim=(2, 3)) if raw.ndim == 4 else raw, frozen


class MovingTeacher(nn.Module):
    """objective(S(A(x)), T(x)) + anchor(T(x), R(x)): student S and the last stage of the teacher T are trained, R is
    the teacher as it was (the paper's future work). Crop and flip come first, as in `Hardening`.

    Args:
        student: S, trained; its own classifier stays as it is.
        teacher: R; T shares the trunk with it.
        operator: A, the known damage.
        objective: a component of `weatherproof.objectives`.
        anchor: of T to R.
        augment: crop and flip, or None for the image as it is.
        last: where the teacher's last stage begins, as in `Teachers`.

    Raises:
        InputError: student and teacher share weights or differ in size; as `Teachers`.
    """

    def __init__(
        self,
        student: Encoder,
        teacher: Encoder,
        operator: Operator,
        objective: Objective,
        anchor: Anchor,
        augment: Operator | None = None,
        last: str | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(student, nn.Module) and isinstance(teacher, nn.Module)
        trainable(student)
        check_pair(student, teacher, ("student", "teacher"))
        self.student, self.teacher = student, Teachers(teacher, last)
        self.operator, self.objective, self.anchor, self.augment = operator, objective, anchor, augment
        self.train()

    def forward(self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather) -> dict[str, Tensor]:
        clean = look(self.augment, images, keys, AUGMENT)
        moving, frozen = map(gather, self.teacher(clean))
        student = gather(self.student(look(self.operator, clean, keys, OPERATOR)))
        loss = self.objective(student, moving)
        if self.anchor.weight:
            loss = loss + self.anchor(moving, frozen)
        with torch.no_grad():
            cosine, moved = (F.cosine_similarity(moving.float(), to.float()).mean() for to in (student, frozen))
        return {"loss": loss, "cosine": cosine, "anchor_cosine": moved}


@torch.no_grad()
def _weights_after(encoder: nn.Module, last: str) -> Iterator[nn.Parameter]:
    """The parameters of all modules that run after this one is done, found out with two images."""
    body = body_of(encoder)
    modules = dict(body.named_modules())
    if last not in modules:
        raise InputError(f"no module {last!r} in the teacher, after which its last stage would begin")
    later: list[nn.Module] = []
    done: list[bool] = []

    def begin(module: nn.Module, arguments: Any) -> None:
        if done:
            later.append(module)

    with ExitStack() as hooks:
        hooks.enter_context(eval_mode(encoder))
        hooks.callback(modules[last].register_forward_hook(lambda *_: done.append(True)).remove)
        for module in modules.values():
            hooks.callback(module.register_forward_pre_hook(begin).remove)
        body(_some_images(encoder))
    return (parameter for module in later for parameter in module.parameters(recurse=False))


def _some_images(encoder: nn.Module) -> Images:
    """A black and a white one, of the size that the encoder takes."""
    preprocessing, weight = getattr(encoder, "preprocessing", None), next(encoder.parameters())
    size = getattr(preprocessing, "size", None) or SIDE
    shades = torch.tensor([0.0, 1.0], device=weight.device, dtype=weight.dtype).view(2, 1, 1, 1)
    return shades.expand(2, getattr(preprocessing, "channels", 3), *sides(size))


@contextmanager
def _recorded_passes(encoder: nn.Module, name: str) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Inside, the list gets what the module takes and gives in each pass."""
    passes: list[tuple[Tensor, Tensor]] = []
    with _hooked(encoder, name, lambda _, given, output: passes.append((given[0], output))):
        yield passes


@contextmanager
def _hooked(encoder: nn.Module, name: str, hook: Callable[..., Any]) -> Iterator[None]:
    handle = body_of(encoder).get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
