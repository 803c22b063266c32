"""Images that are made where a user gives none: of the size and weight of ImageNet's files."""

from pathlib import Path

import torch
from PIL import Image

WIDTH, HEIGHT = 500, 375  # the commonest size of ImageNet's files
QUALITY = 90  # then one has about 100 kB, as ImageNet's have


def write_samples(folder: Path, count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Smooth noise with a grain as JPEG of so many rows and columns; returns the folder. Eight different ones."""
    rows, columns = size
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(min(count, 8)):
        coarse = torch.rand(1, 3, max(2, rows // 25), max(2, columns // 25), generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[0]
        grain = 0.05 * torch.randn(3, rows, columns, generator=generator)
        pixels = ((smooth + grain).clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
        file = folder / f"{number:06}.jpg"
        Image.fromarray(pixels).save(file, quality=QUALITY)
        made.append(file.read_bytes())
    for number in range(len(made), count):
        (folder / f"{number:06}.jpg").write_bytes(made[number % len(made)])
    return folder
