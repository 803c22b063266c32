"""A copy of a data set that a verb writes into a run folder: notes of progress on the way, in the end a manifest."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from weatherproof.data.layout import MANIFEST
from weatherproof.files import disk_errors
from weatherproof.names import printable, visible
from weatherproof.training import RunFolder
from weatherproof.verbs.outcome import command, own_json

NOTE_SECONDS = 30.0  # at most this much work is lost to a kill
PROGRESS = "progress.json"


@dataclass
class DataCopy(ABC):
    """The result: the folder, and what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]
    next_steps: Sequence[str] = ()
    status: int = 0

    @classmethod
    def finished(cls, run: RunFolder, what: str) -> Self | None:
        """The copy that is in this folder already, which is then closed; None where there is none, or a part.

        Args:
            what: was written, for whoever asks for it again.
        """
        if not (run.path / MANIFEST).exists():
            return None
        run.close()
        return cls(run.path, own_json(run.path / MANIFEST), (f"{what} finished already: nothing was done",))

    @classmethod
    def finish(cls, run: RunFolder, manifest: Mapping[str, Any], source: str) -> Self:
        """The end of the work in this folder.

        Args:
            source: with the folder after it, what `load_images` reads the copy by.
        """
        run.write_json(MANIFEST, manifest)
        with disk_errors(run.path):
            (run.path / PROGRESS).unlink(missing_ok=True)
        run.close()
        return cls(run.path, manifest, (command("audit", "MODEL", f"{source}:{run.path}"),))

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """What was written, in words, and notes on it."""

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"folder": str(self.folder), "manifest": dict(self.manifest), "status": self.status}

    def show(self) -> None:
        """Print what was written, and where."""
        for line in self.lines():
            print(line)
        print(f"manifest {printable(self.folder / MANIFEST)}")
        for line in self.next_steps:
            print(f"next     {visible(line)}")
