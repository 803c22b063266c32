"""How big a study of fine-tuning runs: smoke (seconds), desk (two CPU cores, at most an hour), paper (as published)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weatherproof.benchmark import SEVERITIES
from weatherproof.readouts import LOGISTIC, Fit, Logistic
from weatherproof.studies.lab.sets import WHOLE, Source
from weatherproof.studies.papers.pretraining import scales as pretraining
from weatherproof.studies.papers.pretraining.scales import Pretraining

SUPERVISED = "Supervised"  # a start
PAPER_DATA = {  # by their names in the tables: the names of `load_images`
    "Aircraft": "aircraft", "Birdsnap": "birdsnap", "CIFAR-10": "cifar10", "CIFAR-100": "cifar100",
    "Caltech-101": "caltech101", "Caltech-256": "caltech256", "Cars": "cars", "DTD": "dtd", "Flowers": "flowers",
    "Food": "food101", "Pets": "pets", "SUN397": "sun397",
}  # fmt: skip


@dataclass(frozen=True)
class Transfer:
    """How big: the same grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        pretraining: makes the starts "MoCo v2" and "URRL" by its method "mocov2", and, without `supervised`, the start
            "Supervised" on all labels.
        supervised: text of a network that was trained with labels.
        side: to which networks with an input size of their own resize images; None: to their own. Pretrained ones have
            none and take images as they are.
        known: starts that were trained with the labels of a data set: no cell, this would be no transfer.
        data: the data sets.
        corrupted: of data sets the corrupted test images in files; where these are not there, and for other sets, they
            are made on the fly.
        plan: of the fine-tuning; its lr where none is chosen.
        steps: train for so many steps instead of epochs, since the sets differ in size.
        adversarial_plan: what differs for adversarial training.
        search: choose learning rate and weights on a tenth of the training images.
        hardening_plan, damage: of the start "hardened".
        fit: of the linear layer that is fitted anew for an encoder between two others.
        severities: of the common corruptions.
        whole: fine-tuning reads its images whole, the longer side at most so many pixels, for `augment` to crop them;
            None: as test images are.
        test_images, attack_images, suite_images: at most so many, evenly spaced.
        certificate_images: on which an attack is tried out.
    """

    name: str
    pretraining: Pretraining
    data: Mapping[str, Source]
    plan: Mapping[str, Any]
    adversarial_plan: Mapping[str, Any] = field(default_factory=dict)
    hardening_plan: Mapping[str, Any] = field(default_factory=dict)
    damage: str = "GaussianNoise((0.1, 0.3), clip=False)"
    supervised: str | None = None
    side: int | None = None
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    corrupted: Mapping[str, str] = field(default_factory=dict)
    steps: int | None = None
    search: bool = True
    augment: str | None = None
    fit: Fit = LOGISTIC
    severities: tuple[int, ...] = SEVERITIES
    size: int | None = None
    whole: int | None = None
    test_images: int | None = None
    attack_images: int | None = None
    suite_images: int | None = None
    certificate_images: int = 32
    note: str = ""


# robust-models-transfer (Salman et al. 2020), which URRL follows; the rate falls to a tenth after each third
_PLAN: Mapping[str, Any] = {
    "epochs": 150, "batch_size": 64, "lr": 0.01, "optimizer": "sgd", "weight_decay": 5e-4, "schedule": "step",
    "milestones": (50, 100),
}  # fmt: skip

SMOKE = Transfer(
    name="smoke",
    note="A tiny network and a handful of digits: the numbers mean nothing.",
    pretraining=pretraining.SMOKE,
    data={"CIFAR-10": Source("digits", train_images=64)},
    plan={**_PLAN, "epochs": 1, "batch_size": 16, "milestones": (0.5,)},
    hardening_plan={"epochs": 1, "batch_size": 16, "lr": 0.001},
    steps=4,
    search=False,
    size=16,
    severities=(3,),
    test_images=32,
    attack_images=8,
    suite_images=10,
    certificate_images=4,
)

# The start "Supervised" is the supervised network of label-efficiency-table-1.
_DESK_STARTS = replace(
    pretraining.DESK,
    supervised_plan=pretraining.DESK_LABELS.supervised_plan,
    augment=pretraining.DESK_LABELS.augment,
)
_DESK_NOTE = (
    "All at 32 px. Starts: the CNN of four layers of urrl-table-1, pretrained on 20,000 images of CIFAR-10 without "
    "labels; Supervised: the same with their labels (of label-efficiency-table-1), so it has no cell for CIFAR-10. "
    "Where they are not in the store they are trained first, about 10 minutes each. "
)
# Costs were measured on one core of a busy machine: an image 0.43 ms in a step and 0.27 ms in a step of an attack. That
# two cores are 1.4 times as fast is an estimate.
DESK = Transfer(
    name="desk",
    note=f"{_DESK_NOTE}Every training has 1,000 steps, since the sets differ in size. CIFAR-10, MNIST, Imagenette: "
    "2,000 training images; DTD: ten of its classes; X-ray: three classes that differ by their source too, so it "
    "compares models and diagnoses nothing. Budget, for each of five sets: 7 trainings of 64,000 images, one of them "
    "six times as dear, 32 short ones that choose settings, and 28 attacks with certificates, 12 minutes on one "
    "core; about 45 minutes on two for all.",
    pretraining=_DESK_STARTS,
    known={SUPERVISED: ("CIFAR-10",)},
    data={
        "CIFAR-10": Source("cifar10:$DATA/cifar10", train_images=2000),
        "DTD": Source("folder:$DATA/dtd10"),
        "MNIST": Source("mnist:$DATA/mnist", train_images=2000),
        "X-ray": Source("folder:$DATA/covid-xray/three_class"),
        "Imagenette": Source("folder:$DATA/imagenette", train_images=2000),
    },
    plan=_PLAN,
    adversarial_plan={"lr": 0.05},
    hardening_plan={"epochs": 10, "batch_size": 128, "lr": 0.001},
    steps=1000,
    augment="Chain(RandomResizedCrop(32, (0.2, 1.0)), HorizontalFlip())",
    fit=Logistic(l2="auto"),
    size=32,
    test_images=2000,
    attack_images=500,
    suite_images=2000,
)
_CIFAR = {"CIFAR-10": Source("cifar10:$DATA/cifar10", train_images=5000)}
DESK_CIFAR = replace(
    DESK,
    note=f"{_DESK_NOTE}5,000 training images, 2,000 steps a training. Budget: urrl-table-3 has 5 trainings of 55 s on "
    "one core, 30 short ones and a minute for the 75 sets of each, 15 minutes; urrl-appendix-a 11 trainings and 33 "
    "attacks, 13 minutes.",
    data=_CIFAR,
    steps=2000,
    known={},
)
DESK_FRONT = replace(
    DESK_CIFAR,
    note=f"{_DESK_NOTE}5,000 training images, 2,000 steps a training. Corruptions at severity 3. Budget: 12 "
    "trainings of 1 to 2 minutes on one core, 27 short ones, the hardening, and 17 s for each of 39 combinations: 36 "
    "minutes, about 26 on two.",
    severities=(3,),
    suite_images=1000,
)

PAPER = Transfer(
    name="paper",
    note="As published: ResNet-50 of ImageNet, 12 data sets at 256 px, top-1 for all of them; for GPUs. The settings "
    "of adversarial training are those of the code that the paper names.",
    pretraining=pretraining.PAPER,
    supervised="torchvision:resnet50@$DATA/resnet50-imagenet1k-v1.safetensors",
    side=256,
    data={name: Source(f"{source}:$DATA/{source}") for name, source in PAPER_DATA.items()},
    corrupted={"CIFAR-10": "cifar10-c:$DATA/cifar10-c", "CIFAR-100": "cifar100-c:$DATA/cifar100-c"},
    plan={**_PLAN, "workers": 16},
    adversarial_plan={"batch_size": 128, "lr": 0.1},
    hardening_plan={"epochs": 25, "batch_size": 256, "lr": 3e-4, "precision": "16-mixed", "workers": 16},
    augment="Chain(RandomResizedCrop(256), HorizontalFlip())",
    fit=Logistic(l2="auto"),
    size=256,
    whole=WHOLE,
)

SCALES: Mapping[str, Mapping[str, Transfer]] = {
    "urrl-table-2": {"smoke": SMOKE, "desk": DESK, "paper": PAPER},
    "urrl-table-3": {"smoke": SMOKE, "desk": DESK_CIFAR, "paper": PAPER},
    "urrl-appendix-a": {"smoke": SMOKE, "desk": DESK_CIFAR, "paper": PAPER},
    "test-time-similarity": {"smoke": SMOKE, "desk": DESK_CIFAR, "paper": PAPER},
    "front": {"smoke": SMOKE, "desk": DESK_FRONT, "paper": PAPER},
}
