"""Harden a CLIP and ask it in words: no label is used after its training.

    python examples/ask_in_words.py

A small CLIP of open_clip learns from labelled digits which words belong to which picture, and nothing is downloaded.
With published weights write open_clip:ViT-B-32/openai in its place. pip install 'weatherproof[clip]'.
"""

import argparse
import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

import weatherproof as wp

NAME = "clip-of-digits"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def train_clip(file: Path, *, epochs: int = 4) -> str:
    """A CLIP that has learnt what "a photo of the digit three." looks like; its text."""
    (file.parent / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(file.parent)
    with wp.random.framework_seed(0):
        model, tokenizer = open_clip.create_model(NAME), open_clip.get_tokenizer(NAME)
    images = wp.load_images("digits", "train", size=32)
    tokens = tokenizer([f"a photo of the digit {word}." for word in WORDS])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    for epoch in range(epochs):
        for rows in torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch)).split(64):
            pixels = images.read(rows).expand(-1, 3, -1, -1).float() / 255
            seen, said = model.encode_image((pixels - mean) / std, True), model.encode_text(tokens, True)
            optimizer.zero_grad()
            cross_entropy(model.logit_scale.exp() * seen @ said.T, images.labels[rows]).backward()
            optimizer.step()
    save_file({name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}, file)
    return f"open_clip:{NAME}@{file}"


def main(out: Path) -> None:
    """Harden it against missing pixels, and ask before and after."""
    out.mkdir(parents=True, exist_ok=True)
    clip = train_clip(out / "clip.safetensors")
    (out / "names.txt").write_text("".join(f"{i}\t{word}\n" for i, word in enumerate(WORDS)))
    (out / "prompts.txt").write_text("a photo of the digit {}.\nthe digit {}.\n")
    run = wp.harden(
        clip, "digits", classes=out / "names.txt", prompts=out / "prompts.txt", operator="RandomMask((0.0, 0.9))",
        augment="none", epochs=6, batch_size=64, lr=1e-3, realizations=1, out=out / "hardened",
    )  # fmt: skip
    run.show()
    test = wp.load_images("digits", "test", size=32)
    tower = wp.encoders.text_tower(clip)
    _, places = wp.readouts.found_by_words(run.encoder, test, "a photo of the digit three.", tower, k=5)
    print("found by the words 'a photo of the digit three.':", test.labels[places[0]].tolist())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ask-in-words"))
    main(parser.parse_args().out)
