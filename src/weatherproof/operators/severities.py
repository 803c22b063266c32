"""The common corruptions' numbers per severity (Hendrycks & Dietterich 2019).

The benchmark has two sets of numbers: for ImageNet at 224 x 224 pixels and for CIFAR at 32 x 32.
"""

import math

Numbers = tuple[float, ...]

SIDES = {"imagenet": 224, "cifar": 32}  # the side in pixels for which each set is made


def _zooms(step: float, last: float) -> Numbers:
    """1, 1 + step, ..., last, each as the decimal it stands for."""
    return tuple(round(1 + step * i, 2) for i in range(round((last - 1) / step) + 1))


# Severities 1 to 5, in the order of the function's parameters. Elastic constants on ImageNet use 244 instead of 224, a
# slip of the benchmark that is kept.
# fmt: off
PARAMETERS: dict[str, dict[str, tuple[Numbers, ...]]] = {
    "imagenet": {
        "gaussian_noise": ((.08,), (.12,), (.18,), (.26,), (.38,)),
        "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
        "impulse_noise": ((.03,), (.06,), (.09,), (.17,), (.27,)),
        "speckle_noise": ((.15,), (.20,), (.35,), (.45,), (.60,)),
        "gaussian_blur": ((1.,), (2.,), (3.,), (4.,), (6.,)),
        "glass_blur": ((.7, 1, 2), (.9, 2, 1), (1., 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "defocus_blur": ((3., .1), (4., .5), (6., .5), (8., .5), (10., .5)),
        "motion_blur": ((10, 3.), (15, 5.), (15, 8.), (15, 12.), (20, 15.)),
        "zoom_blur": (_zooms(.01, 1.11), _zooms(.01, 1.15), _zooms(.02, 1.20), _zooms(.02, 1.24), _zooms(.03, 1.30)),
        "snow": ((.1, .3, 3., .5, 10, 4., .8), (.2, .3, 2., .5, 12, 4., .7), (.55, .3, 4., .9, 12, 8., .7),
                 (.55, .3, 4.5, .85, 12, 8., .65), (.55, .3, 2.5, .85, 12, 12., .55)),
        "frost": ((1., .4), (.8, .6), (.7, .7), (.65, .7), (.6, .75)),
        "fog": ((1.5, 2.), (2., 2.), (2.5, 1.7), (2.5, 1.5), (3., 1.4)),
        "brightness": ((.1,), (.2,), (.3,), (.4,), (.5,)),
        "spatter": ((.65, .3, 4., .69, .6, 0), (.65, .3, 3., .68, .6, 0), (.65, .3, 2., .68, .5, 0),
                    (.65, .3, 1., .65, 1.5, 1), (.67, .4, 1., .65, 1.5, 1)),
        "contrast": ((.4,), (.3,), (.2,), (.1,), (.05,)),
        "elastic_transform": ((488., 170.8, 24.4), (488., 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88),
                              (29.28, 2.44, 4.88)),
        "pixelate": ((.6,), (.5,), (.4,), (.3,), (.25,)),
        "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
        "saturate": ((.3, 0.), (.1, 0.), (2., 0.), (5., .1), (20., .2)),
    },
    "cifar": {
        "gaussian_noise": ((.04,), (.06,), (.08,), (.09,), (.10,)),
        "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
        "impulse_noise": ((.01,), (.02,), (.03,), (.05,), (.07,)),
        "speckle_noise": ((.06,), (.10,), (.12,), (.16,), (.20,)),
        "gaussian_blur": ((.4,), (.6,), (.7,), (.8,), (1.,)),
        "glass_blur": ((.05, 1, 1), (.25, 1, 1), (.4, 1, 1), (.25, 1, 2), (.4, 1, 2)),
        "defocus_blur": ((.3, .4), (.4, .5), (.5, .6), (1., .2), (1.5, .1)),
        "motion_blur": ((6, 1.), (6, 1.5), (6, 2.), (8, 2.), (9, 2.5)),
        "zoom_blur": (_zooms(.01, 1.06), _zooms(.01, 1.11), _zooms(.01, 1.15), _zooms(.01, 1.20), _zooms(.01, 1.25)),
        "snow": ((.1, .2, 1., .6, 8, 3., .95), (.1, .2, 1., .5, 10, 4., .9), (.15, .3, 1.75, .55, 10, 4., .9),
                 (.25, .3, 2.25, .6, 12, 6., .85), (.3, .3, 1.25, .65, 14, 12., .8)),
        "frost": ((1., .2), (1., .3), (.9, .4), (.85, .4), (.75, .45)),
        "fog": ((.2, 3.), (.5, 3.), (.75, 2.5), (1., 2.), (1.5, 1.75)),
        "brightness": ((.05,), (.10,), (.15,), (.20,), (.30,)),
        "spatter": ((.62, .1, .7, .7, .5, 0), (.65, .1, .8, .7, .5, 0), (.65, .3, 1., .69, .5, 0),
                    (.65, .1, .7, .69, .6, 1), (.65, .1, .5, .68, .6, 1)),
        "contrast": ((.75,), (.5,), (.4,), (.3,), (.15,)),
        "elastic_transform": ((0., 0., 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, .96, .96)),
        "pixelate": ((.95,), (.9,), (.85,), (.75,), (.65,)),
        "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
        "saturate": ((.3, 0.), (.1, 0.), (1.5, 0.), (2., .1), (2.5, .2)),
    },
}
# fmt: on

# Which of the numbers are lengths in pixels, by place. All others have no scale.
_LENGTHS = {
    "gaussian_blur": (0,),
    "glass_blur": (0, 1),
    "defocus_blur": (0, 1),
    "motion_blur": (0, 1),
    "snow": (4, 5),
    "elastic_transform": (0, 1, 2),
    "spatter": (2,),
}
_MUD_SIGMA, _MUD = 4, 5  # of spatter: with mud the fifth number is a blur, with water an intensity


def nearest(side: int) -> str:
    """The set made for the size nearest to `side` pixels, in ratio."""
    return min(SIDES, key=lambda name: abs(math.log(side / SIDES[name])))


def scaled(corruption: str, numbers: Numbers, factor: float) -> Numbers:
    """The numbers with lengths in pixels times `factor`; whole ones stay whole, and at least 1."""
    lengths = _LENGTHS.get(corruption, ())
    if corruption == "spatter" and numbers[_MUD]:
        lengths = (*lengths, _MUD_SIGMA)
    if factor == 1:
        return numbers
    return tuple(_scaled(number, factor) if place in lengths else number for place, number in enumerate(numbers))


def _scaled(length: float, factor: float) -> float:
    return max(1, round(length * factor)) if isinstance(length, int) else length * factor
