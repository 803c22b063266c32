"""Which published weights a file holds, and what pixels they expect."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from weatherproof.encoders import load_encoder
from weatherproof.encoders.libraries import torchvision as from_torchvision
from weatherproof.encoders.libraries.open_clip import open_clip_releases
from weatherproof.encoders.libraries.timm import timm_releases
from weatherproof.encoders.libraries.torchvision import torchvision_releases
from weatherproof.encoders.releases import released
from weatherproof.errors import InputError

IMAGENET = (0.485, 0.456, 0.406)
VIT = "timm:vit_small_patch16_224"


def release_and_warnings(text: str, file: str, metadata: dict[str, str] | None = None) -> tuple[str, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        named = released(text, file, metadata or {})
    return named, [str(warning.message) for warning in caught]


def test_every_weights_entry_of_torchvision_gets_its_own_published_transforms() -> None:
    from torchvision import models

    entries = 0
    for name in models.list_models(module=models):
        expected = from_torchvision._published(name)
        for weights in models.get_model_weights(name):
            transforms, ours = weights.transforms(), expected[weights.name]
            grey = torch.full((1, 3, transforms.crop_size[0], transforms.crop_size[0]), 0.3)
            theirs = transforms(grey)
            if name in ("googlenet", "inception_v3"):  # the model itself goes on, from ImageNet's mean to 0.5
                theirs = models.get_model(
                    name, weights=None, transform_input=True, init_weights=False
                )._transform_input(theirs)
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (ours.mean, ours.std))
            torch.testing.assert_close((grey - mean) / std, theirs, msg=str(weights))
            assert ours.size == transforms.crop_size[0]
            assert ours.interpolation == transforms.interpolation.value
            entries += 1
    assert entries > 100


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_the_encoder_is_built_with_what_its_weights_expect() -> None:
    assert load_encoder("torchvision:efficientnet_v2_s@random").preprocessing.mean == IMAGENET
    bare, tagged = (
        load_encoder(f"torchvision:efficientnet_b1{tag}@random", num_classes=2) for tag in ("", "/IMAGENET1K_V2")
    )
    assert (bare.preprocessing.interpolation, tagged.preprocessing.interpolation) == ("bicubic", "bilinear")
    with pytest.raises(InputError, match="unknown weights of torchvision:resnet18 'IMAGENET1K_V9'"):
        load_encoder("torchvision:resnet18/IMAGENET1K_V9")


def test_where_the_releases_agree_nothing_is_said() -> None:
    for text in (
        "torchvision:resnet50",
        "timm:resnet10t",
        "timm:vit_small_patch16_224.dino",
        "resnet20",
        "small(width=4)",
    ):
        assert release_and_warnings(text, "weights.pth") == (text, [])


def test_a_bare_name_says_which_release_is_assumed_and_which_others_there_are() -> None:
    text, (said,) = release_and_warnings(VIT, "my/weights.pth")
    assert text == VIT and "\n" not in said
    assert "timm:vit_small_patch16_224.augreg_in21k_ft_in1k is assumed (mean 0.5, std 0.5, 224 px, bicubic)" in said
    assert "timm:vit_small_patch16_224.dino" in said and "augreg_in1k," not in said
    text, (said,) = release_and_warnings("torchvision:vit_b_16", "vit.pth")
    assert "IMAGENET1K_V1 is assumed" in said and "torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1" in said


@pytest.mark.parametrize(
    "file",
    [
        "vit_small_patch16_224.dino.safetensors",
        "down/vit_small_patch16_224.dino/model.safetensors",
        "hub/models--timm--vit_small_patch16_224.dino/snapshots/0a1b/model.safetensors",
        "dino_deitsmall16_pretrain.pth",
    ],
)
def test_a_published_file_name_names_timms_release(file: str) -> None:
    text, (said,) = release_and_warnings(VIT, file)
    assert text == f"{VIT}.dino" and f"{VIT}.dino, which is taken: mean 0.485/0.456/0.406" in said


def test_the_longest_name_counts_and_the_default_by_name_is_nothing_to_say() -> None:
    assert release_and_warnings(VIT, "vit_small_patch16_224.augreg_in21k_ft_in1k.pth") == (VIT, [])
    assert release_and_warnings(VIT, "weights.safetensors", {"format": "pt", "tag": "dino"})[0] == f"{VIT}.dino"


def test_the_name_of_torchvisions_file_names_its_entry() -> None:
    for file in ("vit_b_16_swag-9ac1b537.pth", "mine-9ac1b537.safetensors"):
        assert release_and_warnings("torchvision:vit_b_16", file)[0] == "torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1"
    assert release_and_warnings("torchvision:vit_b_16", "vit_b_16-c867db91.pth") == ("torchvision:vit_b_16", [])


def test_every_release_is_found_by_the_name_under_which_it_is_published() -> None:
    from torchvision import models

    for name in models.list_models(module=models):
        for release in torchvision_releases(name):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                taken = released(f"torchvision:{name}", f"{release.files[0]}.pth", {})
            assert taken == release.text or release.expects == torchvision_releases(name)[0].expects
    for name in ("vit_small_patch16_224", "vit_base_patch16_224", "resnet50", "convnext_base"):
        default, *others = timm_releases(name)
        for release in (default, *others):
            taken = release_and_warnings(f"timm:{name}", f"{release.text.partition(':')[2]}.safetensors")[0]
            assert taken == (f"timm:{name}" if release.expects == default.expects else release.text)


def test_open_clips_tag_decides_the_activation_too() -> None:
    pytest.importorskip("open_clip", reason="open_clip is an extra")
    assert release_and_warnings("open_clip:ViT-B-32/openai", "w.pt") == ("open_clip:ViT-B-32/openai", [])
    text, (said,) = release_and_warnings("open_clip:ViT-B-32", "w.safetensors")
    assert text == "open_clip:ViT-B-32" and "GELU) ; for" not in said and "open_clip:ViT-B-32/openai" in said
    assert release_and_warnings("open_clip:ViT-B-32", "ViT-B-32-openai.safetensors")[0] == "open_clip:ViT-B-32/openai"
    assert release_and_warnings("open_clip:ViT-B-32", "ViT-B-32.safetensors")[0] == "open_clip:ViT-B-32"
    assert release_and_warnings("open_clip:RN101", "w.safetensors") == ("open_clip:RN101", [])
    assert {release.tag for release in open_clip_releases("RN101")} == {None, "openai", "yfcc15m"}


def test_a_file_loads_with_the_release_that_its_name_says_and_stays_so_in_a_run(tmp_path: Path) -> None:
    import timm

    from weatherproof.encoders import save_encoder

    weights = tmp_path / "vit_small_patch16_224.dino.safetensors"
    save_file(timm.create_model("vit_small_patch16_224.dino").state_dict(), weights)
    with pytest.warns(UserWarning, match="which is taken"):
        encoder = load_encoder(f"{VIT}@{weights}")
    assert encoder.preprocessing.mean == IMAGENET
    save_encoder(encoder, tmp_path / "run", provenance={})
    again = load_encoder(tmp_path / "run")
    assert again.preprocessing == encoder.preprocessing and again.name == f"{VIT}.dino"
