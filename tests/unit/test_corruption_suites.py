"""The common corruptions as operators: which numbers they get, what they do around the functions, and the suites."""

import itertools
import math

import numpy as np
import pytest
import torch

from weatherproof import operators, random
from weatherproof.errors import InputError
from weatherproof.operators import COMMON_15, COMMON_19, EXTRA_4, GROUP_OF, GROUPS, SUITES, Corruption, suite, suites
from weatherproof.operators.eight_bit import as_bytes
from weatherproof.operators.pixels import NonUniformNoise, UniformNoise
from weatherproof.operators.severities import PARAMETERS, nearest

LEVELS = torch.arange(256).float() / 255


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


@pytest.fixture
def called(monkeypatch):
    """Every corruption's function becomes one that returns its images and tells how it was called."""
    calls = []

    def stand_in(name):
        def function(images, keys, *numbers, **options):
            calls.append((name, images, keys, numbers, options))
            return images

        return function

    for name in COMMON_19:
        replace_function(monkeypatch, name, stand_in(name))
    return calls


def replace_function(monkeypatch, name, function):
    stream, _ = suites._FUNCTIONS[name]
    monkeypatch.setitem(suites._FUNCTIONS, name, (stream, function))


def test_names_are_the_benchmarks_in_its_order():
    assert COMMON_15 == (
        "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
        "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    )  # fmt: skip
    assert EXTRA_4 == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert COMMON_19 == COMMON_15 + EXTRA_4
    assert {group: len(names) for group, names in GROUPS.items()} == {"noise": 4, "blur": 5, "weather": 5, "digital": 5}
    assert {GROUP_OF[name] for name in EXTRA_4} == set(GROUPS)  # one of each
    assert all(name in GROUPS[GROUP_OF[name]] for name in COMMON_19)


def test_every_corruption_has_five_severities_and_a_function_in_both_sets():
    assert set(suites._FUNCTIONS) == set(COMMON_19)
    for table in PARAMETERS.values():
        assert set(table) == set(COMMON_19)
        for name, rows in table.items():
            assert len(rows) == 5 and len(set(rows)) == 5, name
            assert len({len(row) for row in rows}) == 1 or name == "zoom_blur", name


# Where more is worse in a single number, the numbers must rise or fall all the way. What has several does not have to.
@pytest.mark.parametrize("parameters", ["imagenet", "cifar"])
def test_severities_rise(parameters):
    falls = {"shot_noise", "contrast", "pixelate", "jpeg_compression"}
    for name, rows in PARAMETERS[parameters].items():
        if len(rows[0]) == 1:
            numbers = [row[0] for row in rows]
            assert numbers == sorted(numbers, reverse=name in falls), name


@pytest.mark.parametrize(
    ("name", "severity", "parameters", "expected"),
    [  # one of each, from the benchmark's own scripts
        ("gaussian_noise", 5, "imagenet", (0.38,)), ("gaussian_noise", 5, "cifar", (0.10,)),
        ("glass_blur", 4, "imagenet", (1.1, 3, 2)), ("glass_blur", 4, "cifar", (0.25, 1, 2)),
        ("motion_blur", 5, "imagenet", (20, 15)), ("motion_blur", 4, "cifar", (8, 2)),
        ("zoom_blur", 1, "imagenet", (1, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09, 1.10, 1.11)),
        ("zoom_blur", 5, "imagenet", (1, 1.03, 1.06, 1.09, 1.12, 1.15, 1.18, 1.21, 1.24, 1.27, 1.30)),
        ("snow", 4, "imagenet", (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65)),
        ("snow", 5, "cifar", (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
        ("spatter", 4, "imagenet", (0.65, 0.3, 1, 0.65, 1.5, 1)), ("spatter", 3, "cifar", (0.65, 0.3, 1, 0.69, 0.5, 0)),
        ("elastic_transform", 1, "imagenet", (244 * 2, 244 * 0.7, 244 * 0.1)),
        ("elastic_transform", 5, "imagenet", (244 * 0.12, 244 * 0.01, 244 * 0.02)),
        ("elastic_transform", 2, "cifar", (32 * 0.05, 32 * 0.2, 32 * 0.07)),
        ("elastic_transform", 5, "cifar", (32 * 0.1, 32 * 0.03, 32 * 0.03)),
    ],
)  # fmt: skip
def test_numbers_are_the_benchmarks(name, severity, parameters, expected):
    assert Corruption(name, severity, parameters).numbers(100) == pytest.approx(expected)
    assert Corruption(name, severity).numbers({"imagenet": 224, "cifar": 32}[parameters]) == pytest.approx(expected)


def test_zooms_have_the_benchmarks_counts():
    counts = {name: [len(row) for row in PARAMETERS[name]["zoom_blur"]] for name in PARAMETERS}
    assert counts == {"imagenet": [12, 16, 11, 13, 11], "cifar": [7, 12, 16, 21, 26]}


def test_lengths_and_only_lengths_follow_the_size():
    """Twice the size: what is measured in pixels doubles, and nothing else changes."""
    doubled = {
        "gaussian_blur": [2], "glass_blur": [2, 2, 1], "defocus_blur": [2, 2], "motion_blur": [2, 2],
        "snow": [1, 1, 1, 1, 2, 2, 1], "elastic_transform": [2, 2, 2],
    }  # fmt: skip
    for reference, name, severity in itertools.product((224, 32), COMMON_19, range(1, 6)):
        op = Corruption(name, severity)
        numbers = op.numbers(reference)
        factors = doubled.get(name, [1] * len(numbers))
        if name == "spatter":
            factors = [1, 1, 2, 1, 2 if numbers[5] else 1, 1]
        assert op.numbers(2 * reference) == tuple(n * f for n, f in zip(numbers, factors, strict=True))


def test_whole_lengths_stay_whole_and_at_least_one():
    assert Corruption("glass_blur", 5).numbers(100) == pytest.approx((1.5 * 100 / 224, 2, 2))  # 4 pixels become 1.8
    assert Corruption("glass_blur", 5).numbers(8) == (0.4 / 4, 1, 2)
    assert Corruption("motion_blur", 1).numbers(16) == (3, 0.5)
    assert all(isinstance(Corruption("motion_blur", 3).numbers(side)[0], int) for side in (13, 100, 500))


def test_the_set_is_the_nearest_in_ratio():
    middle = math.sqrt(224 * 32)  # 84.7
    assert nearest(math.floor(middle)) == "cifar" and nearest(math.ceil(middle)) == "imagenet"
    assert nearest(32) == nearest(8) == "cifar" and nearest(224) == nearest(1000) == "imagenet"


@pytest.mark.parametrize(
    ("op", "side", "text"),
    [
        (Corruption("fog", 3), 224, "imagenet parameters"),
        (Corruption("fog", 3), 32, "cifar parameters"),
        (Corruption("fog", 3), 96, "imagenet parameters, lengths scaled from 224 to 96 px"),
        (Corruption("fog", 3), 28, "cifar parameters, lengths scaled from 32 to 28 px"),
        (Corruption("fog", 3, "cifar"), 32, "cifar parameters"),
        (Corruption("fog", 3, "cifar"), 224, "cifar parameters as they are for 32 px, images of 224 px"),
    ],
)
def test_the_numbers_are_described(op, side, text):
    assert op.describe_parameters(side) == text


def test_the_shorter_side_decides(called):
    Corruption("gaussian_blur", 5)(torch.rand(1, 3, 300, 48), keys(1))
    assert called[0][3] == (1.5,)


def test_options_reach_the_functions_that_have_them(called):
    images = torch.rand(1, 3, 32, 32)
    for name in COMMON_19:
        Corruption(name, 2, glass="swap", frost="photographs")(images, keys(1))
    assert {name: options for name, *_, options in called if options} == {
        "glass_blur": {"mode": "swap"},
        "frost": {"folder": "photographs"},
    }


def test_functions_see_what_they_are_defined_for_and_keys_of_their_own(called):
    images = torch.rand(5, 1, 32, 32).mul_(1.4).sub_(0.2)  # as an operator that does not clamp leaves it
    for name, severity in itertools.product(COMMON_19, (1, 4)):
        Corruption(name, severity)(images, keys(5))
    for name, seen, *_ in called:
        on_bytes = name in suites._ON_BYTES
        assert torch.equal(seen, images.mul(255).round().clamp(0, 255).to(torch.uint8) if on_bytes else images)
    used = torch.cat([seen for _, _, seen, *_ in called])
    assert len(used.unique()) == 5 * 2 * 19


PUBLISHED_STREAMS = {  # what all published numbers were drawn with
    "gaussian_noise": 0, "shot_noise": 1, "impulse_noise": 2, "defocus_blur": 3, "glass_blur": 4, "motion_blur": 5,
    "zoom_blur": 6, "snow": 7, "frost": 8, "fog": 9, "brightness": 10, "contrast": 11, "elastic_transform": 12,
    "pixelate": 13, "jpeg_compression": 14, "speckle_noise": 15, "gaussian_blur": 16, "spatter": 17, "saturate": 18,
}  # fmt: skip


def test_a_corruption_keeps_its_draws_when_others_come_before_it(called, monkeypatch):
    newcomers = {"haze": (19, lambda images, *_: images)}
    monkeypatch.setattr(suites, "_FUNCTIONS", newcomers | dict(reversed(suites._FUNCTIONS.items())))
    for name, stream in PUBLISHED_STREAMS.items():
        Corruption(name, 4)(LEVELS.view(1, 1, 16, 16), keys(1))
        assert torch.equal(called[-1][2], random.fold(keys(1), stream, 4)), name
    streams = [stream for stream, _ in suites._FUNCTIONS.values()]
    assert len(set(streams)) == len(streams)


def test_levels_are_rounded_and_come_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(as_bytes(levels / 255), levels)
    between = torch.tensor([-0.1, 0.4, 0.6, 254.4, 254.6, 300]).view(1, 1, 1, -1) / 255
    assert as_bytes(between).flatten().tolist() == [0, 0, 1, 254, 255, 255]


def test_the_result_is_cut_to_8_bits(monkeypatch):
    images = LEVELS.view(1, 1, 16, 16)

    def shifted_by(levels):
        replace_function(monkeypatch, "fog", lambda images, *_: images + levels / 255)
        return (Corruption("fog", 1)(images, keys(1)) * 255).flatten()

    up, down = (torch.arange(256) + 1).clamp(max=255).float(), (torch.arange(256) - 1).clamp(min=0).float()
    for levels, expected in ((0, 255 * LEVELS), (0.98, 255 * LEVELS), (1, up), (0.9999, up), (-1, down), (-0.5, down)):
        torch.testing.assert_close(shifted_by(levels), expected, rtol=0, atol=1e-4)
    assert shifted_by(300).unique().tolist() == [255] and shifted_by(-300).unique().tolist() == [0]
    assert torch.isin(Corruption("fog", 1)(images, keys(1)), LEVELS).all()


@pytest.mark.parametrize("name", COMMON_19)
def test_bytes_give_the_bytes_of_the_same_pixels(name):
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    for op in (Corruption(name, 2), Corruption(name, 5, jpeg_quality=85)):
        out = op(images, keys(3))
        assert out.dtype is torch.uint8 and out.is_contiguous()
        assert torch.equal(op(images / 255, keys(3)), out / 255)
        scattered = op(images.to(memory_format=torch.channels_last), keys(3))
        assert torch.equal(scattered, out) and scattered.is_contiguous()


def test_chunks_do_not_show(monkeypatch):
    images = torch.rand(7, 3, 32, 32)
    whole = Corruption("shot_noise", 3)(images, keys(7))
    for values in (1, 3 * 32 * 32 * 2, 10**9):
        monkeypatch.setattr(suites, "_CHUNK", values)
        assert torch.equal(Corruption("shot_noise", 3)(images, keys(7)), whole)
    assert Corruption("shot_noise", 3)(images[:0], keys(0)).shape == (0, 3, 32, 32)


def test_images_under_gradient_are_taken():
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    assert not Corruption("shot_noise", 3)(images, keys(2)).requires_grad


def test_jpeg_at_the_end_is_pillows(monkeypatch):
    """The stand-in changes nothing, so that only what JPEG makes of the image is left."""
    from io import BytesIO

    from PIL import Image

    from weatherproof.operators import digital

    replace_function(monkeypatch, "fog", lambda images, *_: images)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=85)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float()
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    assert callable(digital.jpeg_compression)
    out = Corruption("fog", 1, jpeg_quality=85)(images, keys(1)) * 255
    assert (out - expected).abs().max() <= 2 and (out - expected).abs().mean() < 0.1
    assert not torch.equal(out, images * 255)


def test_what_draws_nothing_says_so():
    images = torch.rand(2, 3, 32, 32)
    for name in COMMON_19:
        op = Corruption(name, 2)
        one, other = op(images, keys(2)), op(images, keys(2, seed=1))
        assert op.deterministic == torch.equal(one, other), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Corruption('fgo', 3)", "unknown corruption 'fgo': did you mean fog"),
        ("Corruption('gaussian', 3)", "did you mean gaussian_blur or gaussian_noise"),
        ("Corruption('fog', 0)", r"a severity is 1, 2, 3, 4 or 5, or an ordered pair \(low, high\) of them, got 0"),
        ("Corruption('fog', 6)", "got 6"),
        ("Corruption('fog', True)", "got True"),
        ("Corruption('fog', 3, 'imagnet')", "unknown set of parameters 'imagnet': did you mean imagenet"),
        ("Corruption('fog', 3, glass='swop')", "unknown mode of glass 'swop': did you mean swap"),
        ("Corruption('fog', 3, jpeg_quality=0)", "JPEG quality is from 1 to 100, got 0"),
        ("Corruption('fog')", "missing a required argument: 'severity'"),
    ],
)
def test_bad_settings_are_refused_when_the_operator_is_made(text, message):
    with pytest.raises(InputError, match=message):
        operators.parse(text)


def test_suites_list_their_conditions(tmp_path):
    conditions = suite("common-15", parameters="cifar", glass="swap", frost="photographs", jpeg_quality=85)
    assert [(c.corruption, c.severity) for c in conditions] == list(itertools.product(COMMON_15, range(1, 6)))
    for c in conditions:
        assert c.operator == Corruption(c.corruption, c.severity, "cifar", "swap", "photographs", 85)
    assert [(c.corruption, c.severity) for c in suite("common-19")] == list(itertools.product(COMMON_19, range(1, 6)))
    assert repr(suite("common-15")[2].operator) == "Corruption('gaussian_noise', 3)"
    std = str(tmp_path / "std.npy")
    np.save(std, np.ones((4, 4)))
    assert [(c.corruption, c.severity, c.operator) for c in suite("noisy", std=std)] == [
        ("uniform_noise", None, UniformNoise()),
        ("nonuniform_noise", None, NonUniformNoise(std=std)),
    ]
    with pytest.raises(InputError, match="needs std=FILE.npy"):
        suite("noisy")
    with pytest.raises(InputError, match="unknown suite 'common15': did you mean common-15"):
        suite("common15")
    assert SUITES == ("common-15", "common-19", "noisy")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMON_19)
def test_no_image_depends_on_its_batch(name):
    """To the last bit: a value a hair below a level would lose the whole level."""
    images = torch.randint(0, 256, (37, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 255
    for severity in (1, 3, 5):
        corruption = Corruption(name, severity)
        whole = corruption(images, keys(37))
        for size in (1, 5, 16):
            parts = zip(images.split(size), keys(37).split(size), strict=True)
            assert torch.equal(torch.cat([corruption(part, own) for part, own in parts]), whole)
