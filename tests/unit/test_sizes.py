"""Sizes other than an encoder's own: rows x columns, patches that do not divide, and position embeddings."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import interpolate

import weatherproof as wp
from weatherproof import cli, texts
from weatherproof.data.decoding import Decoder
from weatherproof.encoders import Preprocessing, load_encoder, map_place, save_encoder
from weatherproof.encoders.preprocessing import to_input
from weatherproof.errors import InputError
from weatherproof.objectives import Dense, StudentTeacher
from weatherproof.sizes import Size, nearest, sides, size_of, size_words
from weatherproof.training import Plan, harden_encoder
from weatherproof.verbs.inputs import augmentation


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, None), (224, 224), ("224", 224), ("224x288", (224, 288)), (" 224 × 288 ", (224, 288)),
        ((224, 288), (224, 288)), ([224, 288], (224, 288)), ("96X96", 96), ((96, 96), 96), ((7,), 7),
    ],
    ids=repr,
)  # fmt: skip
def test_a_size_is_a_side_or_rows_and_columns(given: object, read: Size | None) -> None:
    assert size_of(given) == read  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "given",
    ["", "x", "224x", "x224", "1x2x3", "-4", "4.5", "²", "9" * 99, "0x0", (), (1, 2, 3), (1.0, 2), (True, 3), True],
    ids=repr,
)  # fmt: skip
def test_what_is_no_size_is_refused(given: object) -> None:
    with pytest.raises(InputError, match="size"):
        size_of(given)  # type: ignore[call-overload]


@pytest.mark.parametrize("given", [0, -3, 8193, (224, 8193), "224x0", 1 << 80])
def test_a_size_out_of_range_is_refused(given: object) -> None:
    for refused in (load_encoder, lambda name, size: wp.load_images("digits", size=size)):
        with pytest.raises(InputError, match=r"at least 1( pixel)? and at most 8,192"):
            refused("resnet20", size=given)  # type: ignore[arg-type, operator]


def test_the_nearest_sizes_that_a_patch_divides() -> None:
    assert nearest(250, (16, 16)) == (240, 256)
    assert nearest((224, 290), (14, 14)) == ((224, 280), (224, 294))
    assert nearest(5, (16, 16)) == (16, 16)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (33, 500), (20, 31)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
@pytest.mark.parametrize("size", [(48, 64), (64, 48), (30, 90)])
def test_an_image_covers_the_rows_and_columns_and_its_middle_is_cut_out(
    shape: tuple[int, int], crop_fraction: float, size: tuple[int, int]
) -> None:
    from torchvision.transforms.v2 import CenterCrop

    y, x = np.mgrid[0 : 1 : shape[1] * 1j, 0 : 1 : shape[0] * 1j]
    image = Image.fromarray(np.round(np.stack([x, y, (x + y) / 2], -1) * 255).astype(np.uint8))
    rows, columns = (round(side / crop_fraction) for side in size)
    scale = max(columns / shape[0], rows / shape[1])
    large = image.resize((max(columns, int(shape[0] * scale + 1e-9)), max(rows, int(shape[1] * scale + 1e-9))), 2)
    expected = np.asarray(CenterCrop(size)(large)).astype(int)
    found = Decoder(size, crop_fraction).array(np.asarray(image).transpose(2, 0, 1))
    assert found.shape == (3, *size)
    assert np.abs(found.transpose(1, 2, 0) - expected).max() <= 1


def test_a_jpeg_that_lies_on_its_side_is_read_at_rows_and_columns(tmp_path: Path) -> None:
    y, x = np.mgrid[0 : 1 : 600 * 1j, 0 : 1 : 900 * 1j]
    upright = Image.fromarray(np.round(np.stack([x, y, (x + y) / 2], -1) * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = Decoder((40, 80)).file(str(tmp_path / "a.jpg")).astype(int)
    wanted = Decoder((40, 80)).array(np.asarray(upright).transpose(2, 0, 1)).astype(int)
    assert found.shape == (3, 40, 80) and np.abs(found - wanted).max() <= 4


def test_images_are_squeezed_to_what_the_encoder_takes() -> None:
    wide = Preprocessing((0.0,) * 3, (1.0,) * 3, size=(8, 12))
    pixels = torch.rand(2, 3, 8, 12)
    assert to_input(pixels, wide) is pixels
    assert to_input(torch.rand(2, 3, 20, 20), wide).shape == (2, 3, 8, 12)
    told = {"mean": [0], "std": [1], "size": [8, 12], "channels": 1, "interpolation": "bicubic"}  # as JSON has it
    assert Preprocessing.from_dict(told).size == (8, 12)


@torch.no_grad()
@pytest.mark.parametrize("size", [(48, 80), (33, 32), 50], ids=str)
def test_timms_position_embeddings_at_any_size_are_those_of_timm(tmp_path: Path, size: Size) -> None:
    """test_vit has patches of 16: what they do not divide is padded, by timm itself."""
    import timm

    torch.manual_seed(0)
    weights = {k: v + 0.1 * torch.randn_like(v) for k, v in timm.create_model("test_vit").state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    rows, columns = (size, size) if isinstance(size, int) else size
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ours = load_encoder(f"timm:test_vit@{tmp_path}/w.safetensors", size=size).eval()
    whole = rows % 16 == columns % 16 == 0
    assert any("need no padding" in str(one.message) for one in said) is not whole
    padded = (-(-rows // 16) * 16, -(-columns // 16) * 16)
    settings = (
        {"img_size": padded} if whole else {"img_size": padded, "dynamic_img_size": True, "dynamic_img_pad": True}
    )
    overlay = {"state_dict": dict(weights), "num_classes": 1000, "label_offset": 0}
    plain = timm.create_model("test_vit", pretrained=True, pretrained_cfg_overlay=overlay, **settings).eval()
    pixels, pre = torch.rand(2, 3, rows, columns), ours.preprocessing
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (pre.mean, pre.std))
    assert torch.equal(ours.logits(pixels), plain((pixels - mean) / std))
    assert map_place(ours).shape == (64, padded[0] // 16, padded[1] // 16)
    save_encoder(ours, tmp_path / "run", provenance={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the padding, once more
        again = load_encoder(tmp_path / "run").eval()
    assert again.preprocessing == pre and torch.equal(again(pixels), ours(pixels))
    plain.set_input_size((96, 96))
    moved = load_encoder(tmp_path / "run", size=96)
    assert torch.equal(moved.state()["pos_embed"], plain.pos_embed)


@pytest.mark.parametrize(
    ("text", "size", "reason"),
    [
        (
            "timm:mixer_s32_224@random",
            100,
            "its patch of 32x32 does not divide: the nearest sizes are 96x96 and 128x128",
        ),
        ("torchvision:vit_b_32@random", (64, 96), "takes squares alone"),
        ("lenet", (28, 30), "fixed input of 28x28 pixels: leave out the size 28x30"),
    ],
)
def test_a_size_that_a_network_cannot_have_is_refused_with_those_that_it_can(
    text: str, size: Size, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        load_encoder(text, size=size)


def test_open_clips_towers_take_the_sizes_that_open_clip_gives_them() -> None:
    pytest.importorskip("open_clip")
    wide = load_encoder("open_clip:ViT-S-32@random", size=(32, 96))
    assert wide.eval()(torch.rand(1, 3, 32, 96)).shape == (1, 384)
    with pytest.raises(InputError, match="takes squares alone"):
        load_encoder("open_clip:RN50@random", size=(64, 96))


@torch.no_grad()
@pytest.mark.usefixtures("shallow_transformers")
@pytest.mark.parametrize("size", [64, (96, 64), (32, 96)], ids=str)
def test_what_an_open_clip_run_knows_of_rows_and_columns_is_resampled_from_these(tmp_path: Path, size: Size) -> None:
    """(50, 70) is padded to 2 x 3 patches: 3 x 2 are as many, and a 2 x 2 is resampled from no square."""
    pytest.importorskip("open_clip")
    with pytest.warns(UserWarning, match="padded to 64x96"):
        encoder = load_encoder("open_clip:ViT-S-32@random", size=(50, 70))
    save_encoder(encoder, tmp_path, provenance={})
    known, (rows, columns) = encoder.state()["visual.positional_embedding"], sides(size)
    moved = load_encoder(tmp_path, size=size).eval()
    grid = known[1:].reshape(1, 2, 3, -1).permute(0, 3, 1, 2)
    wanted = interpolate(grid, (rows // 32, columns // 32), mode="bicubic", antialias=True)
    found = moved.state()["visual.positional_embedding"]
    assert torch.equal(found[:1], known[:1]) and torch.allclose(found[1:].T, wanted[0].flatten(1), atol=1e-6)
    assert moved(torch.rand(1, 3, rows, columns)).shape == (1, 384)


@pytest.mark.usefixtures("shallow_transformers")
def test_a_run_of_a_tower_of_timm_in_open_clip_moves_from_its_own_size(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    encoder = load_encoder("open_clip:vit_medium_patch16_gap_256@random", size=48)
    save_encoder(encoder, tmp_path, provenance={})
    encoder.body.set_input_size((32, 64))  # type: ignore[operator]
    moved, wanted = load_encoder(tmp_path, size=(32, 64)).state(), encoder.state()
    assert all(torch.equal(moved[name], value) for name, value in wanted.items())


@pytest.mark.parametrize(
    ("text", "own", "size"),
    [
        ("timm:cait_xxs24_224(depth=1)", (32, 64), (64, 32)), ("timm:cait_xxs24_224(depth=1)", 64, (32, 128)),
        ("timm:tnt_s_legacy_patch16_224(depth=1)", (32, 128), 96),  # timm takes the 2 x 8 patches for 4 x 4
        ("timm:levit_128s", (64, 128), (128, 64)),
    ],
    ids=str,
)  # fmt: skip
def test_a_run_of_timm_at_a_size_at_which_its_positions_would_be_others_is_refused(
    text: str, own: Size, size: Size, tmp_path: Path
) -> None:
    encoder = load_encoder(f"{text}@random", size=own, num_classes=0)
    save_encoder(encoder, tmp_path, provenance={})
    with pytest.raises(InputError, match=f"comes to no other size: leave out the size {size_words(size)}"):
        load_encoder(tmp_path, size=size)
    again, wanted = load_encoder(tmp_path, size=own).state(), encoder.state()
    assert all(torch.equal(again[name], value) for name, value in wanted.items())


def test_a_file_at_as_many_patches_in_other_rows_is_resampled_from_its_square(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    plain = timm.create_model("test_vit")  # of 10 x 10 patches
    torch.nn.init.normal_(plain.pos_embed)
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    square = load_encoder(f"timm:test_vit@{tmp_path}/w.safetensors")
    wide = load_encoder(f"timm:test_vit@{tmp_path}/w.safetensors", size=(80, 320))
    plain.set_input_size((80, 320))
    assert torch.equal(wide.state()["pos_embed"], plain.pos_embed)
    assert not torch.equal(wide.state()["pos_embed"], square.state()["pos_embed"])


def test_a_file_at_as_many_patches_in_other_rows_is_refused_where_nothing_resamples_it(tmp_path: Path) -> None:
    text = "timm:cait_xxs24_224(depth=1)"
    save_file(load_encoder(f"{text}@random").state(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="was made for 224 pixels, .* leave out the size 112x448"):
        load_encoder(f"{text}@{tmp_path}/w.safetensors", size=(112, 448))


@torch.no_grad()
@pytest.mark.parametrize("text", ["timm:resnet10t", "timm:xcit_nano_12_p8_224(depth=1)", "timm:efficientvit_m0"])
def test_a_run_of_timm_without_a_grid_of_positions_takes_a_turned_size(text: str, tmp_path: Path) -> None:
    encoder = load_encoder(f"{text}@random", size=(64, 128), num_classes=0)
    save_encoder(encoder, tmp_path, provenance={})
    turned, wanted = load_encoder(tmp_path, size=(128, 64)).eval(), encoder.state()
    assert all(torch.equal(turned.state()[name], value) for name, value in wanted.items())
    assert turned(torch.rand(1, 3, 128, 64)).shape == (1, encoder.feature_dim)


@torch.no_grad()
@pytest.mark.usefixtures("shallow_transformers")
@pytest.mark.parametrize("text", ["torchvision:vit_b_32", "open_clip:ViT-S-32", "open_clip:vit_medium_patch16_gap_256"])
def test_a_patch_that_does_not_divide_is_padded_as_timm_does_it(text: str, tmp_path: Path) -> None:
    """With rows below and columns to the right of zeros after the normalisation, once, and the same from a run."""
    if text.startswith("open_clip"):
        pytest.importorskip("open_clip")
    step = 16 if "16" in text else 32
    size, larger = 3 * step + 4, 4 * step
    with pytest.warns(UserWarning, match=f"padded to {larger}x{larger}; {3 * step}x.* and {larger}x.* need no padding"):
        encoder = load_encoder(f"{text}@random", size=size, num_classes=0).eval()
    whole = load_encoder(f"{text}@random", size=larger, num_classes=0).eval()
    pixels = torch.rand(2, 3, size, size)
    seen = torch.zeros(2, 3, larger, larger)
    seen[:, :, :size, :size] = (pixels - whole.mean) / whole.std
    assert torch.equal(encoder(pixels), whole.body(seen)) and encoder.preprocessing.size == size
    assert torch.equal(encoder(pixels), encoder.clone()(pixels))
    assert map_place(encoder).shape[1:] == (4, 4)
    save_encoder(encoder, tmp_path / "run", provenance={})
    with pytest.warns(UserWarning, match="need no padding"):
        again = load_encoder(tmp_path / "run").eval()
    assert again.preprocessing == encoder.preprocessing and torch.equal(again(pixels), encoder(pixels))


@pytest.mark.usefixtures("shallow_transformers")
def test_position_embeddings_of_a_padded_size_are_torchvisions(tmp_path: Path) -> None:
    from torchvision.models import vision_transformer

    torch.manual_seed(0)
    plain = vision_transformer.vit_b_32()
    weights = {name: value + 0.1 * torch.randn_like(value) for name, value in plain.state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.warns(UserWarning, match="does not divide 100x100 pixels, which are padded to 128x128"):
        encoder = load_encoder(f"torchvision:vit_b_32@{tmp_path}/w.safetensors", size=100)
    wanted = vision_transformer.interpolate_embeddings(128, 32, weights)  # type: ignore[arg-type]
    assert torch.equal(encoder.state()["encoder.pos_embedding"], wanted["encoder.pos_embedding"])


def test_crops_of_images_that_are_no_squares_keep_their_shape() -> None:
    images = wp.load_images("digits", size=(64, 96))
    chosen = augmentation("auto", images)
    assert repr(chosen).startswith("Chain(RandomResizedCrop((64, 96), scale=(0.2, 1.0), ratio=(1.125, 2.0))")
    batch = images.read(torch.arange(3)).float() / 255
    assert chosen(batch, wp.random.keys(0, torch.arange(3))).shape == (3, 1, 64, 96)  # type: ignore[misc]
    assert repr(augmentation("auto", wp.load_images("digits", size=64))).startswith(
        "Chain(RandomResizedCrop(64, scale=(0.2, 1.0)), H"
    )


@pytest.mark.slow
def test_rows_and_columns_go_through_harden_gauge_gate_and_audit(tmp_path: Path) -> None:
    run = wp.harden(
        "small@random", "digits", operator="RandomMask((0.0, 0.9))", size=(24, 40), epochs=0.2, batch_size=64,
        realizations=1, test_images=60, workers=0, out=tmp_path / "run", adapt="Norms()",
    )  # fmt: skip
    gate = load_encoder(run.folder)
    assert gate.preprocessing.size == (24, 40) and gate.gauge(torch.rand(3, 1, 24, 40)).level.shape == (3,)
    assert "size: 24x40" in (tmp_path / "run" / "recipe.yaml").read_text()
    settings = {"operator": "RandomMask(0.5)", "realizations": 1, "test_images": 60, "workers": 0}
    audited = wp.audit(str(run.folder), "digits", **settings, out=tmp_path / "audit")
    assert audited.to_dict()["records"]


def test_rows_and_columns_are_hardened_saved_and_loaded(tmp_path: Path) -> None:
    images = wp.load_images("digits", size="24x40")
    assert images.image_size == (24, 40)
    teacher = load_encoder("timm:test_vit@random", size="32x48")
    damage, plan = wp.operators.parse("RandomMask((0.0, 0.9))"), Plan(epochs=0.01, batch_size=8, lr=1e-3, device="cpu")
    student = harden_encoder(
        teacher, images, operator=damage, objective=StudentTeacher(), plan=plan, dense=Dense(), progress=False,
        augment=augmentation("auto", images),
    )  # fmt: skip
    save_encoder(student, tmp_path / "run", provenance={})
    again, pixels = load_encoder(tmp_path / "run").eval(), images.read(torch.arange(4)).float() / 255
    assert again.preprocessing.size == (32, 48) and torch.equal(again(pixels), student(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "pirl"])
def test_rows_and_columns_are_pretrained(tmp_path: Path, method: Any) -> None:
    run = wp.pretrain(
        method, "digits", encoder="small(width=4)", views="urrl", size=(24, 40), epochs=0.02, batch_size=16, workers=0,
        test_images=20, labels=[1.0], out=tmp_path / "run",
    )  # fmt: skip
    assert load_encoder(run.folder).preprocessing.size == (24, 40)
    assert f"{'InstDis' if method == 'pirl' else 'SimCLR'}((24, 40))" in str(run.records)


@pytest.mark.slow
@torch.no_grad()
def test_a_classifier_inside_a_head_that_pools_is_found() -> None:
    """timm gives the whole head of its sequencer as classifier, and publishes the linear layer in it."""
    import timm

    ours = load_encoder("timm:sequencer2d_s@random", size=63).eval()
    plain, pixels = timm.create_model("sequencer2d_s", img_size=63).eval(), torch.rand(1, 3, 63, 63)
    plain.load_state_dict(ours.state())
    normalised = (pixels - ours.mean) / ours.std
    assert torch.equal(ours.logits(pixels), plain(normalised))
    assert torch.equal(ours(pixels), plain.forward_head(plain.forward_features(normalised), pre_logits=True))


@pytest.mark.parametrize("given", ["0x40", "1:00", "0b11", "064", "1:2:3"])
def test_a_number_that_yaml_alone_would_see_is_no_size(given: str, tmp_path: Path) -> None:
    assert texts.parse_argument(given) == given
    (tmp_path / "recipe.yaml").write_text(f"size: {given}\n")
    assert texts.read_yaml(tmp_path / "recipe.yaml") == {"size": given}
    if given != "064":  # digits: it is 64
        with pytest.raises(InputError, match="size"):
            size_of(given)


@pytest.mark.parametrize("given", [["--size", "0x40"], ["--size=1:00"], ["--batch-size", "010"]])
def test_nor_is_it_a_number_on_the_command_line(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["embed", "small@random", "digits", *given]) == 2
    assert "is a number in decimal digits" in capsys.readouterr().err


def test_plain_numbers_stay_numbers() -> None:
    assert [texts.parse_argument(word) for word in ("64", "-3", "0", "1e3", "0.5")] == [64, -3, 0, 1000.0, 0.5]
