"""Hashes of large files: computed once, and again when the file is another one."""

import hashlib
import os
from pathlib import Path

import pytest

from weatherproof.encoders import digests
from weatherproof.encoders.digests import sha256_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """One for each file that was read; no file is too young."""
    found: list[str] = []
    read = hashlib.file_digest

    def counted(file: object, name: str) -> object:
        found.append(name)
        return read(file, name)  # type: ignore[arg-type, type-var]

    monkeypatch.setattr(digests.hashlib, "file_digest", counted)
    monkeypatch.setattr(digests, "_SETTLED", -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def _large(path: Path) -> bytes:
    content = bytes(range(256)) * (digests._LARGE // 256)
    path.write_bytes(content)
    return content


def test_a_large_file_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    content = _large(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    found = {sha256_of(tmp_path / name) for name in ("file", "file", "link")}
    assert found == {hashlib.sha256(content).hexdigest()} and len(reads) == 1


@pytest.mark.parametrize("change", ["in its place", "another in its place", "as old as before"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, reads: list[str], change: str) -> None:
    file = tmp_path / "file"
    content = _large(file)
    sha256_of(file)
    before = file.stat()
    if change == "another in its place":
        file.unlink()
    file.write_bytes(changed := content[:-1] + b"\0")
    if change == "as old as before":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sha256_of(file) == hashlib.sha256(changed).hexdigest() and len(reads) == 2


def test_what_was_just_written_is_read_again(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 10**12)
    _large(tmp_path / "file")
    assert sha256_of(tmp_path / "file") == sha256_of(tmp_path / "file") and len(reads) == 2


@pytest.mark.parametrize("cut", [b"", b"1 2 3", b"\xff\xfe"])
def test_a_damaged_note_is_no_hash(tmp_path: Path, reads: list[str], cut: bytes) -> None:
    content = _large(tmp_path / "file")
    sha256_of(tmp_path / "file")
    (note,) = (tmp_path / "cache" / "weatherproof" / "hashes").iterdir()
    note.write_bytes(cut)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest() and len(reads) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _large(tmp_path / "file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
