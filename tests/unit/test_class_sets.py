"""When a classifier's classes are believed to be those of the images, and what becomes of its answers then."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from weatherproof.data import MemoryImages, load_images
from weatherproof.data.cifar_classes import CIFAR_10, CIFAR_100
from weatherproof.encoders import load_encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import evaluate, relabel
from weatherproof.evaluation.class_sets import Head, class_fit, head_of, head_of_readout
from weatherproof.readouts import Readout

NAMELESS = Head(10, "10 classes", numbered=True)
BREEDS = ("beagle", "boxer", "borzoi", "briard", "dingo", "kelpie", "malinois", "pug", "saluki", "whippet")


def images_of(*classes: str) -> MemoryImages:
    """Black images, four a class."""
    labels = torch.arange(len(classes)).repeat(4)
    return MemoryImages(torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8), labels, classes)


@pytest.fixture(scope="module")
def imagenet() -> Head:
    return head_of(load_encoder("torchvision:squeezenet1_0@random"))


def cifar(outputs: int) -> Head:
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = load_encoder("resnet20")
    encoder.num_classes = outputs
    return head_of(encoder)


def test_a_count_that_agrees_is_no_reason() -> None:
    for head in (cifar(10), NAMELESS):
        fit = class_fit(head, images_of(*BREEDS))
        assert not fit.believed and "beagle, boxer, borzoi, ... (10 classes)" in fit.why
        assert "--classes-match says that both are the same" in fit.why
    assert "--classes-match" not in class_fit(cifar(100), images_of(*BREEDS)).why  # they cannot be


@pytest.mark.parametrize(("outputs", "names"), [(10, CIFAR_10), (100, CIFAR_100)])
def test_the_names_of_cifar_are_a_reason_for_the_networks_of_cifar(outputs: int, names: tuple[str, ...]) -> None:
    fit = class_fit(cifar(outputs), images_of(*names))
    assert (fit.believed, fit.why, fit.order, fit.data(images_of(*names))) == (True, "", None, None)
    spelt = [name.replace("_", " ").title() for name in names]
    fit = class_fit(cifar(outputs), images_of(*spelt))
    assert fit.believed and fit.order is None
    assert not class_fit(NAMELESS, images_of(*CIFAR_10)).believed


def test_numbers_are_the_outputs_of_a_classifier_without_names_alone() -> None:
    digits = load_images("digits", "test")
    assert class_fit(NAMELESS, digits).believed and class_fit(NAMELESS, digits).order is None
    assert "0 to 9 are taken as the numbers" in class_fit(NAMELESS, digits).why
    assert not class_fit(cifar(10), digits).believed
    assert class_fit(NAMELESS, images_of(*(f"{i:03}" for i in range(10)))).believed
    assert not class_fit(NAMELESS, images_of(*map(str, range(1, 11)))).believed  # from 1: which output is class 1?
    assert not class_fit(NAMELESS, images_of(*map(str, range(9)))).believed


def test_imagenets_classes_by_id_by_name_and_by_number(imagenet: Head) -> None:
    import timm.data
    from torchvision.models import SqueezeNet1_0_Weights

    ids = timm.data.ImageNetInfo().label_names()
    english = SqueezeNet1_0_Weights.DEFAULT.meta["categories"]
    with_both = [f"{wnid}-{name.replace('/', ' ')}" for wnid, name in zip(ids, english, strict=True)]
    numbers = list(map(str, range(1000)))
    for names in (ids, english, with_both, numbers, [name.replace(" ", "_").lower() for name in english]):
        fit = class_fit(imagenet, images_of(*names))
        assert fit.believed and fit.order is None
    as_text = sorted(numbers)  # 0, 1, 10, 100, ...
    fit = class_fit(imagenet, images_of(*as_text))
    assert fit.order == tuple(map(int, as_text)) and fit.classes == tuple(as_text)
    fit = class_fit(imagenet, images_of(*sorted(english)))
    assert fit.order == tuple(map(english.index, sorted(english)))
    assert "in another order: matched by name" in fit.why


def test_some_of_imagenets_classes_are_judged_among_all(imagenet: Head) -> None:
    import timm.data

    ids = timm.data.ImageNetInfo().label_names()
    some = images_of(*(ids[place] for place in (0, 217, 482)))
    fit = class_fit(imagenet, some)
    assert fit.order is not None and fit.order[:3] == (0, 217, 482) and sorted(fit.order) == list(range(1000))
    assert fit.data(some) == "memory among 1,000 classes" and "3 of the classifier's 1,000" in fit.why
    assert fit.classes[:4] == (ids[0], ids[217], ids[482], ids[1])
    assert not class_fit(imagenet, images_of("mouse", "crane")).believed  # a computer's, and a machine
    assert not class_fit(imagenet, images_of("0", "1", "2")).believed


def test_larger_versions_of_imagenet_are_known_by_their_number_of_classes() -> None:
    encoder = load_encoder("timm:resnet10t@random", num_classes=11821)
    fit = class_fit(head_of(encoder), images_of("n02084071", "n01503061"))  # dog, bird: no class of the usual 1,000
    assert fit.believed and fit.among == 11821


class Brightest(nn.Module):
    """Logits from the first row of pixels, so that images can be made that it answers at will."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))][:4])
def test_accuracy_does_not_depend_on_the_order_of_the_class_folders(order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    pixels, labels = torch.randint(0, 255, (60, 1, 2, 3), dtype=torch.uint8), torch.arange(60) % 3
    names = ("ant", "bee", "cat")
    head = head_of_readout(Readout(nn.Linear(3, 3), names))
    (expected,) = evaluate({"m": Brightest()}, MemoryImages(pixels, labels, names), metrics=("top1",))
    shuffled = MemoryImages(pixels, torch.tensor(order).argsort()[labels], [names[i] for i in order])
    fit = class_fit(head, shuffled)
    (found,) = evaluate({"m": fit.classifier(Brightest())}, shuffled, metrics=("top1",))
    assert found.value == expected.value and 0.1 < found.value < 0.9


def test_accuracy_among_all_classes_is_that_of_images_relabelled_as_the_classifiers() -> None:
    torch.manual_seed(1)
    names = tuple("abcdefgh")
    pixels, labels = torch.randint(0, 255, (90, 1, 2, 8), dtype=torch.uint8), torch.arange(90) % 3
    images = MemoryImages(pixels, labels, ("g", "b", "e"))
    head = head_of_readout(Readout(nn.Linear(8, 8), names))
    fit = class_fit(head, images)
    told = relabel(images, {name: name for name in images.classes}, names)
    for metric in ("top1", "top3"):
        (expected,) = evaluate({"m": Brightest()}, told, metrics=(metric,))
        (found,) = evaluate({"m": fit.classifier(Brightest())}, images, metrics=(metric,), data=fit.data(images))
        assert found.value == expected.value and 0 < found.value < 1
    (closed,) = evaluate({"m": Brightest()}, images, metrics=("top3",))
    assert found.protocol != closed.protocol  # no number to set beside one among three classes


def test_the_users_word_is_taken_where_it_can_be_true() -> None:
    breeds = images_of(*BREEDS)
    fit = class_fit(cifar(10), breeds, classes_match=True)
    assert fit.believed and fit.order is None and "user's word" in fit.why
    with pytest.raises(InputError, match="it has 100 where 'memory' has 10"):
        class_fit(cifar(100), breeds, classes_match=True)
    flat = MemoryImages(breeds.pixels, None, BREEDS)
    with pytest.raises(InputError, match="images without a label"):
        class_fit(cifar(10), flat, classes_match=True)
    assert not class_fit(cifar(10), flat).believed


def test_names_come_before_the_users_word() -> None:
    fit = class_fit(cifar(10), images_of(*reversed(CIFAR_10)), classes_match=True)
    assert fit.order == tuple(range(9, -1, -1))


def test_classes_that_two_names_would_fit_are_not_guessed() -> None:
    head = head_of_readout(Readout(nn.Linear(2, 3), ("top hat", "top_hat", "cap")))
    assert class_fit(head, images_of("top hat", "top_hat", "cap")).order is None
    assert class_fit(head, images_of("cap", "top hat", "top_hat")).order == (2, 0, 1)
    assert not class_fit(head, images_of("cap", "Top Hat", "TOP_HAT")).believed
