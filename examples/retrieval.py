"""Look for clean images with damaged ones: a hardened encoder, an index of clean digits, damaged queries.

    python examples/retrieval.py

On scikit-learn's digits, which come with the installation, with a small network that has learnt from clean ones. With a
pretrained encoder of yours leave that step out, write "timm:vit_small_patch14_dinov2@weights.safetensors" and a folder
of images. The index is a Parquet file, which other programs read too; a name that ends in .npz needs no extra.
"""

import argparse
from pathlib import Path

import torch

import weatherproof as wp

DAMAGE = "RandomMask(0.75)"


def main(out: Path) -> None:
    """Train a teacher, harden a copy, and look for damaged digits in an index that the teacher has made."""
    teacher = wp.train("supervised", "digits", encoder="small", epochs=4, lr=3e-3, realizations=1, out=out / "teacher")
    run = wp.harden(
        str(teacher.folder), "digits", operator=DAMAGE, epochs=8, batch_size=128, lr=6e-3, realizations=1,
        keep="hardened", keep_clean=0.0, out=out / "hardened",
    )  # fmt: skip

    clean = wp.load_images("digits", "test")
    pixels = clean.read(torch.arange(len(clean))).float() / 255
    damaged = wp.operators.parse(DAMAGE)(pixels, wp.random.keys(0, clean.index))
    queries = wp.data.MemoryImages((255 * damaged).round().byte(), clean.labels, clean.classes, name="damaged digits")

    for encoder in (teacher.folder, run.folder):
        index = wp.embed(encoder, "digits", split="train", out=out / f"{encoder.name}.parquet").embeddings
        near = wp.embed(encoder, queries, index=index.path, neighbours=5)
        classes = [[own["label"] for own in some] for some in near.neighbours()]
        right = sum(own.count(label) for own, label in zip(classes, near.query_labels, strict=True)) / (
            5 * len(classes)
        )
        print(f"{encoder.name:<9} {right:.0%} of the five nearest clean digits are the digit that was damaged")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/retrieval"), help="where everything goes")
    main(parser.parse_args().out)
