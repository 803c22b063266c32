"""Harden an encoder against missing pixels, from start to finish in Python.

    python examples/harden.py

On scikit-learn's digits, which come with the installation. The teacher is a small network that has learnt from clean
digits; with a pretrained encoder, leave that step out and write "timm:resnet18" or
"timm:resnet18@weights.safetensors".
"""

import argparse
from pathlib import Path

import torch

import weatherproof as wp

DAMAGE = "RandomMask(0.75)"


def main(out: Path) -> None:
    """Train a teacher, harden a copy of it, and print what the copy sees of damaged digits."""
    teacher = wp.train("supervised", "digits", encoder="small", epochs=4, lr=3e-3, realizations=1, out=out / "teacher")
    run = wp.harden(
        str(teacher.folder),
        "digits",
        operator=DAMAGE,
        epochs=8,
        batch_size=128,
        lr=6e-3,
        realizations=2,
        out=out / "hardened",
    )

    # A number is a record: the value, and everything about how it was measured.
    for model in ("teacher", "hardened"):
        right = next(
            r["value"]
            for r in run.records
            if (r["model"], r["metric"], r["operator"]) == (model, "top1", DAMAGE)
        )  # fmt: skip
        print(f"{model:<9} right on {right:.0%} of the digits with three quarters of the pixels missing")

    # The hardened encoder takes float pixels in [0, 1] of any size, and so does every operator.
    images = wp.load_images("digits", "test")
    clean = images.read(torch.arange(4)).float() / 255
    damaged = wp.operators.RandomMask(0.75)(clean, wp.random.keys(0, images.index[:4]))
    print(f"embeddings of {len(damaged)} damaged digits: {list(run.encoder(damaged).shape)}")
    print(f"page: {run.report}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/harden"), help="where the run folders go")
    main(parser.parse_args().out)
