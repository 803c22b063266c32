"""How big a study runs: smoke (seconds, shows that the machinery works), desk (two CPU cores), paper (as published).

Damages keep their published names at every scale. Where a small image asks for another level, the scale says so: a
blur of sigma 5 at 224 px would leave nothing of a 32 px image, so desk scale blurs by 1.5 and 3 pixels there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weatherproof.readouts import LOGISTIC, Adam, Fit, Logistic
from weatherproof.studies.lab.recipes import FAST
from weatherproof.studies.lab.sets import WHOLE, Source
from weatherproof.studies.lab.study import Cell, settings_text


@dataclass(frozen=True)
class Hardening:
    """The settings of a scale.

    Attributes:
        encoder: ours starts from it; rival: the supervised baseline does.
        data: what a data set's name stands for.
        damages: what a damage's name stands for.
        plan: of the hardening; rival_plan: of the supervised baseline.
        augment: how training looks at an image; augments: of the data sets where it looks otherwise.
        whole: training images are read whole, the longer side at most so many pixels, for `augment` to crop them; None:
            as test images are. Those of `augments` are always read as test images are.
        corrupted: the test images of "main" under the common corruptions, in files: measured where they are there;
            elsewhere, and None: they are made on the fly.
        fit: of the linear layers; fit_workers: processes that decode their images.
        restoration: what stands in for a restoration at this scale.
        denoised: draws of the noise with which denoising (Table 7) is measured.
    """

    name: str
    encoder: str
    rival: str
    data: Mapping[str, Source]
    damages: Mapping[str, str]
    size: int | None = None
    crop_fraction: float = 1.0
    augment: str | None = None
    augments: Mapping[str, str] = field(default_factory=dict)
    whole: int | None = None
    corrupted: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    restored_images: int | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    rival_plan: Mapping[str, Any] = field(default_factory=dict)
    fit: Fit = LOGISTIC
    fit_workers: int = 0
    restoration: Mapping[str, str] = field(default_factory=dict)
    realizations: int = 10
    denoised: int = 1
    note: str = ""

    def facts(self, cells: Iterable[Cell]) -> dict[str, str]:
        """The settings behind these cells, for the reader."""
        cells = list(cells)
        texts = "".join(repr((cell.model, cell.measure)) for cell in cells)
        clean = any(cell.about.readout == "clean-probe" for cell in cells)
        named = (name for name, text in self.damages.items() if repr(text) in texts)
        return {
            "ours starts from": f"`{self.encoder}`, {settings_text(self.plan)}",
            "the rival starts from": f"`{self.rival}`, {settings_text(self.rival_plan)}",
            "augmentation": ", ".join([f"`{self.augment}`", *(f"{name}: `{a}`" for name, a in self.augments.items())]),
            "probe": f"{self._fit_words()}, `{self.fit!r}`",
            "classifier of clean images": self._clean_words() if clean else "",
            "damages": ", ".join(f"{name} = `{self.damages[name]}`" for name in sorted(named)),
        }

    @property
    def as_published(self) -> bool:
        """Whether linear layers are fitted as the paper does it."""
        return isinstance(self.fit, Adam)

    def _fit_words(self) -> str:
        return "as published (Adam)" if self.as_published else "the fast one, not the paper's (logistic regression)"

    def _clean_words(self) -> str:
        how = "raw embeddings, augmented" if self.as_published else "embeddings of unit length, not augmented"
        return f"{self._fit_words()}, on {how}"


_MASKS = {f"mask-{p:.2f}": f"RandomMask({p})" for p in (0.5, 0.75, 0.9, 0.96, 0.97, 0.98, 0.99)}
_NOISES = {f"noise-{s}": f"GaussianNoise({s}, clip=False)" for s in (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5)}
_RANGES = {"mask-range": "RandomMask((0.5, 0.95))", "noise-range": "GaussianNoise((0.1, 0.3), clip=False)"}
_CLEAN = {"clean": "Chain()"}
_BLUR_NOISE = (
    "Chain(Sometimes(GaussianBlur((1.0, 5.0), kernel_size=23), 0.8), "
    "Sometimes(GaussianNoise((0.05, 0.5), clip=False), 0.8))"
)
_SMALL_BLUR_NOISE = (
    "Chain(Sometimes(GaussianBlur((0.3, 1.5)), 0.8), Sometimes(GaussianNoise((0.05, 0.5), clip=False), 0.8))"
)
_PUBLISHED_BLURS = {
    "blur-21-5": "GaussianBlur(5.0, kernel_size=21)",
    "blur-37-9": "GaussianBlur(9.0, kernel_size=37)",
    "blur-noise": _BLUR_NOISE,
}
_SMALL_BLURS = {"blur-21-5": "GaussianBlur(1.5)", "blur-37-9": "GaussianBlur(3.0)", "blur-noise": _SMALL_BLUR_NOISE}

SMOKE = Hardening(
    name="smoke",
    note="Random weights and a handful of images: the numbers mean nothing.",
    encoder="small",
    rival="small",
    data={
        "main": Source("digits"),
        "shift": Source("digits", without=("7", "9"), relabel=(("7", "1"), ("9", "4"))),
        "CIFAR-10": Source("digits"),
        "COVID X-ray": Source("digits", without=("2", "3", "4", "5", "6", "7", "8", "9")),
    },
    damages={**_CLEAN, **_MASKS, **_NOISES, **_RANGES, **_SMALL_BLURS},
    train_images=128,
    test_images=64,
    restored_images=4,
    plan={"epochs": 1, "batch_size": 64, "lr": 3e-3},
    rival_plan={"epochs": 1, "batch_size": 64, "lr": 3e-3},
    fit=Logistic(1),
    restoration={"DeepDecoder()": "DeepDecoder(steps=3)"},
    realizations=2,
)

DESK = Hardening(
    name="desk",
    note="CIFAR-10 (JPEG copies), teacher and rival both start from the shared ResNet-20 weights.",
    encoder="resnet20@$DATA/resnet20-12fca82f.th",
    rival="resnet20@$DATA/resnet20-12fca82f.th",
    data={
        "main": Source("cifar10:$DATA/cifar10"),
        "shift": Source(
            "cifar10:$DATA/cifar10", without=("truck", "deer"), relabel=(("truck", "automobile"), ("deer", "horse"))
        ),
    },
    damages={**_CLEAN, **_MASKS, **_NOISES, **_RANGES, **_SMALL_BLURS},
    augment="HorizontalFlip()",
    test_images=2000,
    restored_images=100,
    # Both chosen on held-out training images, among six each: docs/results/settings.md.
    plan={"epochs": 1, "batch_size": 128, "lr": 3e-3, "precision": FAST},
    rival_plan={"epochs": 1, "batch_size": 128, "lr": 3e-3, "precision": FAST},
    fit=Logistic(2),
    # Few enough weights that it cannot fit anything: 5 a value; the published one has 3 at 224 px, but 85 at 32.
    restoration={"DeepDecoder()": "DeepDecoder(steps=400, channels=64)"},
    realizations=5,
)

# Transfer needs a teacher that has seen more than the target: EfficientNet-Lite0 of ImageNet, hardened on Imagenette.
# In float32: half precision takes twice as long on a CPU, whose depthwise convolutions are slow in it.
_LITE = {"epochs": 2, "batch_size": 64, "precision": "32-true"}
DESK_TRANSFER = replace(
    DESK,
    note="Imagenette at 96 px; teacher and rival both start from the shared ImageNet weights of EfficientNet-Lite0.",
    encoder="timm:tf_efficientnet_lite0@$DATA/tf_efficientnet_lite0.safetensors",
    rival="timm:tf_efficientnet_lite0@$DATA/tf_efficientnet_lite0.safetensors",
    size=96,
    data={
        "main": Source("folder:$DATA/imagenette"),
        "CIFAR-10": Source("cifar10:$DATA/cifar10", train_images=2000),
        "COVID X-ray": Source("folder:$DATA/covid-xray/binary"),
        "DTD (10 classes)": Source("folder:$DATA/dtd10"),
    },
    # Both chosen on held-out training images, among three each, of which it is the largest: docs/results/settings.md.
    plan={**_LITE, "lr": 3e-3},
    rival_plan={**_LITE, "lr": 3e-3},
    test_images=1000,
)

# Longer, one damage only: what a user does who hardens a whole classifier.
DESK_OWN_HEAD = replace(
    DESK,
    plan={**DESK.plan, "epochs": 4},
    rival_plan={**DESK.rival_plan, "epochs": 4},
    test_images=10_000,
    realizations=3,
)

PAPER = Hardening(
    name="paper",
    note="As published: CLIP RN101 against a fine-tuned ImageNet ResNet-101, ImageNet-100 at 224 px; for GPUs. The "
    "weight decay of ours, 1e-4 in the paper and 0 in its code, is the one that the settings name.",
    encoder="open_clip:RN101@$DATA/clip-rn101.safetensors",
    rival="torchvision:resnet101@$DATA/resnet101-imagenet1k-v1.safetensors",
    data={
        "main": Source("imagenet100:$DATA/imagenet"),
        "shift": Source(
            "imagenet100:$DATA/imagenet",
            test="imagenet:$DATA/imagenet",
            relabel=(
                ("n07930864", "n03062245"),  # cup: cocktail shaker
                ("n01978287", "n01978455"),  # Dungeness crab: rock crab
                ("n03792782", "n03785016"),  # mountain bike: moped
                ("n02325366", "n02326432"),  # wood rabbit: hare
                ("n02108915", "n02093428"),  # French bulldog: American Staffordshire terrier
            ),
        ),
        "CIFAR-10": Source("cifar10:$DATA/cifar10", crop_fraction=1.0),
        "CIFAR-100": Source("cifar100:$DATA/cifar100", crop_fraction=1.0),
        "STL-10": Source("stl10:$DATA/stl10", crop_fraction=1.0),
        "COVID X-ray": Source("covid-xray:$DATA/covid-xray"),
        "ImageNet-100B": Source("imagenet100b:$DATA/imagenet"),
    },
    damages={**_CLEAN, **_MASKS, **_NOISES, **_RANGES, **_PUBLISHED_BLURS},
    size=224,
    crop_fraction=0.875,
    augment="Chain(RandomResizedCrop(224), HorizontalFlip())",
    augments=dict.fromkeys(("CIFAR-10", "CIFAR-100", "STL-10"), "HorizontalFlip()"),  # Appendix D.1: no crop
    whole=WHOLE,
    corrupted="imagenet100-c:$DATA/imagenet-c",
    # 16 bits are the CLIP networks' alone (Appendix D.1).
    plan={"epochs": 25, "batch_size": 256, "lr": 3e-4, "weight_decay": 0.0, "precision": "16-mixed", "workers": 8},
    rival_plan={"epochs": 25, "batch_size": 64, "lr": 1e-3, "precision": "32-true", "workers": 8},
    fit=Adam(),
    fit_workers=8,
    realizations=10,
    denoised=10,
)
