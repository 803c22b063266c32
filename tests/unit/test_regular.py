"""Only regular files are opened."""

import os
from pathlib import Path

import pytest

from weatherproof.regular import irregular


def test_a_file_and_a_link_to_it_are_regular(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "link").symlink_to("a")
    assert irregular(tmp_path / "a") is irregular(tmp_path / "link") is None


def test_anything_else_is_said_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a named pipe"), ("/dev/null", "a device")):
        assert irregular(path) == kind


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loose").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    for name in ("gone", "loose", "round"):
        with pytest.raises(OSError, match="No such file|symbolic links"):
            irregular(tmp_path / name)
