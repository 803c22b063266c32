"""Rows x columns and more channels where images come from, and where embeddings and networks go to."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import weatherproof as wp
from weatherproof.data import MemoryImages, PackedImages, load_images
from weatherproof.encoders import save_encoder
from weatherproof.encoders.libraries.transformers import build_transformers
from weatherproof.encoders.libraries.transformers_options import transformers_options
from weatherproof.errors import InputError
from weatherproof.verbs.shard import shard

SIZE, WIDE = (24, 40), "24x40"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for name in ("cats", "dogs"):
            home = tmp_path / "photos" / split / name
            home.mkdir(parents=True)
            for i in range(count):
                shape = (*numbers.integers(20, 70, 2), 3)
                Image.fromarray(numbers.integers(0, 256, shape, dtype=np.uint8)).save(home / f"{i}.png")
    return tmp_path / "photos"


def same(one: wp.data.ImageSet, other: wp.data.ImageSet) -> bool:
    rows = torch.arange(len(other))
    return one.image_size == other.image_size == SIZE and torch.equal(one.read(rows), other.read(rows))


@pytest.mark.parametrize("budget", [2**30, 0])
def test_shards_are_read_and_written_at_rows_and_columns(folder: Path, tmp_path: Path, budget: int) -> None:
    direct = load_images(folder, "test", SIZE)
    shard(folder, out=tmp_path / "plain")
    read = load_images(f"shards:{tmp_path / 'plain'}", "test", WIDE, memory_budget=budget)
    assert isinstance(read, PackedImages) is (budget == 0) and same(read, direct)
    batch = next(iter(wp.data.batches(read, 4, order=torch.tensor([3, 1]))))
    assert torch.equal(batch.images, direct.read(torch.tensor([3, 1])).float() / 255)
    told = shard(folder, out=tmp_path / "small", size=WIDE).manifest
    assert told["size"] == WIDE and same(load_images(f"shards:{tmp_path / 'small'}", "test"), direct)
    with pytest.raises(InputError, match="shards reads images of one size: longest is for folders"):
        load_images(f"shards:{tmp_path / 'plain'}", longest=30)


def test_tables_are_read_at_rows_and_columns(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    contents = [file.read_bytes() for file in sorted((folder / "test").rglob("*.png"))]
    pq.write_table(pa.table({"image": contents, "label": [0] * 5 + [1] * 5}), tmp_path / "test-0.parquet")
    for budget in (2**30, 0):
        read = load_images(f"parquet:{tmp_path}", "test", SIZE, memory_budget=budget)
        assert same(read, load_images(folder, "test", SIZE))


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (torch.zeros(4, 5, 8, 8, dtype=torch.uint8), "5 channels of 8 bits"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint16), "3 channels of 16 bits"),
    ],
)
def test_shards_hold_no_more_channels_and_bits(pixels: torch.Tensor, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"shards hold grey and RGB of 8 bits, and .* has {says}"):
        shard(MemoryImages(pixels), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings_and_patches_of_rows_and_columns(folder: Path, tmp_path: Path) -> None:
    save_encoder(wp.load_encoder("small(width=4)@random", size=SIZE), tmp_path / "run", provenance={})
    shard(folder, out=tmp_path / "shards")
    encoder = wp.load_encoder(tmp_path / "run").eval()
    for source in (folder / "test", f"shards:{tmp_path / 'shards'}"):
        out = tmp_path / f"{Path(str(source)).name}.npz"
        split = {} if source == folder / "test" else {"split": "test"}
        wp.embed(tmp_path / "run", source, patches=True, out=out, device="cpu", workers=0, **split)
        found = wp.load_embeddings(out)
        assert found.about.size == SIZE and found.about.patches is not None
        rows, columns, _ = found.about.patches
        assert rows / columns == SIZE[0] / SIZE[1]
        images = load_images(folder, "test", SIZE)
        with torch.no_grad():
            expected = encoder(images.read(torch.arange(10)).float() / 255)
        torch.testing.assert_close(found[:], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"of images of 24x40 pixels, and these are 32x32: give --size 24x40"):
        wp.embed(tmp_path / "run", folder / "test", index=out, size=32, device="cpu", workers=0)


@pytest.mark.slow
def test_onnx_of_rows_and_columns_and_of_more_channels(folder: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    done = wp.export("small(width=4)@random", images=folder, size=WIDE, out=tmp_path / "out")
    told = done.about["outputs"]
    assert done.status == 0 and "patches" in {one["name"] for one in told}
    session = runtime.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
    pixels = torch.rand(2, 1, *SIZE)
    (given,) = session.run(["embedding"], {"images": pixels.numpy()})
    expected = wp.load_encoder("small(width=4)@random", size=SIZE).eval()(pixels).detach()
    torch.testing.assert_close(torch.from_numpy(given), expected, rtol=1e-4, atol=1e-5)

    network = torch.nn.Sequential(torch.nn.Conv2d(5, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    bands = wp.load_encoder(network, mean=0.5, std=0.5, size=(10, 12))
    pixels = torch.randint(0, 65536, (6, 5, 10, 12)).to(torch.uint16)
    done = wp.export(bands, to="torch", images=MemoryImages(pixels), out=tmp_path / "bands")
    module, images = torch.export.load(done.file).module(), pixels.float() / 65535
    torch.testing.assert_close(module(images)["embedding"], bands.eval()(images).detach(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*padded to 32x48 as timm does it")
@pytest.mark.parametrize("size", [SIZE, (32, 48)], ids=str)
def test_a_folder_for_timm_of_rows_and_columns(size: tuple[int, int], tmp_path: Path) -> None:
    """24 x 40 are no multiples of test_vit's patches of 16, which timm pads."""
    import timm

    done = wp.export("timm:test_vit@random", to="hub", size=size, out=tmp_path / "out")
    assert done.status == 0
    assert f"resized to {size[0]} x {size[1]} pixels (rows x columns)" in (done.file / "README.md").read_text()
    model, pixels = timm.create_model(f"local-dir:{done.file}", pretrained=True).eval(), torch.rand(2, 3, *size)
    assert tuple(timm.data.resolve_model_data_config(model)["input_size"]) == (3, *size)
    encoder = wp.load_encoder("timm:test_vit@random", size=size).eval()
    torch.testing.assert_close(model((pixels - encoder.mean) / encoder.std), encoder.logits(pixels))


@torch.no_grad()
def test_a_folder_for_torchvision_of_rows_and_columns(tmp_path: Path) -> None:
    from torchvision import models

    done = wp.export("torchvision:shufflenet_v2_x0_5@random", to="hub", size=(32, 64), out=tmp_path / "out")
    told = json.loads((done.file / "config.json").read_text())
    model = models.get_model(told["architecture"], weights=None, **told["arguments"]).eval()
    model.load_state_dict(load_file(done.file / "model.safetensors"))
    encoder = wp.load_encoder("torchvision:shufflenet_v2_x0_5@random", size=(32, 64)).eval()
    pixels = torch.rand(2, 3, 32, 64)
    torch.testing.assert_close(model((pixels - encoder.mean) / encoder.std), encoder.logits(pixels))
    assert done.status == 0 and told["preprocessing"]["size"] == [32, 64]


@pytest.mark.slow
def test_a_folder_for_open_clip_of_rows_and_columns(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    done = wp.export("open_clip:ViT-S-32-alt@random", to="hub", size=(64, 96), out=tmp_path / "out")
    assert done.status == 0
    whole = open_clip.create_model("ViT-S-32-alt", pretrained_text=False, force_image_size=(64, 96))
    save_file({k: v.clone() for k, v in whole.state_dict().items()}, tmp_path / "clip.safetensors")
    text = f"open_clip:ViT-S-32-alt@{tmp_path / 'clip.safetensors'}"
    done = wp.export(text, to="hub", size=(64, 96), out=tmp_path / "both")
    assert done.status == 0 and (done.file / "open_clip_model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*need no padding")
def test_a_folder_for_torchvision_of_a_size_that_the_patch_does_not_divide(tmp_path: Path) -> None:
    done = wp.export("torchvision:vit_b_32@random", to="hub", size=70, out=tmp_path / "out")
    card = (done.file / "README.md").read_text()
    assert done.status == 0 and "image_size=96" in card and "pad(images, (0, 26, 0, 26))" in card


VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 8}
PIXELS = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}


@torch.no_grad()
@pytest.mark.parametrize(("kind", "own"), [("vit", 32), ("vit", (24, 40)), ("dinov2", 32), ("siglip2", 32)])
def test_networks_of_transformers_see_rows_and_columns(kind: str, own: int | tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    if kind == "siglip2":
        network = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**VISION, num_patches=16))
    else:
        made = {"vit": ("ViTModel", "ViTConfig"), "dinov2": ("Dinov2Model", "Dinov2Config")}[kind]
        network = getattr(transformers, made[0])(getattr(transformers, made[1])(**VISION, image_size=own))
    network.eval().save_pretrained(tmp_path / "net")
    rows, columns = (own, own) if isinstance(own, int) else own
    told = PIXELS | {"size": {"height": rows, "width": columns}}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(told))
    encoder = wp.load_encoder(f"transformers:{tmp_path / 'net'}").eval()
    assert encoder.preprocessing.size == own
    wide = wp.load_encoder(f"transformers:{tmp_path / 'net'}", size=(24, 48)).eval()
    sizes = [(encoder, (rows, columns)), (wide, (24, 48))]
    for one, size in sizes[: 2 if isinstance(own, int) else 1]:  # the library takes what it resamples for a square
        pixels = torch.rand(2, 3, *size)
        seen = (pixels - one.mean) / one.std
        if kind == "siglip2":
            cells = (size[0] // 8, size[1] // 8)
            patches = seen.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, cells[0] * cells[1], -1)
            mask = torch.ones(2, cells[0] * cells[1])
            expected = network(patches, pixel_attention_mask=mask, spatial_shapes=torch.tensor([cells] * 2))
        else:
            named = {"interpolate_pos_encoding": True} if kind == "vit" and size == (24, 48) else {}
            expected = network(seen, **named)
        torch.testing.assert_close(one(pixels), expected.pooler_output)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov3", "siglip2", "beit"])
def test_networks_of_transformers_are_padded_where_a_patch_does_not_divide(kind: str, tmp_path: Path) -> None:
    """The library itself would cut the rest off without a word."""
    transformers = pytest.importorskip("transformers")
    name = {"vit": "ViT", "dinov2": "Dinov2", "dinov3": "DINOv3ViT", "siglip2": "Siglip2Vision", "beit": "Beit"}[kind]
    more = {"num_patches": 16} if kind == "siglip2" else {"image_size": 32}
    more |= {"use_relative_position_bias": True} if kind == "beit" else {}  # and no positions beside it
    network = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**VISION, **more))
    network.eval().save_pretrained(tmp_path / "net")
    told = PIXELS | {"size": {"height": 32, "width": 32}}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(told))
    text = f"transformers:{tmp_path / 'net'}"
    with pytest.warns(UserWarning, match="does not divide 30x41 pixels, which are padded to 32x48"):
        encoder = wp.load_encoder(text, size=(30, 41)).eval()
    whole, pixels = wp.load_encoder(text, size=(32, 48)).eval(), torch.rand(2, 3, 30, 41)
    seen = torch.zeros(2, 3, 32, 48)
    seen[:, :, :30, :41] = (pixels - whole.mean) / whole.std
    assert torch.equal(encoder(pixels), whole.body(seen))
    with (
        pytest.warns(UserWarning, match="need no padding"),
        pytest.raises(InputError, match="does not pad: give a --size"),
    ):
        wp.export(text, to="hub", size=(30, 41), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@torch.no_grad()
def test_a_masked_autoencoder_sees_all_patches_in_their_order(tmp_path: Path) -> None:
    """The library hides three quarters of them, drawn anew in every pass: two looks at an image would differ."""
    transformers = pytest.importorskip("transformers")
    network = transformers.ViTMAEModel(transformers.ViTMAEConfig(**VISION, image_size=32)).eval()
    network.save_pretrained(tmp_path / "net")
    told = PIXELS | {"size": {"height": 32, "width": 32}}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(told))
    encoder, pixels = wp.load_encoder(f"transformers:{tmp_path / 'net'}").eval(), torch.rand(2, 3, 32, 32)
    network.config.mask_ratio = 0.0
    expected = network((pixels - encoder.mean) / encoder.std, noise=torch.linspace(0, 1, 16).expand(2, -1))
    assert torch.equal(encoder(pixels), expected.last_hidden_state[:, 0])
    done = wp.export(f"transformers:{tmp_path / 'net'}", to="hub", out=tmp_path / "out")
    again = transformers.AutoModel.from_pretrained(done.file).eval()
    found = again((pixels - encoder.mean) / encoder.std).last_hidden_state[:, 0]
    torch.testing.assert_close(found, encoder(pixels))


def test_a_size_of_transformers_that_is_none_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformers.ViTModel(transformers.ViTConfig(**VISION, image_size=16))
    network.save_pretrained(tmp_path)
    for wrong in ({"height": 0, "width": 3}, {"height": 3}, "many", {}, [1, 2, 3]):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(PIXELS | {"size": wrong}))
        with pytest.raises(InputError):
            build_transformers(str(tmp_path), transformers_options(str(tmp_path)), None, None)


def test_a_shard_of_others_with_16_bits_is_read_as_files_are(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)).save(stream, "PNG")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "a-test-0.tar", "w") as file:
        for name, content in (("0.png", stream.getvalue()), ("0.cls", b"0")):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "0.png").write_bytes(stream.getvalue())
    read = load_images(f"shards:{tmp_path}/shards/*.tar", "test", (4, 6), channels=1)
    assert torch.equal(read[0][0], load_images(tmp_path / "files", "every", (4, 6), channels=1)[0][0])
