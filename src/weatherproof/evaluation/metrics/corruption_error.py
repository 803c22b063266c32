"""Mean corruption error: errors under the common corruptions, in units of AlexNet's (Hendrycks & Dietterich 2019)."""

from collections.abc import Mapping

from weatherproof.benchmark import EXTRA_4
from weatherproof.errors import InputError, unknown

# Top-1 errors of AlexNet on ImageNet-C, severities 1 to 5: the normalisers that every published mCE is made with.
ALEXNET_BY_SEVERITY: Mapping[str, tuple[float, ...]] = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
# Their means over the severities, and those of the four extra corruptions, of which only the means are published.
ALEXNET: Mapping[str, float] = {
    **{name: sum(errors) / len(errors) for name, errors in ALEXNET_BY_SEVERITY.items()},
    "speckle_noise": 0.845388,
    "gaussian_blur": 0.787108,
    "spatter": 0.717512,
    "saturate": 0.658248,
}
ALEXNET_CLEAN = 0.435  # on the clean validation images, as the benchmark's paper prints it


def mean_corruption_error(
    error_by_corruption: Mapping[str, float],
    baseline: str | Mapping[str, float] = "alexnet",
    *,
    allow_missing: bool = False,
) -> float:
    """mCE: the mean over corruptions of CE_c = sum_s E_{s,c} / sum_s E^{alex}_{s,c}. 1.0 is as bad as AlexNet.

    Published numbers are 100 times this, over the 15 corruptions of the benchmark and all 1,000 ImageNet classes; with
    other classes the normalisers mean nothing.

    Args:
        error_by_corruption: each corruption's mean top-1 error over its severities, in [0, 1].
        baseline: "alexnet", or errors of the same kind to divide by.
        allow_missing: take the mean over those that are there, for who means it: a number that no published one can
            be compared with.

    Raises:
        InputError: no errors, an error outside [0, 1], a corruption that the baseline does not have, or one that is
            missing: of AlexNet's the 15 of the benchmark or all 19, of a baseline of one's own any.
    """
    errors = _checked(error_by_corruption)
    weights = corruption_error_weights(errors, baseline, allow_missing=allow_missing)
    return sum(weights[name] * error for name, error in errors.items())


def relative_mean_corruption_error(
    error_by_corruption: Mapping[str, float],
    clean_error: float,
    baseline: str | Mapping[str, float] = "alexnet",
    baseline_clean: float = ALEXNET_CLEAN,
    *,
    allow_missing: bool = False,
) -> float:
    """Relative mCE: the mean of sum_s (E_{s,c} - E_clean) / sum_s (E^{alex}_{s,c} - E^{alex}_clean), what the
    corruptions add to the error. 1.0 is AlexNet's loss.

    Args:
        error_by_corruption: each corruption's mean top-1 error over its severities, in [0, 1].
        clean_error: the top-1 error on the clean images.
        baseline: "alexnet", or errors of the same kind.
        baseline_clean: the baseline's error on the clean images.
        allow_missing: as for `mean_corruption_error`.

    Raises:
        InputError: as for `mean_corruption_error`; a corruption that costs the baseline nothing.
    """
    _checked({"clean": clean_error})
    errors = _checked(error_by_corruption)
    weights = corruption_error_weights(errors, baseline, baseline_clean, allow_missing=allow_missing)
    return sum(weights[name] * (error - clean_error) for name, error in errors.items())


def corruption_error_weights(
    names: Mapping[str, float],
    baseline: str | Mapping[str, float] = "alexnet",
    baseline_clean: float = 0.0,
    *,
    allow_missing: bool = False,
) -> dict[str, float]:
    """What each corruption's error is multiplied by in the (relative) mCE: 1 / (number x (baseline - baseline_clean)).

    Raises:
        InputError: an unknown baseline, a corruption that it does not have, one that is missing, or one that costs it
            nothing.
    """
    if isinstance(baseline, str) and baseline != "alexnet":
        raise unknown("baseline", baseline, ("alexnet",))
    errors = ALEXNET if isinstance(baseline, str) else baseline
    for name in names:
        if name not in errors:
            raise unknown("corruption", name, errors)
        if not errors[name] > baseline_clean:
            raise InputError(
                f"the baseline's error under {name} must be above {baseline_clean:g} to divide by, got {errors[name]:g}"
            )
    if not allow_missing:
        _require_complete(names, errors)
    return {name: 1 / (len(names) * (errors[name] - baseline_clean)) for name in names}


def _require_complete(names: Mapping[str, float], baseline: Mapping[str, float]) -> None:
    """All of the baseline's; the four extra ones only where one of them is there."""
    extras = names.keys() & {*EXTRA_4}
    whole = [name for name in baseline if extras or name not in EXTRA_4]
    missing = [name for name in whole if name not in names]
    if missing:
        raise InputError(
            f"a mean corruption error is over {len(whole)} corruptions, missing: {', '.join(missing)}; measure the "
            f"whole suite, or give allow_missing=True for the mean over the {len(names)} that are there, which no "
            "published number can be compared with"
        )


def _checked(errors: Mapping[str, float]) -> Mapping[str, float]:
    if not errors:
        raise InputError("expected the error under at least one corruption, {name: mean error}; got none")
    for name, error in errors.items():
        if not 0 <= error <= 1:
            raise InputError(f"an error is a fraction in [0, 1], got {error:g} for {name}: divide per cent by 100")
    return errors
