"""Harden a vision transformer such as DINOv2 and find clean images with damaged ones, without a label anywhere.

    python examples/dinov2_retrieval.py
    python examples/dinov2_retrieval.py --encoder timm:vit_small_patch14_dinov2.lvd142m --images photos --size 224 \\
        --adapt "LoRA(16)" --lr 1e-4

Without arguments a small transformer with random weights sees scikit-learn's digits, so that nothing is downloaded; it
shows the steps, and no more. The second line takes DINOv2 and a folder of yours, and trains low-rank changes of its
attention and linear layers alone. Sixteen images at a time go through the network: the gradient is that of the whole
batch, in a fraction of the memory.
"""

import argparse
from pathlib import Path

import torch

import weatherproof as wp


def main(encoder: str, images: str, size: int, adapt: str, lr: float, epochs: int, out: Path) -> None:
    """Harden, index clean images with each encoder, and look for each of them with its damaged copy."""
    damage = "RandomMask((0.0, 0.9))"
    run = wp.harden(
        encoder, images, operator=damage, adapt=adapt, epochs=epochs, lr=lr, batch_size=64, micro_batch=16,
        size=size, realizations=1, test_images=100, keep="hardened", keep_clean=0.0, out=out / "hardened",
    )  # fmt: skip

    clean = wp.load_images(images, "test", size=size, channels=3)
    few = torch.arange(min(100, len(clean)))
    pixels = clean.read(few).float() / 255
    damaged = wp.operators.parse("RandomMask(0.5)")(pixels, wp.random.keys(0, few))
    known, queries = (
        wp.data.MemoryImages((255 * own).round().byte(), torch.full((len(few),), -1), (), name=name)
        for own, name in ((pixels, "clean"), (damaged, "damaged"))
    )
    for name, own in (("original", wp.load_encoder(encoder, size=size)), ("hardened", wp.load_encoder(run.folder))):
        index = wp.embed(own, known, out=out / f"{name}.npz").embeddings
        near = wp.embed(own, queries, index=index.path, neighbours=1)
        found = (near.found.row[:, 0] == few).float().mean()
        print(f"{name}: {found:.0%} of {len(few)} damaged images find their own clean one among all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="timm:test_vit@random", help="the transformer")
    parser.add_argument("--images", default="digits", help="what it is hardened on, and looked for")
    parser.add_argument("--size", type=int, default=48, help="side of its input in pixels")
    parser.add_argument("--adapt", default="Full()", help="what trains")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/dinov2"), help="where everything goes")
    asked = parser.parse_args()
    main(asked.encoder, asked.images, asked.size, asked.adapt, asked.lr, asked.epochs, asked.out)
