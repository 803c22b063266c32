"""Harden a CLIP and ask it in words: no label is used after its training.

    python examples/ask_in_words.py

A small CLIP of open_clip learns on digits which words belong to which picture, so that nothing is downloaded; with
published weights write open_clip:ViT-B-32/openai@clip.safetensors in its place. Needs pip install 'weatherproof[clip]'.
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
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "head_width": 24, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def train_clip(file: Path, *, epochs: int = 12) -> str:
    """A CLIP that has learnt "a photo of the digit three." and its like from labelled digits; its text."""
    (file.parent / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(file.parent)
    with wp.random.framework_seed(0):
        model, tokenizer = open_clip.create_model(NAME), open_clip.get_tokenizer(NAME)
    images = wp.load_images("digits", "train", size=32)
    tokens = tokenizer([f"a photo of the digit {word}." for word in WORDS])
    model.token_embedding.requires_grad_(False)  # large, and good enough as it is drawn
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=3e-3)
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
        augment="none", epochs=10, batch_size=128, lr=3e-3, realizations=1, out=out / "hardened",
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
