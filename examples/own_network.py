"""Train and harden a network of your own.

    python examples/own_network.py

A function that makes it, with what it expects of pixels, is all that a verb needs, in Python and on the command line:

    weatherproof harden examples/own_network.py:make@weights.safetensors photos
"""

import argparse
from pathlib import Path

from torch import nn

import weatherproof as wp


def make() -> wp.encoders.Encoder:
    """A network for grey images of 32 pixels, and its classifier."""
    network = nn.Sequential(
        *(layer for i, o in ((1, 16), (16, 32), (32, 64)) for layer in _block(i, o)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return wp.load_encoder(network, mean=(0.5,), std=(0.5,), size=32)


def _block(channels: int, features: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, features, 3, stride=2, padding=1), nn.BatchNorm2d(features), nn.ReLU()


def main(out: Path) -> None:
    """Train it on clean digits, harden a copy against missing pixels, and print both."""
    name = f"{Path(__file__).resolve()}:make"
    teacher = wp.train(
        "supervised", "digits", encoder=name, head="own", epochs=6, lr=1e-2, realizations=1, out=out / "teacher"
    )
    run = wp.harden(
        str(teacher.folder), "digits", epochs=12, batch_size=128, lr=1e-2, realizations=1, out=out / "hardened"
    )
    run.show()
    again = wp.load_encoder(run.folder)  # made by the function once more, with the weights of the run
    print(f"{again.name}: {again.feature_dim} features")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/own-network"))
    main(parser.parse_args().out)
