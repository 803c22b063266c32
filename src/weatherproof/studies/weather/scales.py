"""Kinds of damage from mild to severe, and how big `all-weather` runs.

Levels are chosen by the side of the images: a blur of 4 pixels leaves something of 128 px, and nothing of 32 px.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from weatherproof.operators import leaning, parse
from weatherproof.studies.lab.recipes import FAST
from weatherproof.studies.lab.sets import Source
from weatherproof.studies.lab.study import settings_text

# how an encoder is trained: the rows of each kind
ORIGINAL = "as it was"
SEVERE = "severe range, as in the paper"
FIFTH = "severe range, a fifth clean"
HALF = "severe range, half clean"
WHOLE = "range from none"
HALFWAY = "halfway in weights"  # to the severe range's
PROMISE = "range from none, a cosine of 0.95 promised"
LEANING = "range from none, leaning to severe"
SEVERE_GROWING = "severe range, growing"
WHOLE_GROWING = "range from none, growing"
GROWING = "range from none, leaning to severe, growing"
DEFAULT = "the default: that behind a gate"  # with the encoder as it was
TOGETHER = "one for all five kinds"
TOGETHER_GATED = "one for all five kinds, behind its gate"
MAIN = (ORIGINAL, SEVERE, WHOLE, SEVERE_GROWING, GROWING, DEFAULT)
REST = (FIFTH, HALF, HALFWAY, PROMISE, LEANING, WHOLE_GROWING)
EVERY = (*MAIN, *REST)
SHORT = (ORIGINAL, SEVERE, SEVERE_GROWING, GROWING, DEFAULT)
JOINT = (TOGETHER, TOGETHER_GATED)  # trained as the default is, for as long, on five kinds at once
# trained on one kind, for as long, with nothing else asked
SPECIALISTS = (SEVERE, WHOLE)  # by today's recipes
GROWN = (SEVERE_GROWING, WHOLE_GROWING)  # with the curriculum of ours

LEVELS = ("mild", "middle", "strong", "severe")


@dataclass(frozen=True)
class Kind:
    """One kind of damage, in the texts of operators.

    Attributes:
        severe: the range that begins where images are hard to see, as the paper trains.
        whole: the range from none to the same end.
        levels: that are measured, one for each of `LEVELS`, all within the ranges.
        unseen: damage of another kind.
    """

    severe: str
    whole: str
    levels: tuple[str, str, str, str]
    unseen: str

    @property
    def leaning(self) -> str:
        """The range from none, two fifths of the images in its worst quarter."""
        return repr(leaning(parse(self.whole)))


def _kinds(blurs: tuple[float, float, float, float]) -> Mapping[str, Kind]:
    mask, noise, blur = "RandomMask({})", "GaussianNoise({}, clip=False)", "GaussianBlur({})"
    jpeg, contrast = "JPEG({})", "Contrast({})"

    def levels(form: str, values: Iterable[float]) -> tuple[str, str, str, str]:
        one, two, three, four = (form.format(value) for value in values)
        return one, two, three, four

    return {
        "masks": Kind(
            "RandomMask((0.5, 0.95))", "RandomMask((0.0, 0.95))", levels(mask, (0.25, 0.5, 0.75, 0.9)),
            noise.format(0.1),
        ),
        "noise": Kind(
            "GaussianNoise((0.1, 0.3), clip=False)", "GaussianNoise((0.0, 0.3), clip=False)",
            levels(noise, (0.05, 0.1, 0.2, 0.3)), blur.format(blurs[1]),
        ),
        "blur": Kind(
            f"GaussianBlur(({blurs[1]}, {blurs[3]}))", f"GaussianBlur((0.0, {blurs[3]}))", levels(blur, blurs),
            noise.format(0.05),
        ),
        "JPEG": Kind("JPEG((5, 40))", "JPEG((5, 100))", levels(jpeg, (80, 40, 20, 8)), blur.format(blurs[0])),
        "contrast": Kind(
            "Contrast((0.5, 0.95))", "Contrast((0.0, 0.95))", levels(contrast, (0.25, 0.5, 0.75, 0.9)),
            noise.format(0.1),
        ),
    }  # fmt: skip


SMALL, LARGE = _kinds((0.5, 1.0, 1.5, 2.0)), _kinds((0.5, 1.0, 2.0, 4.0))  # of 32 px, of 96 px and more
KINDS = tuple(SMALL)


def one_of(texts: Iterable[str]) -> str:
    """Each image meets one of these damages."""
    return f"OneOf({', '.join(texts)})"


@dataclass(frozen=True)
class Asked:
    """What is trained and measured of one kind of damage.

    Attributes:
        seeds: so many trainings of each row.
    """

    rows: tuple[str, ...]
    seeds: int = 1


@dataclass(frozen=True)
class Subject:
    """An encoder, its images, and how it is trained.

    Attributes:
        encoder: its text; with `pretraining`, of one with random weights that is pretrained first.
        kinds: the levels of each kind of damage, at the size of these images.
        asked: by kind.
        plan: of the hardening.
        classes: of a head with random weights.
        head: "own", its own classifier; "probe", a linear one fitted on the original's embeddings of clean images.
        pretraining: the plan of SimCLR on the same images; None: the encoder comes with its weights.
    """

    encoder: str
    data: Source
    plan: Mapping[str, Any]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    asked: Mapping[str, Sequence[Asked]] = field(default_factory=dict)
    classes: int | None = None
    size: int | None = None
    augment: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    head: Literal["own", "probe"] = "own"
    pretraining: Mapping[str, Any] | None = None

    @property
    def every_kind(self) -> str:
        """Of all kinds, each over its range from none."""
        return one_of(kind.whole for kind in self.kinds.values())

    @property
    def facts(self) -> str:
        """Its settings, for the reader."""
        counts = f"{self.train_images or 'all'} training images, " + ("own head" if self.head == "own" else "probe")
        return f"`{self.encoder}`, {counts}, {settings_text(self.plan)}, augmentation `{self.augment}`"


@dataclass(frozen=True)
class Weather:
    """The settings of a scale of `all-weather`, encoders by name."""

    name: str
    note: str
    subjects: Mapping[str, Subject] = field(default_factory=dict)


TINY, RESNET, LITE, SQUEEZE, VIT = "small CNN", "ResNet-20", "EfficientNet-Lite0", "SqueezeNet", "ViT"
SUBJECTS = (TINY, RESNET, LITE, SQUEEZE, VIT)

_TINY = Subject(
    encoder="small",
    data=Source("digits"),
    kinds=SMALL,
    asked={"masks": [Asked(EVERY), Asked(JOINT)], "JPEG": [Asked(SHORT, 2), Asked(JOINT)]},
    plan={"epochs": 1, "batch_size": 64, "lr": 3e-3},
    classes=10,
    train_images=128,
    test_images=48,
)
SMOKE = Weather("smoke", "Random weights and a handful of images: the numbers mean nothing.", {TINY: _TINY})

_RESNET = Subject(
    encoder="resnet20@$DATA/resnet20-12fca82f.th",
    data=Source("cifar10:$DATA/cifar10"),
    kinds=SMALL,
    asked={
        "masks": [Asked((*MAIN, *JOINT), 3), Asked(REST)],
        **{kind: [Asked((*MAIN, *JOINT), 3)] for kind in KINDS[1:]},
    },
    plan={"epochs": 3, "batch_size": 128, "lr": 3e-3, "precision": FAST},
    augment="HorizontalFlip()",
    train_images=10_000,
    test_images=2_000,
)
_LITE = Subject(
    encoder="timm:tf_efficientnet_lite0@$DATA/tf_efficientnet_lite0.safetensors",
    data=Source("folder:$DATA/imagenette"),
    kinds=LARGE,
    asked={kind: [Asked((*SHORT, *JOINT))] for kind in KINDS},
    plan={"epochs": 2, "batch_size": 64, "lr": 1e-3, "precision": FAST},
    size=128,
    augment="HorizontalFlip()",
    train_images=3_000,
    test_images=500,
)
_SQUEEZE = replace(
    _LITE, encoder="torchvision:squeezenet1_0@$DATA/squeezenet1_0-deepcompression.pth",
    plan={**_LITE.plan, "epochs": 4, "lr": 3e-4},
)  # fmt: skip
_VIT = replace(
    _RESNET,
    encoder="timm:vit_tiny_patch16_224(patch_size=8, embed_dim=128, depth=4, num_heads=4)@random",
    asked={kind: [Asked((*SHORT, *JOINT))] for kind in KINDS},
    plan={"epochs": 3, "batch_size": 128, "lr": 1e-3},
    size=32,
    head="probe",
    pretraining={"epochs": 15, "batch_size": 128, "lr": 1e-3, "warmup_epochs": 1},
)
DESK = Weather(
    "desk",
    "ResNet-20 on CIFAR-10 (JPEG copies) with 10,000 images, three epochs; EfficientNet-Lite0 (two epochs) and "
    "SqueezeNet (four) on 3,000 images of Imagenette at 128 pixels; the demo's CNN, pretrained by SimCLR on digits; a "
    "small ViT, pretrained by SimCLR on ResNet-20's images. ResNet-20 (its rows of every kind) and the demo's CNN over "
    "three training seeds, all else one training each. All recipes of an encoder have as many steps.",
    {
        RESNET: _RESNET,
        TINY: replace(
            _TINY,
            asked={kind: [Asked((*SHORT, *JOINT), 3)] for kind in KINDS},
            head="probe",
            classes=None,
            plan={"epochs": 32, "batch_size": 128, "lr": 2.4e-2, "warmup_epochs": 2},
            train_images=None,
            test_images=None,
            pretraining={"epochs": 40, "batch_size": 128, "lr": 1e-2, "warmup_epochs": 3},
        ),
        SQUEEZE: _SQUEEZE,
        LITE: _LITE,
        VIT: _VIT,
    },
)

_ALL = {kind: [Asked((*EVERY, *JOINT), 3)] for kind in KINDS}
_LONG = {"epochs": 25, "batch_size": 128, "lr": 3e-4, "precision": "16-mixed", "workers": 8}
_AT_160 = replace(
    _LITE, asked=_ALL, plan=_LONG, size=160, augment="Chain(RandomResizedCrop(160), HorizontalFlip())",
    train_images=None, test_images=None,
)  # fmt: skip
PAPER = Weather(
    "paper",
    "Everything, over three training seeds: for a GPU.",
    {
        TINY: replace(
            _TINY, encoder="small(channels=3)", data=Source("cifar10:$DATA/cifar10"), asked=_ALL, head="probe",
            plan={**_LONG, "lr": 3e-3}, classes=None, augment="HorizontalFlip()", train_images=None, test_images=None,
            pretraining={**_LONG, "epochs": 100, "lr": 1e-3},
        ),
        RESNET: replace(_RESNET, asked=_ALL, plan={**_LONG, "lr": 3e-3}, train_images=None, test_images=None),
        LITE: _AT_160,
        SQUEEZE: replace(_AT_160, encoder=_SQUEEZE.encoder),
        VIT: replace(
            _AT_160, encoder="timm:vit_tiny_patch16_224@random", head="probe",
            pretraining={**_LONG, "epochs": 200, "lr": 1e-3, "warmup_epochs": 10},
        ),
    },
)  # fmt: skip

SCALES: Mapping[str, Weather] = {"smoke": SMOKE, "desk": DESK, "paper": PAPER}


@dataclass(frozen=True)
class Family:
    """The settings of a scale of `unseen-kinds`.

    Attributes:
        seeds: so many trainings of each model.
    """

    name: str
    note: str
    subject: Subject
    seeds: int = 1


FAMILIES: Mapping[str, Family] = {
    "smoke": Family("smoke", SMOKE.note, replace(_TINY, test_images=4)),
    "desk": Family(
        "desk",
        "ResNet-20 on CIFAR-10 (JPEG copies), 10,000 training images, two epochs of each training, one seed; 512 test "
        "images under each of the 75 conditions, met in two batches of 256.",
        replace(_RESNET, plan={**_RESNET.plan, "epochs": 2}, test_images=512),
    ),
    "paper": Family(
        "paper",
        "ResNet-20 on CIFAR-10, three training seeds: for a GPU.",
        PAPER.subjects[RESNET],
        3,
    ),
}
