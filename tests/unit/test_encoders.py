"""Loading an encoder from its text, its weights and its run folder, and all the ways in which that can fail."""

import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import weatherproof
from weatherproof.encoders import ENCODERS, Encoder, Preprocessing, adapter, load_encoder, read_weights, save_encoder
from weatherproof.encoders.preprocessing import require_pixels, to_input
from weatherproof.errors import InputError

quiet = pytest.mark.filterwarnings("ignore:.*randomly initialised")


def message_of(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.fixture
def run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = load_encoder("small(width=4)", num_classes=3)
    save_encoder(encoder, tmp_path / "run", provenance={})
    return tmp_path / "run"


# preprocessing


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_is_torchvisions(interpolation):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    images = torch.rand(2, 3, 37, 50)
    ours = to_input(images, Preprocessing((0.0,) * 3, (1.0,) * 3, size=24, interpolation=interpolation))
    theirs = functional.resize(images, [24, 24], InterpolationMode(interpolation), antialias=True)
    torch.testing.assert_close(ours, theirs)


def test_grey_of_rgb_is_pils():
    from PIL import Image

    rgb = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    grey = to_input(rgb[None] / 255, Preprocessing((0.0,), (1.0,), size=None, channels=1))
    pil = Image.fromarray(rgb.permute(1, 2, 0).numpy()).convert("L")
    theirs = torch.tensor(list(pil.tobytes())).view(8, 9)
    assert (255 * grey[0, 0] - theirs).abs().max() <= 1


def test_pixels_are_normalised_inside():
    class Look(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, pixels):
            return pixels * self.scale

    preprocessing = Preprocessing((0.5, 0.25, 0.0), (0.5, 0.25, 2.0), size=None)
    encoder = Encoder("look", Look(), None, feature_dim=3, preprocessing=preprocessing)
    embedding = encoder(torch.ones(1, 3, 4, 4))  # a map: averaged
    torch.testing.assert_close(embedding, torch.tensor([[1.0, 3.0, 0.5]]))


def test_what_is_no_image_is_refused():
    preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3, size=None)
    assert "uint8" in message_of(to_input, torch.zeros(1, 3, 4, 4, dtype=torch.uint8), preprocessing)
    for images in (np.zeros((1, 3, 4, 4), np.float32), [[0.5]], None):
        said = f"as a tensor (torch.from_numpy makes one of an array), got {type(images).__name__}"
        assert said in message_of(require_pixels, images)
    assert "[3, 4, 4]" in message_of(to_input, torch.zeros(3, 4, 4), preprocessing)
    assert "with 4" in message_of(to_input, torch.zeros(1, 4, 4, 4), preprocessing)


def test_preprocessing_is_checked():
    assert "3 channels" in message_of(Preprocessing, (0.5,), (0.5,), size=None)
    assert "above 0" in message_of(Preprocessing, (0.5,), (0.0,), size=None, channels=1)
    assert "at least 1 pixel" in message_of(Preprocessing, (0.5,), (1.0,), size=0, channels=1)
    assert "bicubic" in message_of(Preprocessing, (0.5,), (1.0,), size=4, channels=1, interpolation="lanczos")


# names and options


def test_without_weights_there_is_one_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_encoder("resnet20")
    assert [w.category for w in caught] == [UserWarning]
    assert "randomly initialised" in str(caught[0].message)


def test_an_encoder_passes_through(run):
    encoder = load_encoder(run)
    assert load_encoder(encoder) is encoder


@quiet
def test_options_and_size():
    assert 2 * load_encoder("small(width=8)").feature_dim == load_encoder("small(width=16)").feature_dim
    encoder = load_encoder("resnet20", size=16)
    seen = []
    encoder.body.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    encoder(torch.rand(2, 1, 40, 30))
    assert seen == [(2, 3, 16, 16)]


@quiet
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet21", "did you mean resnet20"),
        ("no/such/run", "no folder no/such/run: expected a run folder"),
        ("small(wide=3)", "no option wide: it has width, channels"),
        ("lenet(width=3)", "it has none"),
        ("small(3)", "options like small(width=32)"),
        ("small(width=", "options like small(width=32)"),
        ("small(width=0)", "at least 1"),
        ("torchvision:resnet19", "did you mean resnet1"),
        ("torchvision:resnet18(pretrained=True)", "no options"),
        ("torchvision:fcn_resnet50", "unknown torchvision encoder"),
        ("timm:resnet10x", "resnet10t"),
        ("timm:hf-hub:timm/resnet10t.c3_in1k", "unknown timm encoder"),
        ("timm:resnet10t.nonsense", "nonsense"),
        ("timm:test_vit(deep=3)@random", "unexpected keyword argument 'deep'"),
        ("timm:test_vit(embed_dim=0)@random", "cannot be built with {'embed_dim': 0}"),
        ("timm:test_vit(norm_layer='nothing')@random", "timm knows no 'nothing'"),
        ("timm:resnet18(layers=(1,))@random", "cannot be built with {'layers': (1,)}"),
        ("timm:test_vit(embed_dim=131072)@random", "would have more than 1,073,741,824 weights, 4 GB: give smaller"),
        ("timm:test_vit(depth=10000000)@random", "depth of timm:test_vit must be at most 131,072, got 10000000"),
        ("timm:resnet18(layers=(1, 1, 1, 1000000))@random", "layers of timm:resnet18 must be at most 131,072"),
        ("timm:test_vit(num_classes=3)@random", "num_classes is no option"),
        ("timm:test_vit(checkpoint_path='x.pth')@random", "leave it out"),
        ("timm:test_vit(depth=2", "cannot read the encoder 'timm:test_vit(depth=2'"),
        ("small@", "nothing stands after the @ of 'small@'"),
        ("timm:test_vit@", "nothing stands after the @"),
        ("timm:test_vit(depth=2)", "publishes is without options: write timm:test_vit(depth=2)@random"),
    ],
)
def test_what_cannot_be_built(text, words):
    assert words in message_of(load_encoder, text)


def test_building_what_no_memory_holds_ends_at_the_limit(monkeypatch):
    """A hundred thousand small layers take minutes before all their weights are counted."""
    monkeypatch.setattr(adapter, "_MOST_PARTS", 500)
    text = "timm:test_vit(depth=100000)@random"
    assert "would have more than 500 modules and tensors: give smaller options" in message_of(load_encoder, text)


@quiet
def test_settings_that_cannot_be():
    assert "fixed input of 28x28" in message_of(load_encoder, "lenet", size=32)
    assert "at least 1 pixel" in message_of(load_encoder, "resnet20", size=0)
    assert "at least 0" in message_of(load_encoder, "resnet20", num_classes=-1)
    assert "several classifiers at once" in message_of(load_encoder, "timm:crossvit_9_240@random", num_classes=3)


def test_open_clip_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert "pip install 'weatherproof[clip]'" in message_of(load_encoder, "open_clip:RN101")


def test_open_clip_names_and_classes(tmp_path):
    pytest.importorskip("open_clip", reason="open_clip is an extra")
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    at = f"@{tmp_path}/w.safetensors"
    assert "did you mean RN101" in message_of(load_encoder, "open_clip:RN102" + at)
    assert "did you mean openai" in message_of(load_encoder, "open_clip:RN101/openia" + at)
    assert "no classifier for 3" in message_of(load_encoder, "open_clip:RN101/openai" + at, num_classes=3)


def test_libraries_are_imported_when_asked_for():
    heavy = "{'torchvision', 'timm', 'open_clip'}"
    code = f"import sys, weatherproof.encoders; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# weights files


def test_tensors_come_out_of_every_kind_of_file(tmp_path):
    tensors = {"conv.weight": torch.rand(2, 2), "conv.bias": torch.rand(2)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in tensors.items()}}, tmp_path / "c.th")
    torch.save({"model": {k: torch.nn.Parameter(v) for k, v in tensors.items()}}, tmp_path / "d.pth")
    torch.save(tensors, tmp_path / "e.pth", _use_new_zipfile_serialization=False)
    for file in tmp_path.iterdir():
        read = read_weights(file)
        assert read.keys() == tensors.keys(), file.name
        assert all(torch.equal(read[k], v) and not read[k].requires_grad for k, v in tensors.items())


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_objects_are_refused_and_never_run(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"weight": Evil()}))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "b.pt")
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": Evil()}, tmp_path / "c.pt")
    for file in tmp_path.iterdir():
        message = message_of(read_weights, file)
        assert "only tensors are read" in message and "safetensors" in message
    assert capsys.readouterr().out == ""


def test_damaged_files_are_named(tmp_path):
    save_file({"w": torch.rand(100)}, tmp_path / "w.safetensors")
    torch.save({"w": torch.rand(100)}, tmp_path / "w.pt")
    for file in (tmp_path / "w.safetensors", tmp_path / "w.pt"):
        whole = file.read_bytes()
        for content in (
            whole[: len(whole) // 2],
            whole[:5],
            b"",
            b"\x00" * 200,
            b"not weights at all, just text",
            b"{}",
        ):
            file.write_bytes(content)
            assert str(file) in message_of(read_weights, file)


def test_files_without_weights(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    assert "no named tensors" in message_of(read_weights, tmp_path / "list.pt")
    assert "no named tensors" in message_of(read_weights, tmp_path / "epoch.pt")
    assert "no weights file" in message_of(read_weights, tmp_path / "nothing.pt")
    assert "is a folder" in message_of(read_weights, tmp_path)


def test_a_file_beside_the_missing_one_is_named(tmp_path):
    """One with its name and another ending, with what makes it the one that is wanted."""
    wanted, other = tmp_path / "w.safetensors", tmp_path / "w.pth"
    torch.save({"w": torch.zeros(1)}, other)
    command = f"weatherproof prepare weights {other} --out {wanted}"
    assert message_of(read_weights, wanted) == f"no weights file '{wanted}'; {other} lies beside it: {command}"
    assert message_of(read_weights, tmp_path / "w.th").endswith(f"beside it: mv {other} {tmp_path / 'w.th'}")
    other.rename(wanted)
    assert message_of(read_weights, other).endswith(f"{wanted} lies beside it: give that")
    assert message_of(read_weights, tmp_path / "v.pth") == f"no weights file '{tmp_path / 'v.pth'}'"


def test_weights_that_do_not_fit_are_counted_and_named(run, tmp_path):
    state = dict(read_weights(run / "encoder.safetensors"))
    expected = list(state["block2.0.weight"].shape)
    del state["block1.0.weight"], state["fc.bias"]
    state["block2.0.weight"] = torch.zeros(1, 2)
    for i in range(5):
        state[f"strange{i}"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    message = message_of(load_encoder, f"small(width=4)@{tmp_path}/w.safetensors")
    assert "2 missing (block1.0.weight, fc.bias)" in message
    assert "5 unexpected (strange0, strange1, strange2, ...)" in message
    assert f"1 misshapen (block2.0.weight is [1, 2], expected {expected})" in message


def test_the_head_follows_the_file(run):
    file = f"small(width=4)@{run}/encoder.safetensors"
    assert load_encoder(file).num_classes == 3
    assert load_encoder(file, num_classes=0).head is None
    features = load_encoder(file).feature_dim
    expected = f"fc.weight is [3, {features}], expected [5, {features}]"
    assert expected in message_of(load_encoder, file, num_classes=5)


def test_a_file_without_head_gives_an_encoder_without_head(run, tmp_path):
    state = {k: v for k, v in read_weights(run / "encoder.safetensors").items() if not k.startswith("fc.")}
    save_file(state, tmp_path / "w.safetensors")
    assert load_encoder(f"small(width=4)@{tmp_path}/w.safetensors").num_classes is None


# run folders


@quiet
def test_shared_memory_can_be_saved(tmp_path):
    encoder = load_encoder("resnet20", num_classes=64)
    encoder.body.layer1[0].conv2.weight = encoder.body.layer1[0].conv1.weight
    save_encoder(encoder, tmp_path, provenance={})
    again = load_encoder(tmp_path)
    assert torch.equal(again.body.layer1[0].conv2.weight, encoder.body.layer1[0].conv1.weight)


@quiet
def test_a_changed_preprocessing_survives(tmp_path):
    encoder = load_encoder("torchvision:resnet18@random", size=96, num_classes=2)
    save_encoder(encoder, tmp_path, provenance={"teacher": "x"})
    assert load_encoder(tmp_path).preprocessing.size == 96
    assert load_encoder(tmp_path, size=64).preprocessing.size == 64
    settings = json.loads((tmp_path / "encoder.json").read_text())
    assert settings["weatherproof"] == weatherproof.__version__ and settings["format"] == 1


def test_an_unfinished_run_says_what_is_missing(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "encoder.json and encoder.safetensors missing" in message_of(load_encoder, tmp_path / "empty")
    (run / "encoder.safetensors").unlink()
    assert "run: encoder.safetensors missing" in message_of(load_encoder, run).replace("no finished ", "")
    assert "no folder" in message_of(load_encoder, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"format": 1', '"format": 99'),
        ('"name": "small"', '"name": "big"'),
        ('"feature_dim": ', '"feature_dim": "many", "x": '),
        ('"feature_dim": ', '"feature_dim": 1'),
        ('"width": 4', '"width": 8'),
        ('"width": 4', '"depth": 8'),
        ('"width": 4', '"width": "four"'),
        ('"num_classes": 3', '"num_classes": 4'),
        ('"std"', '"sdt"'),
        ('"channels": 1,\n    "interp', '"channels": 3,\n    "interp'),
        ("bilinear", "by hand"),
        ('"options": {', '"options": 3, "x": {'),
    ],
)
def test_a_wrong_encoder_json_is_one_clear_line(run, old, new):
    file = run / "encoder.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    message_of(load_encoder, run)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1', b"[]", b"null", b"7", b"\xff\xfe\x00garbage"])
def test_a_damaged_encoder_json_is_one_clear_line(run, content):
    (run / "encoder.json").write_bytes(content)
    assert "encoder.json" in message_of(load_encoder, run)


def test_damaged_weights_in_a_run(run):
    file = run / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "encoder.safetensors" in message_of(load_encoder, run)


def test_both_files_may_be_read_by_the_same_people(run):
    modes = {file.stat().st_mode & 0o777 for file in run.iterdir()}
    assert len(modes) == 1


def test_a_failed_save_leaves_the_old_files(run):
    before = (run / "encoder.json").read_bytes(), (run / "encoder.safetensors").read_bytes()
    with pytest.raises(TypeError):
        save_encoder(load_encoder(run), run, provenance={"bad": object()})
    assert ((run / "encoder.json").read_bytes(), (run / "encoder.safetensors").read_bytes()) == before


def test_native_names():
    assert set(ENCODERS) == {
        "small", "lenet", "resnet18-cifar", "resnet50-cifar", "resnet20", "resnet56", "resnetv2-50",
    }  # fmt: skip
