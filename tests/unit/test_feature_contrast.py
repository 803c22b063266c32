"""Feature contrastive learning: utility, sensitivity, perturbations, and the step against algorithm 1 line by line."""

import copy
import math
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import methods, random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.methods import (
    FeatureContrastive,
    FeatureSettings,
    Supervised,
    UtilityNoise,
    WholeNoise,
    build_labelled,
)
from weatherproof.methods.partners import VANISHED
from weatherproof.objectives import FeatureContrast, FeatureContrastMargin, class_losses, feature_contrast
from weatherproof.training import Plan, RunFolder, train_classifier

ROWS, SIDE, CLASSES = 6, 16, 4


def _encoder() -> Encoder:
    """With batch normalisation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return load_encoder("small(width=4, channels=3)", num_classes=0)


def _batch(rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.rand(rows, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return images, torch.arange(rows) % CLASSES, random.keys(0, torch.arange(rows))


def _classifier() -> nn.Sequential:
    encoder = _encoder()
    with random.framework_seed(3):
        return nn.Sequential(encoder, nn.Linear(encoder.feature_dim, CLASSES))


def _smooth() -> nn.Sequential:
    with random.framework_seed(4):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(5)).double()


# utility and sensitivity


def test_utility_is_the_slope_of_the_loss() -> None:
    model, (images, labels, _) = _classifier().eval().double(), _batch(2)
    with torch.no_grad():
        model[0].mean, model[0].std = model[0].mean.double(), model[0].std.double()
    images = images.double()
    found = methods.utility(lambda x: model(x.double()), images, labels[:2])
    for row, channel, y, x in [(0, 0, 3, 5), (0, 2, 8, 8), (1, 1, 15, 0)]:
        step = torch.zeros_like(images)
        step[row, channel, y, x] = 1e-6
        up, down = (F.cross_entropy(model(images + s), labels[:2], reduction="sum") for s in (step, -step))
        slope = abs(float((up - down).detach() / 2e-6))
        assert float(found[row, channel, y, x]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_utility_leaves_the_model_alone() -> None:
    model, (images, labels, _) = _classifier().train(), _batch()
    before = copy.deepcopy(model.state_dict())
    model[1].weight.grad = torch.ones_like(model[1].weight)
    model.eval()
    with torch.inference_mode():
        found = methods.utility(model, images.clone(), labels.clone())
    assert found.shape == images.shape and not found.requires_grad and bool((found >= 0).all())
    assert not model.training and bool((model[1].weight.grad == 1).all())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.grad for p in model[0].parameters()] == [None] * len([*model[0].parameters()])


def test_utility_is_computed_in_float32_whatever_autocast_says() -> None:
    """A confident model's gradient underflows in 16-bit floats, and then nothing can be ranked."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    images, labels, _ = _batch()
    with torch.no_grad():
        model[1].bias.copy_(25 * F.one_hot(torch.tensor(0), CLASSES))
    labels = torch.zeros_like(labels)
    exact = methods.utility(model, images, labels)
    with torch.autocast("cpu", dtype=torch.float16):
        found = methods.utility(model, images, labels)
        pixels = images.clone().requires_grad_()
        F.cross_entropy(model(pixels), labels, reduction="sum").backward()
    assert pixels.grad is not None and float(pixels.grad.abs().max()) == 0
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
    assert 0 < float(exact.max()) < 6e-8


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_sensitivity_is_the_norm_of_the_jacobians_columns(chunk: int) -> None:
    model, (images, _, _) = _smooth(), _batch(3)
    model(images.double())
    jacobian = torch.func.jacrev(lambda x: model(x[None])[0])
    expected = torch.stack([jacobian(image).square().sum(dim=0).sqrt() for image in images.double()])
    model.float()
    torch.testing.assert_close(methods.sensitivity(model, images, chunk), expected.float(), rtol=1e-4, atol=1e-6)


def test_sensitivity_with_pooling_and_batch_norm() -> None:
    encoder, (images, _, _) = _encoder().eval(), _batch(2)
    pixels = images.clone().requires_grad_()
    embeddings, squares = encoder(pixels), torch.zeros_like(images)
    for dimension in range(encoder.feature_dim):
        (column,) = torch.autograd.grad(embeddings[:, dimension].sum(), pixels, retain_graph=True)
        squares += column.square()
    torch.testing.assert_close(methods.sensitivity(encoder, images), squares.sqrt(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("labels", [[0, 1, 4, 0, 0, 0], [0, -1, 0, 0, 0, 0]])
def test_labels_out_of_range(labels: list[int]) -> None:
    images, _, _ = _batch()
    with pytest.raises(InputError, match=r"labels must be 0 \.\. 3"):
        methods.utility(_classifier(), images, torch.tensor(labels))


def test_models_without_gradients_are_refused() -> None:
    images, labels, _ = _batch()
    with pytest.raises(InputError, match="no gradient"):
        methods.utility(lambda x: torch.zeros(len(x), CLASSES), images, labels)
    with pytest.raises(InputError, match="differentiated"):
        methods.sensitivity(lambda x: torch.zeros(len(x), 2), images)
    with pytest.raises(InputError, match="1 or more"):
        methods.sensitivity(_smooth(), images, 0)


# perturbations


def test_noise_falls_on_the_most_and_on_the_least_useful_elements() -> None:
    images, _, keys = _batch()
    useful = torch.rand(images.shape, generator=torch.Generator().manual_seed(2))
    partners = UtilityNoise(50, 0.5)(images, keys, useful)
    assert partners.high is not None and partners.keep is not None and bool(partners.keep.all())
    for row in range(ROWS):
        order = useful[row].flatten().argsort()
        for changed, places in ((partners.low, order[:50]), (partners.high, order[-50:])):
            moved = (changed[row] != images[row]).flatten().nonzero().flatten()
            assert sorted(moved.tolist()) == sorted(places.tolist())


def test_noise_has_the_size_that_was_asked_for_and_belongs_to_the_image() -> None:
    images, keys = torch.full((400, 3, 8, 8), 0.5), random.keys(0, torch.arange(400))
    useful = torch.rand(images.shape, generator=torch.Generator().manual_seed(2))
    noise = UtilityNoise(50, 0.5)
    partners = noise(images, keys, useful)
    assert partners.high is not None
    for changed in (partners.low, partners.high):
        added = (changed - images)[changed != images]
        assert float(added.std()) == pytest.approx(0.5, rel=0.02) and abs(float(added.mean())) < 0.02
        assert float(changed.min()) < 0 and float(changed.max()) > 1  # nothing is clamped
    alone = noise(images[7:9], keys[7:9], useful[7:9])
    assert torch.equal(alone.low, partners.low[7:9])


def test_a_vanished_utility_drops_the_high_perturbation() -> None:
    images, _, keys = _batch()
    useful = torch.rand(images.shape) + 0.1
    useful[2] *= 0
    useful[4] = VANISHED / 2
    partners = UtilityNoise(5)(images, keys, useful)
    assert partners.keep is not None and partners.keep.tolist() == [True, True, False, True, False, True]


def test_k_must_fit_the_image() -> None:
    images, _, keys = _batch()
    with pytest.raises(InputError, match=r"k is 769, but an image has 768 \(3 x 16 x 16\) elements.*at most 384"):
        UtilityNoise(769)(images, keys, images)
    with pytest.warns(UserWarning, match="overlap"):
        UtilityNoise(385)(images, keys, images)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        UtilityNoise(0)
    with pytest.raises(ValueError, match="sigma"):
        UtilityNoise(5, -1.0)


def test_the_rivals_noise_is_on_every_element() -> None:
    images, _, keys = _batch()
    partners = WholeNoise(0.3)(images, keys, None)
    assert partners.high is None and partners.keep is None
    assert float((partners.low - images).std()) == pytest.approx(0.3, rel=0.05)


# the step


def _step(learner: nn.Module, step: int = 0) -> dict[str, Tensor]:
    images, labels, keys = _batch()
    if isinstance(learner, FeatureContrastive):
        learner.at_step(step)
    learner.zero_grad()
    terms = learner(images, labels, torch.arange(ROWS), keys, lambda rows: rows)
    terms["loss"].backward(inputs=[p for p in learner.parameters() if p.requires_grad])
    return terms


def _literal(encoder: nn.Module, head: nn.Module, noise: UtilityNoise, weight: float, temperature: float) -> Tensor:
    """Algorithm 1: a pass and a backward for the utility, then one pass each; running statistics of the clean one."""
    images, labels, keys = _batch()
    running = copy.deepcopy(encoder.state_dict())
    pixels = images.clone().requires_grad_()
    F.cross_entropy(head(encoder(pixels)), labels, reduction="sum").backward()
    assert pixels.grad is not None
    encoder.load_state_dict(running)
    partners = noise(images, random.fold(keys, methods.parts.NOISE), pixels.grad.abs())
    z = encoder(images)
    running = copy.deepcopy(encoder.state_dict())
    assert partners.high is not None
    low, high = encoder(partners.low), encoder(partners.high)
    encoder.zero_grad()
    head.zero_grad()
    loss = F.cross_entropy(head(z), labels) + weight * feature_contrast(z, low, high, None, temperature).sum()
    loss.backward()
    encoder.load_state_dict(running)
    return loss


def test_a_step_is_algorithm_1() -> None:
    learner = FeatureContrastive(_encoder(), _classifier()[1], UtilityNoise(50), FeatureContrast(0.5), 0.01).train()
    encoder, head = copy.deepcopy(learner.encoder), copy.deepcopy(learner.head)
    assert isinstance(encoder, nn.Module)
    expected = _literal(encoder, head, UtilityNoise(50), 0.01, 0.5)
    found = _step(learner)
    torch.testing.assert_close(found["loss"], expected)
    for ours, theirs in zip(learner.parameters(), [*encoder.parameters(), *head.parameters()], strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    for name, value in learner.encoder.state_dict().items():  # batch norm saw the clean images alone
        torch.testing.assert_close(value, encoder.state_dict()[name], msg=name)


@pytest.mark.parametrize(
    ("layer", "where"), [("1", "block1"), ("block2", "block2"), ("-1", "block3"), ("output", None)]
)
def test_the_contrast_at_another_layer(layer: str, where: str | None) -> None:
    """With hooks of this test's own in place of taps."""
    learner = FeatureContrastive(
        _encoder(), _classifier()[1], UtilityNoise(50), FeatureContrast(0.5), 0.01, layer=layer
    ).train()
    encoder, head = copy.deepcopy(learner.encoder), copy.deepcopy(learner.head)
    assert isinstance(encoder, Encoder)
    images, labels, keys = _batch()
    seen: list[Tensor] = []
    if where is not None:
        part = dict(encoder.named_modules())[next(n for n, _ in encoder.named_modules() if n.endswith(where))]
        part.register_forward_hook(lambda _m, _x, out: seen.append(out.mean(dim=(2, 3))))

    def compared(pixels: Tensor) -> Tensor:
        logits = head(encoder(pixels))
        return logits if where is None else seen[-1]

    pixels = images.clone().requires_grad_()
    running = copy.deepcopy(encoder.state_dict())
    F.cross_entropy(head(encoder(pixels)), labels, reduction="sum").backward()
    assert pixels.grad is not None
    encoder.load_state_dict(running)
    partners = UtilityNoise(50)(images, random.fold(keys, methods.parts.NOISE), pixels.grad.abs())
    assert partners.high is not None
    logits = head(encoder(images))
    z = logits if where is None else seen[-1]
    term = feature_contrast(z, compared(partners.low), compared(partners.high), None, 0.5).sum()
    torch.testing.assert_close(_step(learner)["loss"], F.cross_entropy(logits, labels) + 0.01 * term)


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(InputError, match="expected output, one of block1, block2, block3, embedding, or 1 to 4"):
        FeatureContrastive(_encoder(), _classifier()[1], UtilityNoise(5), FeatureContrast(), 0.1, layer="5")


@pytest.mark.parametrize("name", class_losses.CLASS_LOSSES)
def test_other_losses_against_loops(name: str) -> None:
    """And the utility is the slope of the one that is minimised."""
    draws = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(6, 4, generator=draws, dtype=torch.float64), torch.arange(6) % 4
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shares = [math.exp(v) / sum(map(math.exp, row)) for v in row]
        others = max(v for c, v in enumerate(row) if c != label)
        expected.append({
            "cross-entropy": -math.log(shares[label]),
            "squared-error": sum((share - (c == label)) ** 2 for c, share in enumerate(shares)),
            "hinge": max(0.0, 1 + others - row[label]),
        }[name])  # fmt: skip
    loss = class_losses.class_loss(name)
    torch.testing.assert_close(loss(logits, labels), torch.tensor(expected))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    images = torch.rand(6, 3, 2, 2, generator=draws)
    found, step = methods.utility(linear, images, labels, loss), torch.zeros_like(images)
    step[2, 1, 0, 1] = 1e-3
    up, down = (float(loss(linear(images + s), labels)[2].detach()) for s in (step, -step))
    assert float(found[2, 1, 0, 1]) == pytest.approx(abs(up - down) / 2e-3, rel=1e-2, abs=1e-4)


def test_settings_beside_the_papers() -> None:
    """What the paper ran keeps the name that it had; what it describes beside it is told."""
    plain = FeatureSettings(k=5)
    assert "margin" not in repr(plain) and "layer" not in repr(plain) and "loss" not in plain.used("fcl")
    other = FeatureSettings(margin=0.5, layer="output", loss="hinge")
    assert repr(other).endswith("patch=None, margin=0.5, layer='output', loss='hinge')")
    used = other.used("fcl")
    assert (used["margin"], used["layer"], used["loss"]) == (0.5, "output", "hinge") and "temperature" not in used
    assert other.objective("fcl") == FeatureContrastMargin(0.5) and plain.objective("fcl") == FeatureContrast(0.1)
    with pytest.raises(InputError, match="unknown loss: 'hing'.*did you mean hinge|hing"):
        FeatureSettings(loss="hing")


def test_before_its_start_it_is_cross_entropy_and_then_it_ramps_up() -> None:
    learner = FeatureContrastive(
        _encoder(), _classifier()[1], UtilityNoise(50), FeatureContrast(), 0.01, start=10, ramp=4
    ).train()
    plain = Supervised(copy.deepcopy(learner.encoder), copy.deepcopy(learner.head)).train()
    before, expected = _step(learner, 9), _step(plain)
    assert float(before["contrast"]) == 0
    torch.testing.assert_close(before["loss"], expected["loss"], rtol=1e-6, atol=0)  # some processors add otherwise
    for ours, theirs in zip(learner.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    weights = []
    for step in (9, 10, 11, 12, 13, 14, 100):
        learner.at_step(step)
        weights.append(learner.weight_now)
    assert weights == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_half_precision_steps() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        learner = FeatureContrastive(_encoder(), _classifier()[1], UtilityNoise(50), FeatureContrast(0.5), 0.01).train()
        exact = float(_step(copy.deepcopy(learner))["loss"].detach())
        with torch.autocast("cpu", dtype=dtype):
            found = _step(learner)
        assert float(found["loss"].detach()) == pytest.approx(exact, rel=0.05)
        seen = learner.encoder.state_dict()
        counts = [int(v) for n, v in seen.items() if n.endswith("num_batches_tracked")]
        assert set(counts) == {1}  # the utility's own pass, in float16, leaves no trace


@pytest.mark.parametrize("name", list(methods.SECOND_TERM))
def test_the_rivals_are_made_of_the_same_pieces(name: str) -> None:
    settings = methods.feature_settings(name, size=SIDE, channels=3, classes=CLASSES)
    learner = build_labelled(name, _encoder(), _classifier()[1], settings)
    assert isinstance(learner, FeatureContrastive)
    images, labels, keys = _batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        terms = _step(learner.train())
    if name == "xe-gaussian":
        noisy = learner.partner(images, random.fold(keys, methods.parts.NOISE), None).low
        with methods.parts.batch_statistics(learner):
            expected = F.cross_entropy(learner.head(learner.encoder(noisy)), labels, reduction="sum")
        torch.testing.assert_close(terms["contrast"], expected.detach(), rtol=1e-4, atol=1e-5)
    total = terms["cross_entropy"] + terms["weight"] * terms["contrast"]
    torch.testing.assert_close(terms["loss"].detach(), total)
    assert all(p.grad is not None for p in learner.parameters() if p.requires_grad)


def test_bad_settings_and_calls() -> None:
    encoder, head = _encoder(), _classifier()[1]
    with pytest.raises(InputError, match=r"weight \(lambda\).*got -1.*multiplies the sum"):
        FeatureContrastive(encoder, head, UtilityNoise(), FeatureContrast(), -1.0)
    with pytest.raises(InputError, match="multiplies the mean"):
        FeatureContrastive(encoder, head, UtilityNoise(), FeatureContrast(reduction="mean"), float("nan"))
    with pytest.raises(InputError, match="start and ramp"):
        FeatureContrastive(encoder, head, UtilityNoise(), FeatureContrast(), 1.0, start=-1)
    learner = FeatureContrastive(encoder, head, UtilityNoise(50), FeatureContrast(), 1.0)
    with pytest.raises(InputError, match="evaluation mode"):
        _step(learner.eval())


# published settings


def test_published_settings() -> None:
    """Appendix B."""
    cifar = methods.feature_settings("fcl", size=32, channels=3, classes=10)
    assert (cifar.k, cifar.sigma, cifar.temperature, cifar.weight) == (256, 0.5, 2.0, 1e-4)
    assert cifar.start_epoch * 50_000 / 1024 == pytest.approx(14_000)
    hundred = methods.feature_settings("patch-gaussian-fcl", size=32, channels=3, classes=100)
    assert (hundred.temperature, hundred.patch) == (0.1, "PatchGaussian(25, 0.05)")
    assert hundred.start_epoch * 50_000 / 1024 == pytest.approx(10_000)
    imagenet = methods.feature_settings("patch-gaussian-fcl", size=224, channels=3, classes=1000)
    assert (imagenet.k, imagenet.temperature, imagenet.weight) == (2048, 1.0, 4e-4)
    assert imagenet.patch == "PatchGaussian((1, 250), 1.0)"
    assert imagenet.start_epoch * 1_281_167 / 1024 == pytest.approx(78_000)
    for size in (32, 224):
        assert methods.feature_settings("xe-gaussian", size=size, channels=3, classes=10).start_epoch == 0
    mnist = methods.feature_settings("fcl", size=28, channels=1, classes=15, epochs=10)
    assert (mnist.weight, mnist.temperature, mnist.start_epoch, mnist.ramp_epochs) == (1e-3, 0.1, 1.0, 1.0)
    with pytest.raises(InputError, match="fcl"):
        methods.feature_settings("fcll", size=32, channels=3, classes=10)


def test_an_image_counts_for_as_much_in_any_batch() -> None:
    for size, channels in ((32, 3), (224, 3)):
        kind = {"size": size, "channels": channels, "classes": 10}
        published = methods.feature_settings("fcl", **kind).weight
        for batch in (64, 1024):
            assert methods.feature_settings("fcl", batch_size=batch, **kind).weight * batch == published * 1024
    assert methods.feature_settings("fcl", size=28, channels=1, classes=15, batch_size=64).weight == 1e-3


def test_a_second_term_that_never_begins_and_a_patch_that_is_missing() -> None:
    late = methods.FeatureSettings(k=50, start_epoch=2.0)
    for name in ("fcl", "xe-gaussian"):
        with pytest.raises(InputError, match=f"start_epoch 2 is not before the end of 2 epochs: {name}"):
            train_classifier(_encoder(), _images(), plan=Plan(2, 16, 0.01), method=name, settings=late, progress=False)
    methods.check_start("supervised", late, 1.0)
    for name in ("patch-gaussian", "patch-gaussian-fcl"):
        with pytest.raises(InputError, match=f"{name} needs"):
            build_labelled(name, _encoder(), _classifier()[1])


# in training


def _images(rows: int = 48) -> MemoryImages:
    pixels = torch.randint(0, 256, (rows, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return MemoryImages(pixels, torch.arange(rows) % CLASSES)


def test_a_killed_training_ends_where_a_whole_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = methods.FeatureSettings(k=50, weight=0.01, start_epoch=1, ramp_epochs=1)
    plan = Plan(3, 16, 0.01, seed=0, device="cpu")

    def train(folder: str) -> Encoder:
        run = RunFolder.open(tmp_path / folder, {})
        try:
            return train_classifier(
                _encoder(), _images(), plan=plan, method="fcl", settings=settings, run=run, progress=False
            )[0]
        finally:
            run.close()

    whole = train("whole")
    calls, forward = [0], FeatureContrastive.forward

    def interrupted(self: FeatureContrastive, *given: object) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        return forward(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Plan, "checkpoint_seconds", 0.0, raising=False)
    with monkeypatch.context() as patched:
        patched.setattr(FeatureContrastive, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("killed")
    resumed = train("killed")
    for ours, theirs in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_own_head_goes_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        encoder = load_encoder("resnet20", num_classes=CLASSES)
    settings = methods.FeatureSettings(k=50)
    plan = Plan(1, 48, 1e-30, device="cpu")
    trained, head = train_classifier(
        encoder, _images(), plan=plan, method="fcl", settings=settings, head="own", progress=False
    )
    assert isinstance(encoder.head, nn.Linear) and isinstance(head, nn.Linear) and head is trained.head
    torch.testing.assert_close(head.weight, encoder.head.weight)
    with pytest.raises(InputError, match="linear classifier for 4 classes that the encoder brings; small"):
        train_classifier(_encoder(), _images(), plan=plan, head="own", progress=False)
