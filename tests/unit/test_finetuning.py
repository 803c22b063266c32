"""Regularized fine-tuning: the terms against loops over pairs and weights, what is frozen, what is refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import objectives, random, spec
from weatherproof.attacks import L2, PGD
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.methods import AdversarialTraining, FineTuning, Supervised
from weatherproof.objectives import L2SP, InputGradient, SimilarityMatrix, similarity_distance
from weatherproof.readouts import MLPHead, finetune_encoder
from weatherproof.training import Plan
from weatherproof.views import HorizontalFlip

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")

PIXELS = torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(30) % 3)
PLAN = Plan(epochs=1, batch_size=10, lr=0.01, optimizer="sgd", device="cpu")


def _encoder(seed: int = 0, width: int = 4) -> Encoder:
    return load_encoder(f"small(width={width}, channels=3)", seed=seed)


def _head(encoder: Any, classes: int = 3) -> nn.Linear:
    with random.framework_seed(1):
        return nn.Linear(encoder.feature_dim, classes)


def _batch(n: int = 8) -> tuple[Any, ...]:
    index = torch.arange(n) + 5
    return PIXELS[:n].float() / 255, torch.arange(n) % 3, index, random.keys(0, index), lambda rows: rows


def _rows(seed: int, n: int = 6, features: int = 5) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("squared", [True, False])
def test_similarity_is_a_loop_over_pairs(normalize: bool, squared: bool) -> None:
    student, teacher = _rows(0), _rows(1)
    total = 0.0
    for i in range(6):
        for j in range(6):
            pair = []
            for rows in (student, teacher):
                length = float(rows[i].norm() * rows[j].norm()) if normalize else 1.0
                pair.append(sum(float(a) * float(b) for a, b in zip(rows[i], rows[j], strict=True)) / length)
            total += (pair[0] - pair[1]) ** 2
    expected = total / 36 if squared else total**0.5 / 6
    assert SimilarityMatrix(3.0, normalize, squared)(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_similarity_has_a_gradient_where_nothing_has_changed() -> None:
    rows = _rows(0).requires_grad_()
    value = similarity_distance(rows, rows.detach())
    (gradient,) = torch.autograd.grad(value, rows)
    assert value.item() == pytest.approx(1e-6 / 6) and gradient.isfinite().all()
    assert torch.autograd.gradcheck(lambda x: similarity_distance(x, _rows(1)), _rows(0).requires_grad_())


def test_similarity_does_not_grow_with_the_batch() -> None:
    """Every image twice: the same mean over pairs."""
    student, teacher = _rows(0), _rows(1)
    twice = similarity_distance(student.repeat(2, 1), teacher.repeat(2, 1))
    torch.testing.assert_close(twice, similarity_distance(student, teacher))


def test_l2sp_is_a_loop_over_weights() -> None:
    encoder, start, head = _encoder(), _encoder(3), _head(_encoder())
    expected = 0.0
    for name, weight in encoder.named_parameters():
        for a, b in zip(weight.flatten().tolist(), start.get_parameter(name).flatten().tolist(), strict=True):
            expected += 0.3 / 2 * (a - b) ** 2
    for weight in head.parameters():
        expected += sum(0.2 / 2 * a**2 for a in weight.flatten().tolist())
    terms = FineTuning(encoder, head, start, sp=L2SP(0.3, 0.2))(*_batch())
    assert terms["l2_sp"].item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    encoder = _encoder()
    parts = {"similarity": SimilarityMatrix(2.0), "sp": L2SP(0.3, 0.2), "tikhonov": InputGradient(0.5)}
    method = FineTuning(encoder, _head(encoder), _encoder(3), **parts).eval()  # type: ignore[arg-type]
    terms = method(*_batch())
    expected = terms["cross_entropy"] + 2 * terms["similarity"] + terms["l2_sp"] + 0.25 * terms["penalty"]
    torch.testing.assert_close(terms["loss"].detach(), expected)
    images, labels, *_ = _batch()
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(method.head(encoder(images)), labels).detach())
    alone = FineTuning(_encoder(), _head(encoder)).eval()(*_batch())
    torch.testing.assert_close(alone["loss"].detach(), terms["cross_entropy"])


@pytest.mark.parametrize("method", ["exact", "finite", "gradients"])
def test_regularizers_add_their_gradients(method: str) -> None:
    """All at once move the weights by the sum of what each moves alone."""
    tikhonov = InputGradient(0.5, method)
    parts: dict[str, Any] = {"similarity": SimilarityMatrix(2.0), "sp": L2SP(0.3, 0.2), "tikhonov": tikhonov}

    def slopes(**chosen: Any) -> Tensor:
        encoder = _encoder()
        learner = FineTuning(encoder, _head(encoder), _encoder(3), **chosen).eval()
        weights = [p for p in learner.parameters() if p.requires_grad]
        return torch.cat([g.flatten() for g in torch.autograd.grad(learner(*_batch())["loss"], weights)])

    plain = slopes()
    alone = sum(slopes(**{name: part}) - plain for name, part in parts.items())
    torch.testing.assert_close(slopes(**parts), plain + alone, atol=1e-5, rtol=1e-4)


def test_at_the_start_nothing_has_changed_if_both_normalise_alike() -> None:
    """In training the encoder's batch normalisation takes the statistics of its batch, the teacher's never does."""
    encoder = _encoder()
    encoder.train()
    with torch.no_grad():
        encoder(torch.rand(64, 3, 16, 16))  # running statistics that are those of no batch
    method = FineTuning(encoder, _head(encoder), similarity=SimilarityMatrix(), augment=HorizontalFlip())
    assert method.train()(*_batch())["similarity"] > 0.01
    again = FineTuning(encoder, _head(encoder), similarity=SimilarityMatrix(), augment=HorizontalFlip())
    assert again.eval()(*_batch())["similarity"] < 1e-6


class Plain(nn.Module):
    """No batch normalisation."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.conv(images).relu().mean(dim=(2, 3))


def test_the_teacher_sees_the_same_pixels_and_stays_as_it_is() -> None:
    encoder = Plain()
    method = FineTuning(encoder, _head(encoder), similarity=SimilarityMatrix(), augment=HorizontalFlip(0.5))
    teacher = method.teacher
    assert isinstance(teacher, Plain) and teacher is not encoder
    assert method.train()(*_batch())["similarity"] < 1e-6  # without batch normalisation in training too
    assert encoder.seen is not None and teacher.seen is not None and torch.equal(encoder.seen, teacher.seen)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    method(*_batch())["loss"].backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not torch.equal(encoder.conv.weight, teacher.conv.weight)


@pytest.mark.parametrize(
    ("text", "moved"),
    [("SimilarityMatrix(1000.0)", "similarity"), ("L2SP(100.0, 0.01)", "weights"), ("InputGradient(10.0)", "penalty")],
)
def test_each_holds_back_what_it_is_to_hold_back(text: str, moved: str) -> None:
    start = _encoder()
    with random.framework_seed(5):  # running statistics of the images, so that the teacher is no stranger to them
        start.train()(PIXELS.float() / 255)

    def measure(regularizers: tuple[str, ...]) -> float:
        plan = Plan(epochs=10, batch_size=10, lr=0.005, optimizer="sgd", device="cpu")
        tuned, head = finetune_encoder(
            start, IMAGES, plan=plan, regularizers=regularizers, head="linear", progress=False
        )
        images, labels = PIXELS.float() / 255, IMAGES.labels
        if moved == "similarity":
            return float(similarity_distance(tuned(images), start.eval()(images)).detach())
        if moved == "weights":
            return float(
                sum(
                    (a - b).detach().square().sum() for a, b in zip(tuned.parameters(), start.parameters(), strict=True)
                )
            )
        losses = lambda x: F.cross_entropy(head(tuned(x)), labels, reduction="none")  # noqa: E731
        return float(InputGradient(1.0).supervised(losses, images)[1].detach())

    assert measure((text,)) < 0.9 * measure(())


def test_finetune_encoder_leaves_the_encoder_alone_and_takes_texts() -> None:
    start = _encoder()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    tuned, head = finetune_encoder(
        start, IMAGES, plan=PLAN, regularizers=("SimilarityMatrix()", L2SP()), progress=False
    )
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert isinstance(head, MLPHead) and not tuned.training and all(p.requires_grad for p in start.parameters())
    assert not torch.equal(next(tuned.parameters()), next(start.parameters()))


def test_text_reads_back() -> None:
    for regularizer in (SimilarityMatrix(0.1, normalize=False, squared=True), SimilarityMatrix(), L2SP(0.01, 0.001)):
        assert objectives.parse_regularizer(repr(regularizer)) == regularizer
        assert spec.parse(repr(regularizer), objectives.REGULARIZERS, "regularizer") == regularizer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularizers": ["SimilarityMatrix(-1.0)"]}, "a number of at least 0, got -1.0"),
        ({"regularizers": ["L2SP(0.1, -2)"]}, "beta of L2SP must be a number of at least 0, got -2"),
        ({"regularizers": ["SimilarityMatrx()"]}, "did you mean SimilarityMatrix"),
        ({"regularizers": ["L2SP()", "L2SP(0.2)"]}, "two regularizers of a kind"),
        ({"regularizers": ["L2SP()"], "plan": PLAN.__class__(epochs=1, batch_size=10, lr=0.01, weight_decay=1e-4)},
         "L2SP takes the place of weight decay: set weight_decay to 0, got 0.0001"),
        ({"head": "mpl"}, "did you mean mlp"),
        ({"head": nn.Linear(16, 2)}, "label 2 of memory is out of range: the head has 2 outputs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    start = _encoder()
    if isinstance(settings.get("head"), nn.Module):
        settings = {"head": nn.Linear(start.feature_dim, 2), "regularizers": ["SimilarityMatrix()"]}
    with pytest.raises(InputError, match=message):
        finetune_encoder(start, IMAGES, **{"plan": PLAN, "progress": False} | settings)


def test_teachers_that_do_not_fit_are_refused() -> None:
    encoder, head = _encoder(), _head(_encoder())
    with pytest.raises(InputError, match="share weights"):
        FineTuning(encoder, head, encoder, SimilarityMatrix())
    with pytest.raises(InputError, match="embeddings of one size"):
        FineTuning(encoder, head, _encoder(width=8), SimilarityMatrix())
    wider = _encoder()
    wider.body.register_parameter("more", nn.Parameter(torch.zeros(1)))
    with pytest.raises(InputError, match="of the same network: body.more differs"):
        FineTuning(encoder, head, wider, sp=L2SP())


class Recorder:
    """An attack that notes what it was given."""

    def __call__(self, model: Any, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        self.images, self.keys, self.logits = images, keys, model(images).detach()
        return (images + 0.1).clamp(0, 1)


def test_adversarial_training_learns_from_the_attacked_images_alone() -> None:
    encoder, attack = Plain(), Recorder()
    head = _head(encoder)
    method = AdversarialTraining(encoder, head, attack, augment=HorizontalFlip(1.0))
    images, labels, index, keys, gather = _batch()
    loss = method(images, labels, index, keys, gather)["loss"]
    assert torch.equal(attack.images, images.flip(-1)) and not torch.equal(attack.keys, keys)
    attacked = (images.flip(-1) + 0.1).clamp(0, 1)
    assert encoder.seen is not None and torch.equal(encoder.seen, attacked)
    torch.testing.assert_close(loss, F.cross_entropy(head(encoder(attacked)), labels))
    torch.testing.assert_close(attack.logits, head(encoder(images.flip(-1))).detach())


def test_the_attack_leaves_the_network_as_it_was() -> None:
    """Modes, running statistics and gradients: only the pass on the attacked images may move them."""
    encoder = _encoder()
    attacks: list[Tensor] = []
    pgd = PGD(L2(0.5), steps=3, step_size=0.2)

    def attack(*given: Any) -> Tensor:
        attacks.append(pgd(*given))
        return attacks[-1]

    method = AdversarialTraining(encoder, _head(encoder), attack).train()
    by_hand = encoder.clone().train()
    method(*_batch())["loss"].backward()
    by_hand(attacks[0])
    assert all(torch.equal(value, encoder.get_buffer(name)) for name, value in by_hand.named_buffers())
    assert all(module.training for module in method.modules())
    moved = (attacks[0] - _batch()[0]).flatten(1).norm(dim=1)
    assert (moved > 0.05).all() and (moved < 0.5 + 1e-6).all()


def test_a_penalty_of_weight_0_is_none() -> None:
    encoder = _encoder()
    method = Supervised(encoder, _head(encoder), tikhonov=InputGradient(0.0))
    assert method(*_batch()).keys() == {"loss", "accuracy"}
