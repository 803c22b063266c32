"""Weights as people publish them: wrapped, beside others, for another input size, quantised, empty or not a number."""

import errno
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.encoders import Encoder, Preprocessing, likely, load_encoder, read_weights, save_encoder
from weatherproof.errors import InputError
from weatherproof.readouts import Readout, load_readout, save_readout

State = dict[str, Tensor]
NAME = "small(width=4)"


@pytest.fixture(autouse=True)
def a_short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose weights they are that do not fit is another test's matter."""
    monkeypatch.setattr(likely, "_SECONDS", 0.1)


def random_encoder(text: str = NAME, **settings: object) -> Encoder:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        return load_encoder(f"{text}@random", **settings)


def state(seed: int = 0, classes: int = 3) -> State:
    return {name: value.clone() for name, value in random_encoder(num_classes=classes, seed=seed).state().items()}


def under(prefix: str, seed: int = 0) -> State:
    return {prefix + name: value for name, value in state(seed).items()}


def body(prefix: str, seed: int = 0) -> State:
    return {prefix + name: value for name, value in state(seed).items() if not name.startswith("fc.")}


def file(folder: Path, content: object, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def is_of(encoder: Encoder, seed: int) -> bool:
    own, wanted = encoder.state(), state(seed)
    return all(torch.equal(own[name], wanted[name]) for name in own)


def refusal(text: str, **settings: object) -> str:
    with pytest.raises(InputError) as caught:
        load_encoder(text, **settings)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 700
    return message


# wrappers


WRAPPED = {
    "compiled after DDP": lambda: under("_orig_mod.module."),
    "DDP after compiling": lambda: under("module._orig_mod."),
    "pytorch-cifar": lambda: {"net": under("module."), "acc": 95.1, "epoch": 199},
    "network": lambda: {"network": state()},
    "optimizer": lambda: {"model_state": state(), "optimizer": {"state": {0: {"m": torch.zeros(3)}}, "groups": [{}]}},
    "lightning": lambda: {"state_dict": under("model."), "global_step": 3, "hparams": {"lr": 0.1, "name": "x"}},
    "lightning compiled": lambda: {"state_dict": under("model._orig_mod.")},
    "deep": lambda: {"state": {"ours": {"deep": under("net.")}}},
    "the same numbers twice": lambda: {"state_dict": state(), "model": state()},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED.keys())
def test_the_networks_own_names_are_found_in_any_wrapper(tmp_path: Path, content) -> None:
    encoder = load_encoder(f"{NAME}@{file(tmp_path, content())}")
    assert is_of(encoder, 0) and encoder.num_classes == 3


def test_a_wrapped_body_without_its_classifier_is_an_encoder_without_one_and_says_what_is_left_out(
    tmp_path: Path,
) -> None:
    content = {"state_dict": body("backbone.") | {"projector.0.weight": torch.rand(5, 5), "queue_ptr": torch.ones(1)}}
    with pytest.warns(UserWarning, match=r"under state_dict\.backbone; 1 others are left out \(projector\.0\.weight\)"):
        encoder = load_encoder(f"{NAME}@{file(tmp_path, content)}")
    assert is_of(encoder, 0) and encoder.num_classes is None


BESIDE = [
    (lambda: {"state_dict": body("module.encoder_k.", 1) | body("module.encoder_q.")}, "encoder_q", "encoder_k"),
    (lambda: {"state_dict": state(1), "state_dict_ema": state()}, "state_dict_ema", "state_dict"),
    (lambda: {"model": state(1), "model_ema": under("module.")}, "model_ema.module", "model"),
    (lambda: {"state_dict": under("model.", 1) | under("ema_model.")}, "state_dict.ema_model", "state_dict.model"),
    (lambda: {"student": under("module.backbone.", 1), "teacher": body("backbone.")}, "teacher.backbone", "student"),
    (lambda: {"backbone": state(), "momentum_backbone": state(1)}, "backbone", "momentum_backbone"),
    (lambda: {"state_dict": state(), "best": state(1)}, "state_dict", "best"),
]


@pytest.mark.parametrize(("content", "taken", "other"), BESIDE, ids=[other for _, _, other in BESIDE])
def test_of_two_sets_of_weights_a_line_says_which_were_taken(tmp_path: Path, content, taken: str, other: str) -> None:
    path = file(tmp_path, content())
    with pytest.warns(UserWarning, match=rf"taken is [\w.]*{re.escape(taken)}, not [\w.]*{re.escape(other)}"):
        assert is_of(load_encoder(f"{NAME}@{path}"), 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*are left out")
        assert is_of(load_encoder(f"{NAME}@{path}#{other}"), 1)
        assert is_of(load_encoder(f"{NAME}@{path}#{taken}"), 0)


def test_of_equals_none_is_taken_and_both_are_named(tmp_path: Path) -> None:
    path = file(tmp_path, {"first": state(), "last": state(1)})
    assert "several sets of weights that fit" in refusal(f"{NAME}@{path}")
    assert "@FILE#KEY with KEY first, last" in refusal(f"{NAME}@{path}")
    assert is_of(load_encoder(f"{NAME}@{path}#last"), 1)


def test_weights_that_fit_as_they_are_stay_what_they_were_beside_others(tmp_path: Path) -> None:
    path = file(tmp_path, state() | under("best.", 1))
    with pytest.warns(UserWarning, match="taken is the outermost, not best"):
        assert is_of(load_encoder(f"{NAME}@{path}"), 0)


def test_the_shapes_decide_between_networks_of_the_same_names(tmp_path: Path) -> None:
    wide = dict(random_encoder("small(width=8)", num_classes=3).state())
    path = file(tmp_path, {"large": wide, "little": state()})
    assert is_of(load_encoder(f"{NAME}@{path}"), 0)
    assert load_encoder(f"small(width=8)@{path}").feature_dim == 64


def test_a_file_that_may_not_be_looked_at_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = file(tmp_path, state(), "closed.pth"), Path.stat

    def stat(own: Path, **settings: Any) -> os.stat_result:
        if own == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(own))
        return look(own, **settings)

    monkeypatch.setattr(Path, "stat", stat)
    assert refusal(f"{NAME}@{path}") == f"no weights file '{path}': Permission denied"


def test_a_key_can_be_given_with_a_prefix_and_a_file_may_have_a_sharp_in_its_name(tmp_path: Path) -> None:
    path = file(tmp_path, {"ours": under("a.", 1) | under("b.")}, "run#3#a.pth")
    assert is_of(load_encoder(f"{NAME}@{path}#ours.b"), 0)
    assert is_of(load_encoder(f"{NAME}@{path}#a"), 1)
    assert read_weights(f"{path}#ours.b").keys() == state().keys()
    plain = file(tmp_path, state(), "C#.pth")
    assert is_of(load_encoder(f"{NAME}@{plain}"), 0)
    assert "holds nothing under 'c': it holds ours (" in refusal(f"{NAME}@{path}#c")
    assert "no weights file" in refusal(f"{NAME}@{tmp_path}/none.pth#a")
    assert "no weights file" in refusal(f"{NAME}@{'x' * 300}.pth")
    assert "is a folder" in refusal(f"{NAME}@{tmp_path}")


def test_where_nothing_fits_the_keys_and_the_nearest_are_named(tmp_path: Path) -> None:
    partly = {name: value for name, value in under("enc.").items() if "block1" not in name}
    message = refusal(f"{NAME}@{file(tmp_path, {'state_dict': partly | {'x.y': torch.rand(2)}})}")
    assert "5 missing (block1.0.weight" in message and "holds state_dict (" in message
    assert "nearest is #state_dict.enc with" in message
    assert "holds outermost (1 tensors: w.*)" in refusal(f"{NAME}@{file(tmp_path, {'w': torch.rand(2, 2)})}")
    message = refusal(f"{NAME}@{file(tmp_path, {'epoch': 3, 'args': {}})}")
    assert "no named tensors (it has epoch, args)" in message


def test_names_of_a_file_cannot_break_the_line(tmp_path: Path) -> None:
    assert "a\\nb" in refusal(
        f"{NAME}@{file(tmp_path, {'a' + chr(10) + 'b': torch.rand(2), 'x' * 9000: torch.rand(1)})}"
    )


def test_a_projection_in_place_of_the_classifier_is_left_out(tmp_path: Path) -> None:
    content = body("encoder_q.") | {
        "encoder_q.fc.0.weight": torch.rand(9, 9),
        "encoder_q.fc.2.weight": torch.rand(5, 9),
    }
    with pytest.warns(UserWarning, match=r"fc\.0\.weight, fc\.2\.weight is not the classifier"):
        encoder = load_encoder(f"{NAME}@{file(tmp_path, content)}")
    assert encoder.num_classes is None and is_of(encoder, 0)


def test_mappings_that_hold_themselves_end(tmp_path: Path) -> None:
    content: dict[str, object] = {"net": state()}
    content["again"] = content
    assert is_of(load_encoder(f"{NAME}@{file(tmp_path, content)}"), 0)


# numbers


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["block1.0.weight"][0].fill_(torch.nan), "block1.0.weight has 25 NaN of 100"),
        (lambda s: s["last.bias"][:2].fill_(torch.inf), "last.bias has 2 infinite of 32"),
        (lambda s: s["block1.1.running_var"][:1].fill_(-torch.inf), "block1.1.running_var has 1 infinite of 4"),
        (lambda s: s.update({"last.bias": torch.full((32,), 1e300, dtype=torch.float64)}), "has 32 infinite of 32"),
        (lambda s: s.update({"last.weight": (100 * s["last.weight"]).to(torch.int8)}), "last.weight is int8"),
        (lambda s: s.update({"last.weight": s["last.weight"] > 0}), "last.weight is bool"),
        (lambda s: s.update({"last.bias": s["last.bias"] * 1j}), "last.bias is complex64"),
        (lambda s: s.update({"last.weight": s["last.weight"].to(torch.float8_e4m3fn)}), "is float8_e4m3fn"),
        (lambda s: [value.fill_(0) for value in s.values()], "5 of 5 weight matrices are constant"),
        (lambda s: [value.fill_(0.02) for value in s.values()], "these are no trained weights"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_weights_are_refused_by_name(tmp_path: Path, change, words: str) -> None:
    given = state()
    change(given)
    path = file(tmp_path, given)
    message = refusal(f"{NAME}@{path}")
    assert words in message and str(path) in message
    encoder = random_encoder(num_classes=3)
    before = {name: value.clone() for name, value in encoder.state().items()}
    with pytest.raises(InputError, match=re.escape(words)):
        encoder.load_state(given)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state().items())


def test_finite_numbers_too_large_for_their_sum_are_taken() -> None:
    encoder = random_encoder(num_classes=3)
    name = next(name for name, value in encoder.state().items() if value.ndim == 2)
    large = encoder.state()[name].clone()
    large[0, :2] = 3e38
    assert large.sum().isinf() and large.isfinite().all()
    encoder.load_state(encoder.state() | {name: large})
    assert torch.equal(encoder.state()[name], large)


def test_a_run_folder_and_its_readout_are_looked_at_too(tmp_path: Path) -> None:
    save_encoder(random_encoder(num_classes=3), tmp_path, provenance={})
    save_readout(Readout(nn.Linear(32, 2), ("a", "b")), tmp_path, provenance={})
    assert load_readout(tmp_path) is not None
    for name, call in (("encoder", load_encoder), ("readout", load_readout)):
        weights = tmp_path / f"{name}.safetensors"
        tensors = load_file(weights)
        key = next(k for k, v in tensors.items() if v.ndim == 2)
        save_file(tensors | {key: tensors[key] * torch.nan}, weights)
        with pytest.raises(InputError, match=rf"{name}.safetensors: the weights are not finite numbers, {key} has"):
            call(tmp_path)
        save_file(tensors | {key: tensors[key].to(torch.int8)}, weights)
        with pytest.raises(InputError, match=f"{key} is int8"):
            call(tmp_path)


def test_other_floats_counters_of_any_type_and_layers_that_start_at_zero_are_weights(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        given = {name: value.to(dtype) for name, value in state().items()}
        encoder = load_encoder(f"{NAME}@{file(tmp_path, given)}")
        torch.testing.assert_close(encoder.state()["last.weight"], given["last.weight"].float())
    given = state()
    for name in ("fc.weight", "last.weight", "block3.1.weight", "block1.1.bias"):
        given[name].fill_(0)
    assert load_encoder(f"{NAME}@{file(tmp_path, given)}").num_classes == 3


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "resnet10t", "xcit_nano_12_p16_224"])
def test_networks_as_they_start_are_no_empty_files(tmp_path: Path, name: str) -> None:
    import timm

    save_file(timm.create_model(name).state_dict(), tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_encoder(f"timm:{name}@{tmp_path}/w.safetensors")


class Overflow(nn.Module):
    """Finite weights, embeddings that are not."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale, self.value = nn.Parameter(torch.ones(())), value

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3)) * self.scale * self.value


def test_every_verb_refuses_an_encoder_whose_embeddings_are_no_numbers(tmp_path: Path) -> None:
    plain = Preprocessing((0.0,), (1.0,), size=None, channels=1)
    lost = Encoder("lost", Overflow(torch.nan), nn.Linear(1, 10), feature_dim=1, preprocessing=plain, num_classes=10)
    endless = Encoder("lost", Overflow(torch.inf), None, feature_dim=1, preprocessing=plain)
    verbs = (wp.audit, wp.harden, wp.probe, wp.train, wp.finetune, wp.pretrain)
    for encoder, verb in ((endless, wp.audit), *((lost, verb) for verb in verbs)):
        given = ("supervised", "digits") if verb is wp.train else (encoder, "digits")
        given = ("simclr", "digits") if verb is wp.pretrain else given
        with pytest.raises(InputError, match="lost gives embeddings that are not finite numbers for images in"):
            verb(*given, **({"encoder": encoder} if encoder not in given else {}), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_an_object_that_is_no_encoder_is_told_how_to_become_one(tmp_path: Path) -> None:
    """In a process of its own: here the tests' checker of annotations would speak first."""
    code = """if True:
        import weatherproof as wp
        from torch import nn
        net, out = nn.Sequential(nn.Linear(2, 2)), "run"
        for call in (
            lambda: wp.load_encoder(net), lambda: wp.load_encoder(7), lambda: wp.load_encoder(b"small"),
            lambda: wp.audit(net, "digits", out=out), lambda: wp.harden(net, "digits", out=out),
            lambda: wp.audit(wp.load_encoder("small"), "digits", teacher=net, out=out),
            lambda: wp.probe(net, "digits", out=out), lambda: wp.finetune(net, "digits", out=out),
            lambda: wp.train("supervised", "digits", encoder=net, out=out),
            lambda: wp.pretrain("simclr", "digits", encoder=net, out=out),
        ):
            try:
                call()
            except wp.errors.InputError as error:
                print(error)
    """
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.splitlines()
    said = "a Sequential does not say what pixels it expects: wp.load_encoder(network, mean=(0.485, 0.456, 0.406)"
    others = [f"a run folder or a torch.nn.Module, got a {kind}" for kind in ("int", "bytes")]
    expected = [said, *others, *[said] * 7]
    assert len(told) == len(expected) and all(own in line for line, own in zip(told, expected, strict=True))
    assert not [*tmp_path.iterdir()]


# another input size


def timms(name: str, size: int, weights: State) -> nn.Module:
    """What timm makes of a file when it loads it itself."""
    import timm

    overlay = {"state_dict": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name, img_size=size, pretrained=True, pretrained_cfg_overlay=overlay).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 96),
        ("vit_small_patch14_dinov2", 112),
        pytest.param("swin_tiny_patch4_window7_224", 256, marks=pytest.mark.slow),
        pytest.param("beit_base_patch16_224", 112, marks=pytest.mark.slow),  # tables of relative positions
    ],
)
def test_timms_position_embeddings_are_resampled_as_timm_does(tmp_path: Path, name: str, size: int) -> None:
    import timm

    torch.manual_seed(0)
    weights = {k: v + 0.1 * torch.randn_like(v) for k, v in timm.create_model(name).state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is assumed")
        ours = load_encoder(f"timm:{name}@{tmp_path}/w.safetensors", size=size).eval()
    plain, images = timms(name, size, weights), torch.rand(1, 3, size, size)
    wanted = plain.state_dict()
    assert all(torch.equal(value, wanted[k]) for k, value in ours.state().items())
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (ours.preprocessing.mean, ours.preprocessing.std))
    pixels = (images - mean) / std
    assert torch.equal(ours(images), plain.forward_head(plain.forward_features(pixels), pre_logits=True))

    save_encoder(ours, tmp_path / "run", provenance={})
    again = load_encoder(tmp_path / "run").eval()
    assert again.preprocessing.size == size and torch.equal(again(images), ours(images))


@torch.no_grad()
def test_a_run_can_be_loaded_at_another_size_and_a_file_of_another_size_says_so(tmp_path: Path) -> None:
    small = random_encoder("timm:vit_tiny_patch16_224", size=96, num_classes=2)
    save_encoder(small, tmp_path, provenance={})
    wanted = timms(
        "vit_tiny_patch16_224",
        64,
        dict(small.state()) | {"head.weight": torch.zeros(1000, 192), "head.bias": torch.zeros(1000)},
    )
    assert torch.equal(load_encoder(tmp_path, size=64).state()["pos_embed"], wanted.state_dict()["pos_embed"])
    with pytest.warns(UserWarning, match="another input size: pos_embed resampled to 224 px"):
        load_encoder(f"timm:vit_tiny_patch16_224@{tmp_path}/encoder.safetensors")


def test_older_names_that_timm_knows_are_read_as_timm_does(tmp_path: Path) -> None:
    """Meta's ConvNeXt calls its parts otherwise."""
    plain = random_encoder("timm:convnext_atto")
    pairs = (
        ("stem.0.", "downsample_layers.0.0."),
        ("stem.1.", "downsample_layers.0.1."),
        ("head.norm.", "norm."),
        ("head.fc.", "head."),
    )
    older = {}
    for name, value in plain.state().items():
        for now, once in pairs:
            if name.startswith(now):
                name = once + name.removeprefix(now)
        name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = re.sub(r"stages\.(\d)\.blocks\.", r"stages.\1.", name)
        name = name.replace("conv_dw.", "dwconv.").replace("mlp.fc1.", "pwconv1.").replace("mlp.fc2.", "pwconv2.")
        older[name] = value + 0
    assert "stages.0.0.dwconv.weight" in older
    ours = load_encoder(f"timm:convnext_atto@{file(tmp_path, {'model': older})}")
    assert ours.num_classes == 1000
    assert all(torch.equal(value, plain.state()[name]) for name, value in ours.state().items())


@torch.no_grad()
@pytest.mark.usefixtures("shallow_transformers")
def test_torchvisions_position_embedding_is_resampled_as_torchvision_does() -> None:
    from torchvision.models.vision_transformer import interpolate_embeddings

    encoder = random_encoder("torchvision:vit_b_32", size=64, num_classes=0)
    weights = {k: v.clone() for k, v in encoder.state().items()}
    weights["encoder.pos_embedding"] = torch.randn(1, 1 + 7 * 7, 768)
    encoder.load_state(weights)
    wanted = interpolate_embeddings(64, 32, dict(weights))["encoder.pos_embedding"]
    assert torch.equal(encoder.state()["encoder.pos_embedding"], wanted)


@torch.no_grad()
def test_open_clips_position_embedding_is_resampled_as_open_clip_does() -> None:
    pytest.importorskip("open_clip", reason="open_clip is an extra")
    from types import SimpleNamespace

    from open_clip.model import resize_pos_embed

    encoder = random_encoder("open_clip:ViT-S-32-alt", size=96)
    weights = {k: v.clone() for k, v in encoder.state().items()}
    weights["visual.positional_embedding"] = torch.randn(1 + 7 * 7, weights["visual.positional_embedding"].shape[1])
    encoder.load_state(weights | {"logit_scale": torch.ones(())})
    resize_pos_embed(weights, SimpleNamespace(visual=encoder.body))
    assert torch.equal(encoder.state()["visual.positional_embedding"], weights["visual.positional_embedding"])


def test_what_the_library_cannot_convert_is_refused_as_before(tmp_path: Path) -> None:
    given = dict(random_encoder("timm:vit_tiny_patch16_224").state())
    del given["blocks.3.attn.qkv.weight"]
    assert "1 missing (blocks.3.attn.qkv.weight)" in refusal(
        f"timm:vit_tiny_patch16_224@{file(tmp_path, given)}", size=64
    )


def test_the_command_line_takes_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from weatherproof.cli import main

    for kind in ("a", "b"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    path = file(tmp_path, {"first": state(), "last": state(1)})
    images, out = str(tmp_path / "photos"), ["--out", str(tmp_path / "run")]
    assert main(["audit", f"{NAME}@{path}", images, *out]) == 2
    assert "@FILE#KEY with KEY first, last" in capsys.readouterr().err
    assert main(["audit", f"{NAME}@{path}#last", images, *out, "--realizations", "1"]) == 0
