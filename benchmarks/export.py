"""The exported file in ONNX Runtime, against the encoder in PyTorch, on one thread.

Both see the same images; preprocessing is inside both, and each is asked for all that the file gives: embedding, logits
and map. Encoders whose weights are in the folder that WEATHERPROOF_DATA names.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row, in_turn
from weatherproof import export
from weatherproof.encoders import load_encoder
from weatherproof.verbs.export.graph import Shape, expected, place_of


@dataclass(frozen=True)
class Case:
    encoder: str
    file: str
    size: int


CASES = (
    Case("resnet20", "resnet20-12fca82f.th", 32),
    Case("torchvision:squeezenet1_0", "squeezenet1_0-deepcompression.pth", 128),
    Case("timm:tf_efficientnet_lite0", "tf_efficientnet_lite0.safetensors", 160),
)
BATCHES = (1, 32)


def run(device: str, repeats: int = 9) -> list[Row]:
    if device != "cpu":
        raise SystemExit("export is measured on the processor: --device cpu")
    data = Path(os.environ["WEATHERPROOF_DATA"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for case in CASES for row in _rows(case, f"{case.encoder}@{data / case.file}", repeats)]
    finally:
        torch.set_num_threads(threads)


def _rows(case: Case, text: str, repeats: int) -> list[Row]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        done = export(text, size=case.size, out=folder)
        if done.status:
            raise SystemExit(f"{text} is not verified")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(done.file), options, providers=["CPUExecutionProvider"])
    encoder = load_encoder(text, size=case.size).eval()
    place = place_of(encoder, Shape(case.size, case.size, resized=True))
    rows = []
    for batch in BATCHES:
        pixels = np.random.default_rng(0).random((batch, 3, case.size, case.size), dtype=np.float32)
        images = torch.from_numpy(pixels)
        times = in_turn(
            lambda pixels=pixels: session.run(None, {"images": pixels}),
            lambda images=images: expected(encoder, None, images, place=place), repeats,
        )  # fmt: skip
        ours, floor = (tuple(1e3 * t for t in own) for own in times)
        what = f"{case.encoder}, {batch} image{'s' * (batch > 1)}, {case.size}×{case.size}, ONNX Runtime"
        rows.append(Row(what, "PyTorch", "ms", ours, floor, images=batch))
    return rows
