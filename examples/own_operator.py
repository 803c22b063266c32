"""Harden an encoder against a damage of your own: here a camera whose sensor has dead columns.

    python examples/own_operator.py

An operator is any callable ``op(images, keys) -> images``. It is named by its file, in Python and on the command line:

    weatherproof harden runs/examples/own_operator/teacher digits --operator examples/own_operator.py:dead_columns
"""

import argparse
from pathlib import Path

from torch import Tensor

import weatherproof as wp


def dead_columns(images: Tensor, keys: Tensor) -> Tensor:
    """Half of the columns are black, drawn anew for every image.

    Every draw comes from `keys`, one for each image: the same image with the same key has the same dead columns,
    whatever the batch it is in.
    """
    draw = wp.random.uniform_fields(keys, (1, 1, images.shape[-1]), images.device)
    return images * (draw > 0.5)


def main(out: Path) -> None:
    """Train a teacher on clean digits, harden a copy against dead columns, and print both."""
    damage = f"{Path(__file__).resolve()}:dead_columns"
    teacher = wp.train("supervised", "digits", encoder="small", epochs=4, lr=3e-3, realizations=1, out=out / "teacher")
    run = wp.harden(
        str(teacher.folder),
        "digits",
        operator=damage,
        epochs=8,
        batch_size=128,
        lr=6e-3,
        realizations=2,
        out=out / "hardened",
    )
    for record in run.records:
        if record["metric"] == "top1":
            where = "clean digits" if record["operator"] is None else "digits with dead columns"
            print(f"{record['model']:<9} right on {record['value']:.0%} of {where}")
    print(f"page: {run.report}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own_operator"), help="where the run folders go")
    main(parser.parse_args().out)
