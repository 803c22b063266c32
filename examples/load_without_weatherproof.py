"""Load a hardened encoder back into plain torchvision, without this package.

    python examples/load_without_weatherproof.py

The first half hardens a torchvision network on a folder of unlabelled images; random weights and tiny images keep it
short. The second half is what goes into a program that knows nothing of weatherproof: torchvision, safetensors, and
the preprocessing from encoder.json.
"""

import argparse
import json
from pathlib import Path

import torch

import weatherproof as wp


def harden(out: Path) -> Path:
    """A folder of images without labels, and a network hardened on it. Returns the run folder."""
    from torchvision.transforms.functional import to_pil_image

    photos = out / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    digits = wp.load_images("digits", channels=3)
    for i, image in enumerate(digits.read(torch.arange(100))):
        to_pil_image(image).save(photos / f"{i:02}.png")
    network = "torchvision:shufflenet_v2_x0_5@random"  # without @random: with the weights that torchvision publishes
    run = wp.harden(network, str(photos), size=32, epochs=1, batch_size=16, realizations=1, out=out / "run")
    return run.folder / "hardened"  # the hardened network alone, without the gate before it


def load(run: Path) -> tuple[torch.nn.Module, dict]:
    """The hardened network and its preprocessing. Nothing here comes from weatherproof."""
    from safetensors.torch import load_file
    from torchvision.models import get_model

    settings = json.loads((run / "encoder.json").read_text())
    model = get_model("shufflenet_v2_x0_5", weights=None, num_classes=settings["num_classes"])
    model.load_state_dict(load_file(run / "encoder.safetensors"))  # strict: every name and shape must fit
    return model.eval(), settings["preprocessing"]


def main(out: Path) -> None:
    """Compare the two on one batch."""
    run = harden(out)
    model, preprocessing = load(run)
    mean, std = (torch.tensor(preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))

    images = torch.rand(8, 3, preprocessing["size"], preprocessing["size"])
    with torch.inference_mode():
        plain = model((images - mean) / std)
        ours = wp.load_encoder(run).eval().logits(images)  # normalises inside
    print(f"plain torchvision gives {list(plain.shape)}, largest difference {float((plain - ours).abs().max()):.1e}")
    if not torch.allclose(plain, ours, atol=1e-5):
        raise SystemExit("the two differ")
    print(f"the same network: {run / 'encoder.safetensors'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/load"), help="where the run folder goes")
    main(parser.parse_args().out)
