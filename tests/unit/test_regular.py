"""Only regular files are opened."""

import os
from pathlib import Path

import pytest

from weatherproof.errors import InputError
from weatherproof.regular import irregular, is_regular, regular_file


def test_a_file_and_a_link_to_it_are_regular(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        assert regular_file(tmp_path / name) == tmp_path / name
        assert is_regular(tmp_path / name) and irregular(tmp_path / name) is None


def test_anything_else_is_refused_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loose").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    for path, message in (
        (tmp_path, "is a folder: expected a recipe, a regular file"),
        (tmp_path / "pipe", "is a named pipe: expected"),
        ("/dev/null", "is a device: expected"),
        (tmp_path / "gone", "cannot read .*gone.*: expected a recipe .*No such file"),
        (tmp_path / "loose", "No such file"),
        (tmp_path / "round", "symbolic links"),
        ("a\0b", "null"),
        ("a" * 5000, "too long"),
    ):
        assert not is_regular(path)
        with pytest.raises(InputError, match=message):
            regular_file(path, "a recipe")
