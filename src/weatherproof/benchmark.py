"""The common corruptions by name (Hendrycks & Dietterich 2019): groups, severities and suites."""

from collections.abc import Mapping

GROUPS: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
GROUP_OF: dict[str, str] = {name: group for group, names in GROUPS.items() for name in names}
COMMON_15: tuple[str, ...] = (  # the benchmark
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA_4: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # for validation; one per group
COMMON_19: tuple[str, ...] = COMMON_15 + EXTRA_4
SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)

NOISY: tuple[str, ...] = ("uniform_noise", "nonuniform_noise")  # of feature contrastive learning; no severities
COMMON: Mapping[str, tuple[str, ...]] = {"common-15": COMMON_15, "common-19": COMMON_19}
SUITES: Mapping[str, tuple[str, ...]] = {**COMMON, "noisy": NOISY}
ALL = "all"  # what a suite is called that is none of these
SEEN, UNSEEN = "seen", "unseen"  # what was part of the training, and the rest
