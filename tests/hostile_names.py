"""Names that a folder or a file may have, as bytes: every writer and every verb meets all of them."""

import os
from pathlib import Path

import pytest
from PIL import Image

HOSTILE = (
    b"caf\xe9",  # Latin-1, as old zip files unpack
    b"\x93\xfa\x96{",  # Shift JIS
    b"\xed\xa0\x80",  # half of a character
    b"caf\\xe9",  # what the first could be shown as
    b"two\nlines",
    b"a\ttab\rand more",
    b"\x1b[31mred\x1b[0m\x07",
    b"\x01\x7f\xc2\x85\xe2\x80\xa8",
    b"evil\xe2\x80\xaegnp.exe",  # right to left
    b"-rf",
    b"--help",
    b"\"'`$(id) ;&|*",
    b"a,b;c",
    b"<script>alert(1)&amp;<img src=x onerror=alert(1)>",
    b"[red][bold]x{{ 7*7 }}%s",
    b"=cmd()",
    b"back\\slash",
    b" blank ",
    b"two..dots..",
    b"# not: [yaml",
    b"null",
    "\U0001f99c\u200d\U0001f525 猫".encode(),
    "Straße".encode(),
    b"STRASSE",
    "caf\u00e9".encode(),
    "cafe\u0301".encode(),
    b"x" * 255,
)


def hostile_folders(root: Path, *splits: str) -> Path:
    """A class folder of every name with two images in each split, one of them called like the class."""
    for split in splits:
        for level, name in enumerate(map(os.fsdecode, HOSTILE)):
            file = os.fsdecode(os.fsencode(name)[:240])
            try:
                (root / split / name).mkdir(parents=True)
            except OSError as error:
                pytest.skip(f"this file system has no such names: {error!r}")
            for i, stored in enumerate((f"{file}.png", "1.jpg")):
                colour = (8 * level, 255 - 8 * level, 60 * i + 120 * (split == "test"))  # no two are alike
                Image.new("RGB", (16, 16), colour).save(root / split / name / stored)
    return root
