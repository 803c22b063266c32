"""Run an exported encoder with ONNX Runtime and NumPy alone, without this package and without PyTorch.

    weatherproof export runs/mine --to onnx
    python examples/onnx_in_ten_lines.py runs/export/onnx/encoder.onnx photo.png another.png

Without arguments a tiny encoder with random weights is exported first. Pillow reads the pictures.
"""

import sys

import numpy as np


# These ten lines are all that a program needs.
def outputs(file, pictures):
    """The file's outputs by their names, one row a picture; pictures: uint8 [height, width, channels], of any sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pixels = [np.float32(picture).transpose(2, 0, 1)[None] / 255 for picture in pictures]  # float in [0, 1]
    rows = [session.run(names, {"images": own}) for own in pixels]  # sizes differ: a batch each
    return {name: np.concatenate(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def example():
    """An encoder to try it on, and two pictures."""
    from sklearn.datasets import load_sample_images

    import weatherproof as wp

    done = wp.export("timm:test_resnet@random", out="runs/examples/onnx")
    if done.status:
        raise SystemExit("the file does not give the encoder's numbers")
    return str(done.file), load_sample_images().images


def main():
    """Print each output, and how alike the first two pictures are."""
    if len(sys.argv) > 1:
        from PIL import Image

        file, pictures = sys.argv[1], [np.asarray(Image.open(name).convert("RGB")) for name in sys.argv[2:]]
    else:
        file, pictures = example()
    found = outputs(file, pictures)
    for name, values in found.items():
        print(f"{name:<10}{values.dtype} {list(values.shape)}")
    unit = found["embedding"] / np.linalg.norm(found["embedding"], axis=1, keepdims=True)
    print(f"cosine of the first and the last picture: {unit[0] @ unit[-1]:.3f}")


if __name__ == "__main__":
    main()
