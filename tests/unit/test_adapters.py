"""Adapters: off, an encoder is its original, on the hardened one, and what they train is all that training moves."""

import copy
import hashlib
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Preprocessing, load_encoder, save_encoder
from weatherproof.encoders.adapters import (
    Adaptation,
    Adapted,
    Full,
    LoRA,
    Norms,
    load_adapters,
    merged,
    parse,
    save_adapter,
    switched,
)
from weatherproof.errors import InputError
from weatherproof.methods import Hardening
from weatherproof.objectives import MSE, StudentTeacher
from weatherproof.operators import GaussianNoise, RandomMask
from weatherproof.protocols import Operator
from weatherproof.training import Plan, RunFolder, harden_encoder

IMAGES = MemoryImages(
    torch.randint(0, 256, (48, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
)
PIXELS = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
MASK = RandomMask(0.5)
PLAN = Plan(2.0, 16, 0.05, device="cpu")


class Tokens(nn.Module):
    """PyTorch's own attention, which reads its weights itself, on patches of 4x4."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(16), nn.Linear(16, 12)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.norm(self.patch(pixels).flatten(2).mT)
        return self.mlp(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).mean(dim=1)


def tokens() -> Encoder:
    return Encoder("tokens", Tokens(), None, feature_dim=12, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, 16))


def resnet() -> Encoder:
    with warnings.catch_warnings(action="ignore"):
        return load_encoder("resnet20", num_classes=4)


def small() -> Encoder:
    with warnings.catch_warnings(action="ignore"):
        return load_encoder("small(width=4, channels=3)", seed=1)


def trained(encoder: Encoder, adaptation: Adaptation, operator: Operator = MASK) -> Encoder:
    return harden_encoder(
        encoder, IMAGES, operator=operator, objective=MSE(), plan=PLAN, adapt=adaptation, progress=False
    )


def embeddings(encoder: Encoder) -> Tensor:
    with torch.no_grad():
        return encoder.eval()(PIXELS)


@pytest.mark.parametrize("make", [resnet, tokens, small])
@pytest.mark.parametrize("adaptation", [LoRA(2), Norms()], ids=repr)
def test_off_it_is_the_original_to_the_bit_and_on_the_hardened_one(
    make: Callable[[], Encoder], adaptation: Adaptation
) -> None:
    original = make().eval()
    before, weights = embeddings(original), copy.deepcopy(original.state())
    student = trained(original, adaptation)
    assert isinstance(student, Adapted)
    hardened = embeddings(student)
    assert not torch.allclose(hardened, before, atol=1e-3)
    assert torch.equal(embeddings(switched(student, None)), before)
    assert torch.equal(embeddings(original), before)
    assert all(torch.equal(value, weights[name]) for name, value in original.state().items())
    assert torch.equal(embeddings(switched(switched(student, None), "hardened")), hardened)


@pytest.mark.parametrize("make", [resnet, tokens])
@pytest.mark.parametrize("adaptation", [LoRA(2), Norms()], ids=repr)
def test_merged_is_a_plain_encoder_with_the_same_numbers(make: Callable[[], Encoder], adaptation: Adaptation) -> None:
    student = trained(make(), adaptation)
    plain = merged(student)
    assert type(plain) is Encoder
    torch.testing.assert_close(embeddings(plain), embeddings(student), rtol=0, atol=0)
    own, theirs = plain.state(), student.state()
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
    memory = {p.data_ptr() for p in student.parameters()}
    assert not any(p.data_ptr() in memory for p in plain.parameters())


class Tied(nn.Module):
    """Layers that share weights: two hold one matrix, and one is there under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)
        self.there, self.back = nn.Linear(8, 8), nn.Linear(8, 8)
        self.back.weight = self.there.weight
        self.again = self.norm

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self.norm(self.patch(pixels).mean(dim=(2, 3)))
        return self.back(self.again(self.there(rows).relu()))


@pytest.mark.parametrize("adaptation", [LoRA(3), Norms()], ids=repr)
def test_shared_weights_are_changed_together_and_the_base_stays(adaptation: Adaptation, tmp_path: Path) -> None:
    pixels = Preprocessing((0.5,) * 3, (0.5,) * 3, 16)
    base = Encoder("module:Tied", Tied(), None, feature_dim=8, preprocessing=pixels).eval()
    student = adaptation.attach(base)
    assert isinstance(student, Adapted) and student.adapter is not None
    with torch.no_grad():
        for own in student.adapter.parameters():
            own.add_(0.1 * torch.randn(own.shape, generator=torch.Generator().manual_seed(own.numel())))
    network = copy.deepcopy(base.body)  # changed in place, by which shared weights stay one
    with torch.no_grad():
        for name, value in student.adapter.tensors(base.body).items():
            network.get_parameter(name).copy_(value)
        expected = network((PIXELS - 0.5) / 0.5)
    before = embeddings(base)

    assert torch.allclose(embeddings(student), expected, atol=1e-6)
    assert not torch.allclose(expected, before, atol=0.01)
    assert torch.equal(embeddings(base), before)
    assert torch.allclose(embeddings(merged(student)), expected, atol=1e-6)
    save_encoder(student, tmp_path, provenance={})
    assert torch.allclose(embeddings(load_encoder(tmp_path, like=base)), expected, atol=1e-6)


def test_a_low_rank_change_is_the_one_of_the_equation() -> None:
    encoder = tokens()
    student = LoRA(3).attach(encoder)
    assert torch.equal(embeddings(student), embeddings(encoder)), "at first nothing is changed"
    state, adapter = encoder.state(), student.adapter
    assert adapter is not None
    with torch.no_grad():
        for value in adapter.parameters():
            value.normal_(generator=torch.Generator().manual_seed(0))
    factors, oracle = adapter.state(), tokens()
    names = {name.removesuffix(".up") for name in factors if name.endswith(".up")}
    assert names == {"attention.in_proj_weight", "attention.out_proj.weight", "mlp.weight"}
    for name in names:
        assert factors[f"{name}.down"].shape[0] == factors[f"{name}.up"].shape[1] == 3
    oracle.load_state({k: v + factors[f"{k}.up"] @ factors[f"{k}.down"] if k in names else v for k, v in state.items()})
    torch.testing.assert_close(embeddings(student), embeddings(oracle))


def finished() -> Adapted:
    """An encoder whose adapter does not train."""
    student = LoRA(3).attach(tokens()).requires_grad_(False)
    assert isinstance(student, Adapted) and student.adapter is not None
    for change in student.adapter.changes.values():
        change.up.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr,operator]
    return student


def test_what_does_not_train_is_merged_once() -> None:
    student, made = finished(), list[int]()
    for change in student.adapter.changes.values():  # type: ignore[union-attr]
        change.register_forward_hook(lambda *_: made.append(1))
    first = embeddings(student)
    assert len(made) == 3
    assert torch.equal(embeddings(student), first) and len(made) == 3
    student.requires_grad_(True)
    embeddings(student)
    embeddings(student)
    assert len(made) == 9, "a training's weights are made anew each time"


@pytest.mark.parametrize("name", ["adapter", "base"])
def test_merged_weights_follow_what_they_are_made_of(name: str) -> None:
    student = finished()
    embeddings(student)
    with torch.no_grad():
        weight = student.adapter.changes["mlp/weight"].up if name == "adapter" else student.body.mlp.weight  # type: ignore[union-attr]
        weight.mul_(2)
    assert torch.equal(embeddings(student), embeddings(copy.deepcopy(student)))


def test_merged_weights_follow_another_precision_and_are_in_no_copy() -> None:
    student = finished()
    before = embeddings(student)
    size = len(pickle.dumps(student))
    assert size == len(pickle.dumps(finished())), "kept weights are no part of the encoder"
    twice = copy.deepcopy(student).double().float()
    assert torch.equal(embeddings(twice), before)
    rounded = student.bfloat16().float()  # at the same addresses, perhaps
    assert torch.equal(embeddings(rounded), embeddings(copy.deepcopy(rounded)))
    assert not torch.equal(embeddings(rounded), before)


def test_weights_merged_without_autograd_serve_a_gradient() -> None:
    student = finished()
    with torch.inference_mode():
        student.eval()(PIXELS)
    pixels = PIXELS.clone().requires_grad_()
    student(pixels).sum().backward()
    assert pixels.grad is not None and bool(pixels.grad.any())


def test_what_trains() -> None:
    def moving(adaptation: Adaptation, encoder: Encoder) -> set[str]:
        student = adaptation.attach(encoder)
        Hardening(student, encoder, RandomMask(0.5), MSE())
        return {name for name, own in student.named_parameters() if own.requires_grad}

    convolutions = sum(isinstance(own, nn.Conv2d) for own in resnet().body.modules())
    assert len(moving(LoRA(4), resnet())) == 2 * convolutions, "next to no linear layers: convolutions are changed"
    norms = moving(Norms(), resnet())
    assert len(norms) == 2 * sum(isinstance(own, nn.BatchNorm2d) for own in resnet().body.modules())
    assert all(name.startswith("adapters.hardened.own.") for name in norms)
    assert not any(name.startswith("head") for name in moving(Full(), resnet()))
    assert not moving(LoRA(4), tokens()) & {"patch.weight"}


def test_statistics_of_batch_norm_are_the_adapters_own() -> None:
    encoder = resnet()
    before = copy.deepcopy(encoder.state())
    student = trained(encoder, LoRA(1))
    moved = {name for name, value in student.state().items() if not torch.equal(value, before[name])}
    assert {name for name in before if "running" in name} <= moved


@pytest.mark.slow
class Centred(nn.Module):
    """A layer that is no norm by its name, and moves a buffer in training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(3, 8, 4, stride=4))
        self.mlp = nn.Linear(8, 6)
        self.register_buffer("centre", torch.zeros(8))

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self.conv(pixels).mean(dim=(2, 3))
        if self.training:
            self.centre.lerp_(rows.detach().mean(dim=0), 0.1)
        return self.mlp(rows - self.centre)


def test_a_buffer_that_training_moves_stays_that_of_the_base(tmp_path: Path) -> None:
    pixels = Preprocessing((0.5,) * 3, (0.5,) * 3, 16)
    base = Encoder("centred", Centred(), None, feature_dim=6, preprocessing=pixels).eval()
    before = {name: value.clone() for name, value in base.state().items()}
    student = trained(base, LoRA(2))
    assert isinstance(student, Adapted)
    for encoder in (base, switched(student, None)):
        assert all(torch.equal(value, before[name]) for name, value in encoder.state().items())
    save_adapter(student, tmp_path, provenance={})
    again = load_adapters(base, {"again": tmp_path}, active="again").eval()
    assert torch.equal(embeddings(again), embeddings(student.eval()))


def test_training_goes_on_after_an_interruption_to_the_bit(tmp_path: Path) -> None:
    def run(folder: str, after: int | None) -> dict[str, Tensor]:
        class Stopping(GaussianNoise):
            calls = 0

            def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
                type(self).calls += 1
                if type(self).calls == after:
                    raise KeyboardInterrupt
                return super().__call__(images, keys)

        plan = Plan(4.0, 16, 0.05, device="cpu", checkpoint_seconds=0.0)
        (tmp_path / folder).mkdir(exist_ok=True)
        student = harden_encoder(
            resnet(), IMAGES, operator=Stopping(0.2), objective=StudentTeacher(), plan=plan, adapt=LoRA(2),
            run=RunFolder(tmp_path / folder, {}), progress=False,
        )  # fmt: skip
        return student.state()

    whole = run("whole", None)
    with pytest.raises(KeyboardInterrupt):
        run("parts", 7)
    held = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert 0 < held["step"] < 12
    fixed = {name for name in held["weights"] if name.endswith("conv1.weight")}
    assert not fixed, "weights that nothing moves are no part of a checkpoint"
    parts = run("parts", None)
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_a_file_of_its_own_and_several_on_one_backbone(tmp_path: Path) -> None:
    encoder = resnet()
    answers = {}
    for name, operator, adaptation in (("mask", RandomMask(0.5), LoRA(2)), ("noise", GaussianNoise(0.3), Norms())):
        student = trained(encoder, adaptation, operator)
        save_adapter(student, tmp_path / name, provenance={"operator": repr(operator)})
        answers[name] = embeddings(student)
    told = json.loads((tmp_path / "mask" / "adapter.json").read_text())
    assert told["adapter"] == "LoRA(2)" and told["base"]["name"] == "resnet20" and len(told["base"]["sha256"]) == 64
    assert sorted(load_file(tmp_path / "noise" / "adapter.safetensors"))[0] == "bn1.bias"

    both = load_adapters(resnet(), {name: tmp_path / name for name in answers})
    assert torch.equal(embeddings(both), embeddings(encoder))
    for name, expected in answers.items():
        assert torch.equal(embeddings(switched(both, name)), expected)
    backbone = sum(own.numel() for own in encoder.parameters())
    assert sum(own.numel() for own in both.parameters()) < 1.3 * backbone
    with pytest.raises(InputError, match="unknown adapter 'fog'"):
        switched(both, "fog")


def test_an_adapter_put_on_another_base_is_refused(tmp_path: Path) -> None:
    encoder = small()
    save_adapter(LoRA(2).attach(encoder), tmp_path, provenance={})
    other = small()
    with torch.no_grad():
        other.body.last.bias[0] += 1e-6
    with pytest.raises(InputError, match="load it on the encoder that it was trained on"):
        load_adapters(other, {"it": tmp_path})
    assert load_adapters(small(), {"it": tmp_path}, active="it").active == "it"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    encoder = small()
    save_adapter(LoRA(2).attach(encoder), tmp_path, provenance={})
    about = tmp_path / "adapter.json"
    good = about.read_text()
    for text, message in (
        ("{", "not readable JSON"),
        ("{}", "does not describe an adapter"),
        (good.replace('"format": 1', '"format": 9'), "update weatherproof"),
        (good.replace("LoRA(2)", "LoRA(3)"), "do not fit"),
        (good.replace("LoRA(2)", "Full()"), "no adapter that has a file"),
        (good.replace("LoRA(2)", "exec()"), "unknown adapter"),
    ):
        about.write_text(text)
        with pytest.raises(InputError, match=message):
            load_adapters(encoder, {"it": tmp_path})
    about.unlink()
    with pytest.raises(InputError, match="holds no adapter: adapter.json missing"):
        load_adapters(encoder, {"it": tmp_path})
    with pytest.raises(InputError, match="no adapter on"):
        save_adapter(encoder, tmp_path, provenance={})


def test_saved_as_an_encoder_it_is_the_hardened_one(tmp_path: Path) -> None:
    student = trained(small(), LoRA(2))
    save_encoder(student, tmp_path, provenance={})
    assert torch.equal(embeddings(load_encoder(tmp_path)), embeddings(student))


def test_texts_and_refusals() -> None:
    for adaptation in (LoRA(16), Norms(), Full()):
        assert parse(repr(adaptation)) == adaptation
    for text, message in (
        ("LoRA(0)", "from 1 to"),
        ("LoRA", "rank"),
        ("Lora(4)", "did you mean LoRA"),
        ("LoRA(1.5)", "whole"),
    ):
        with pytest.raises(InputError, match=message):
            parse(text)
    for nothing in (None, 16):
        with pytest.raises(InputError, match=rf"a text such as LoRA\(16\), or with an attach\(\), got {nothing}"):
            parse(nothing)  # type: ignore[arg-type]
    with warnings.catch_warnings(action="ignore"):
        plain = load_encoder("torchvision:squeezenet1_0@random", num_classes=0)
    with pytest.raises(InputError, match=r"has none with weights: take LoRA\(16\)"):
        Norms().attach(plain)
    student = LoRA(2).attach(small())
    with pytest.raises(InputError, match="cannot be loaded"):
        student.load_state(student.state())
    with pytest.raises(InputError, match="no adapter on that could train"):
        switched(student, None).requires_grad_()


def test_the_factors_belong_to_the_seed() -> None:
    def digest(seed: int) -> str:
        adapter = LoRA(2).attach(small(), seed=seed).adapter
        assert adapter is not None
        return hashlib.sha256(b"".join(v.detach().numpy().tobytes() for v in adapter.parameters())).hexdigest()

    assert digest(0) == digest(0) != digest(1)
