"""`doctor --plan`: counted flops against closed forms, the formula against plain arithmetic, and the simulation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import weatherproof as wp
from weatherproof.cards import CARDS, card_of
from weatherproof.encoders import Preprocessing, save_encoder
from weatherproof.errors import InputError
from weatherproof.verbs.doctor.counting import Counted, Loss, counted, counted_loss
from weatherproof.verbs.doctor.formula import Scale, evaluate, limits
from weatherproof.verbs.doctor.simulation import Failure, planned_shards, simulate
from weatherproof.verbs.doctor.terms import Terms, ordering, terms_of


def vit_flops(side: int, patch: int, width: int, depth: int) -> float:
    """Of a vision transformer's forward pass: projections 12 D^2, attention 2 T D for each of T tokens, twice (a
    multiplication and an addition), and the patches."""
    patches = (side // patch) ** 2
    tokens = patches + 1
    return 2 * (depth * (12 * width**2 * tokens + 2 * tokens**2 * width) + patches * 3 * patch**2 * width)


def test_flops_of_a_transformer_are_those_of_its_closed_form() -> None:
    found = counted("timm:vit_tiny_patch16_224", 224)
    assert found.forward == pytest.approx(vit_flops(224, 16, 192, 12), rel=0.001)
    assert found.backward == pytest.approx(2 * found.forward, rel=0.03)  # none to the pixels
    assert found.step == 2 * found.forward + found.backward
    assert (found.features, found.fixed_bytes) == (192, 20 * found.parameters)


def test_a_count_is_of_the_network_that_loads_and_weights_are_not_looked_at() -> None:
    found = counted("resnet20@no-such-file.pth", 32)
    network = wp.load_encoder("resnet20@random", size=32)
    assert found.parameters == sum(weight.numel() for weight in network.parameters())
    assert all(weight.device.type == "cpu" for weight in network.parameters())
    with pytest.raises(InputError, match="unknown"):
        counted("resnet21", 32)


def test_the_objective_is_computed_for_the_whole_batch() -> None:
    found = counted_loss()
    assert found.flops == pytest.approx(4)  # the matrix 2 B^2 D, and once more going back to the student
    assert 3 <= found.matrices <= 4.5


ENCODER = Counted(parameters=10_000_000, features=512, forward=1e10, backward=2e10, fixed_bytes=2e8, image_bytes=1e8)
TERMS = Terms(100.0, 1e5, 20.0, 1e9, 1e-7, 16.0, 2e10, 1e-5, {})
SCALE = Scale(
    images=1e8, epochs=2, batch=4096, gpus=16, pixels=224 * 224, peak=312e12, utilisation=0.5, cores_per_gpu=8,
    storage=1e10, checkpoint_seconds=60,
)  # fmt: skip


def test_the_formula_is_plain_arithmetic() -> None:
    found = evaluate(SCALE, CARDS["a100"], ENCODER, Loss(4, 3), TERMS)
    network = 256 * 4e10 / 156e12
    operator = 256 * 20 * 8 * 3 * 224**2 / 2.039e12
    decoding = 256 / 800
    reading = 4096 * 1e5 / 1e10
    loss = 4 * 4096**2 * 512 / (0.5 * 19.5e12)
    gather = 15 / 16 * 16 * 4096 * 512 / 2e10 + 3e-5
    reduce = 2 * 15 / 16 * 4e7 / 2e10
    step = max(network + operator, decoding, reading) + loss + gather + max(0, reduce - 256 * 2e10 / 156e12)
    checkpoint = 1.2e8 / 1e9
    assert found.step == pytest.approx(step)
    assert found.seconds == pytest.approx(2 * (1e8 / 4096 * step * (1 + checkpoint / 60) + 10))
    assert (found.gather, found.all_reduce, found.checkpoint) == pytest.approx((gather, reduce, checkpoint))


def test_one_gpu_waits_for_nobody() -> None:
    found = evaluate(replace(SCALE, gpus=1, batch=256), CARDS["a100"], ENCODER, Loss(4, 3), TERMS)
    assert (found.gather, found.all_reduce, found.exposed) == (0, 0, 0)


def test_where_a_limit_begins_is_where_all_of_it_is_used() -> None:
    """What decoding gives just suffices with as many cores as the limit says."""
    card = CARDS["a100"]

    def used(scale: Scale, what: str) -> float:
        course = evaluate(scale, card, ENCODER, Loss(4, 3), TERMS)
        return next(one.used for one in limits(scale, card, ENCODER, Loss(4, 3), TERMS, course) if one.what == what)

    short = used(SCALE, "decoding")
    assert short > 1
    assert used(replace(SCALE, cores_per_gpu=SCALE.cores_per_gpu * short), "decoding") == pytest.approx(1)
    many = used(SCALE, "reading")
    assert used(replace(SCALE, storage=1e10 * many), "reading") == pytest.approx(1)
    fits = ((card.memory - ENCODER.fixed_bytes) / 12) ** 0.5
    assert used(replace(SCALE, batch=int(fits), gpus=1), "matrix") == pytest.approx(1, rel=0.001)
    course = evaluate(SCALE, card, ENCODER, Loss(4, 3), TERMS)
    order = [one.used for one in limits(SCALE, card, ENCODER, Loss(4, 3), TERMS, course)]
    assert order == sorted(order, reverse=True)


def test_cards() -> None:
    assert all(card.half > card.full and card.source.startswith("https://") for card in CARDS.values())
    assert card_of("A100") is CARDS["a100"]
    assert card_of("312e12").half == 312e12
    for text, said in (("h1000", "unknown card"), ("-1", "peak in flop/s"), ("nan", "peak in flop/s")):
        with pytest.raises(InputError, match=said):
            card_of(text)
    with pytest.raises(InputError, match="16-mixed"):
        CARDS["v100"].peak("bf16-mixed")


def test_a_plan_from_measured_terms(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    measured = {
        "data": {"per_core": 50.0, "reading": {"image_bytes": 5e4}},
        "distributed": {
            "gather": [{"seconds": 1e-3, "bytes_per_second": 1e8}, {"seconds": 1, "bytes_per_second": 3e9}]
        },
    }
    file.write_text(json.dumps({"measured": measured}))
    found = wp.doctor(plan="resnet20", size=32, images=1e6, gpus=4, batch_size=512, price=2.0, measured=file)
    told = found.measured["plan"]
    assert (told["terms"]["decoded"], told["terms"]["image_bytes"], told["terms"]["network"]) == (50.0, 5e4, 3e9)
    assert told["cost"] == pytest.approx(4 * told["course"]["seconds"] / 3600 * 2)
    assert found.status == 0 and found.to_dict()["kind"] == "plan"
    assert "money" in {one.what for one in found.findings}
    assert "money" not in {one.what for one in wp.doctor(plan="resnet20", size=32, measured=file).findings}


def test_a_plan_of_a_network_in_the_hand_and_of_a_run_folder(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    measured = {"data": {"per_core": 50.0, "reading": {"image_bytes": 5e4}}}
    file.write_text(json.dumps({"measured": measured}))
    network = timm.create_model("test_resnet", in_chans=4)
    network.preprocessing = Preprocessing((0.5,) * 4, (0.25,) * 4, 32, channels=4)
    encoder = wp.load_encoder("resnet20@random", size=32)
    save_encoder(encoder, tmp_path / "run", provenance={})
    for given, name in ((network, "module:ResNet"), (encoder, "resnet20"), (tmp_path / "run", str(tmp_path / "run"))):
        found = wp.doctor(plan=given, size=32, measured=file)
        assert found.findings[0].found.startswith(f"{name} at 32, 1,000,000 images")
    assert {weight.device.type for own in (network, encoder) for weight in own.parameters()} == {"cpu"}


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"measured": {"data": {"per_core": "x", "reading": null}}}'])
def test_measurements_that_are_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "doctor.json"
    file.write_text(content)
    with pytest.raises(InputError, match="--measured"):
        terms_of(file, None, "RandomMask(0.5)", 32, 0.1, 0)


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(InputError, match="cannot be shared by 64 GPUs"):
        wp.doctor(plan="resnet20", gpus=64, batch_size=32)


@pytest.mark.slow
def test_ten_thousand_shards_over_512_processes_that_fail() -> None:
    """No image is lost or seen twice in an epoch, and every step sees what one process would have seen."""
    images = planned_shards(10_000, 32)
    failures = [Failure(7, 256), Failure(1, 128), Failure(6, 512)]
    found = simulate(images, batch=64_000, processes=512, epochs=3, checkpoint=4, failures=failures, seed=3)
    assert torch.equal(found.seen, torch.ones(3, 320_000, dtype=torch.int64))
    assert found.alike and found.repeated == 3 + 1 + 2
    assert found.shares == (625, 625)


def test_what_does_not_fill_a_batch_is_left_out_and_nothing_is_seen_twice() -> None:
    images = planned_shards(100, 10)
    found = simulate(images, batch=64, processes=4, epochs=3, checkpoint=3, failures=[Failure(5, 2)])
    assert found.seen.max() == 1
    assert found.seen.sum(dim=1).tolist() == [1000 // 64 * 64] * 3
    assert not torch.equal(found.seen[0], found.seen[1])  # others in every epoch


def test_the_order_of_an_epoch_is_measured() -> None:
    seconds, size = ordering(0, shards=20, each=50)
    assert seconds > 0 and 8 <= size < 64
