"""What is taken out of a tar file: plain files by name, each whole or not at all."""

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weatherproof.errors import InputError
from weatherproof.files import disk_errors, replacing
from weatherproof.progress import phase

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        bytes, md5: as its authors' page says.
        page: of the authors.
    """

    name: str
    bytes: int
    md5: str
    page: str

    @property
    def url(self) -> str:
        """Of the archive itself."""
        return f"{self.page}/files/{self.name}"


# As Zenodo lists them, beside Hendrycks & Dietterich 2019.
ARCHIVES = {
    "cifar10-c": Archive(
        "CIFAR-10-C.tar", 2_918_471_680, "56bf5dcef84df0e2308c6dcbcbbd8499", "https://zenodo.org/records/2535967"
    ),
    "cifar100-c": Archive(
        "CIFAR-100-C.tar", 2_918_473_216, "11f0ed0f1191edbf9fa23466ae6021d3", "https://zenodo.org/records/3555552"
    ),
}


def check(file: Path, published: Archive) -> None:
    """Raise `InputError` unless the file is what was published."""
    size = file.stat().st_size
    if size != published.bytes:
        raise InputError(
            f"{file} has {size:,} bytes and the published {published.name} {published.bytes:,}: fetch it again from "
            f"{published.page}"
        )
    digest = hashlib.md5(usedforsecurity=False)
    with phase(f"checking {file.name}", -(-size // _CHUNK), "parts") as meter, file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            meter.advance()
    if digest.hexdigest() != published.md5:
        raise InputError(
            f"{file} is not the published {published.name}: its MD5 is {digest.hexdigest()}, expected {published.md5}; "
            f"fetch it again from {published.page}"
        )


@contextmanager
def opened(file: Path) -> Iterator[tarfile.TarFile]:
    """The tar file. Raises `InputError` where it is none, or is cut off."""
    if not file.is_file():
        raise InputError(f"no archive {str(file)!r}: expected a tar file")
    try:
        with tarfile.open(file, "r:*") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{file} is no whole tar file ({error}): fetch it again") from None


def take(archive: tarfile.TarFile, out: Path, place: Callable[[PurePosixPath], Path | None]) -> int:
    """Write files of an archive into a folder, those that are not there yet in their size. Returns how many of the
    archive's files are there then. Links, devices and names that lead out of the folder are left out.

    Args:
        place: where a file goes, relative to `out`; None: nowhere.
    """
    taken = 0
    with phase(f"unpacking into {out}", None, "files") as meter:
        for member in archive:
            wanted = place(PurePosixPath(member.name)) if member.isfile() else None
            if wanted is None or wanted.is_absolute() or ".." in wanted.parts:
                continue
            taken += 1
            target = out / wanted
            if target.is_file() and target.stat().st_size == member.size:
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, member.size) as file:
                shutil.copyfileobj(stream, file)
            meter.advance()
    return taken
