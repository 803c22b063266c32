"""What `export` gives back: where the files are, and how far they are from the encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherproof.names import printable
from weatherproof.training.run import finite
from weatherproof.verbs.outcome import console, print_lines

ABOUT = "export.json"


@dataclass(frozen=True)
class Exported:
    """An export, verified or not.

    Attributes:
        folder: which holds it, with recipe.yaml and export.json.
        file: the file, or for a hub the folder.
        about: what export.json says.
        status: the exit status: 0 verified, 1 not.
        lines: how to use it, and where it went.
    """

    folder: Path
    file: Path
    about: Mapping[str, Any]
    notes: Sequence[str] = ()
    lines: Sequence[str] = ()
    status: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        about: dict[str, Any] = finite({**self.about})
        return {"folder": str(self.folder), "file": str(self.file), **about, "status": self.status}

    def show(self) -> None:
        """Print the largest differences, where the files are, and the notes."""
        from rich.table import Table

        checked = self.about["verified"]
        table = Table(box=None, pad_edge=False)
        for head in ("output", "shape", "largest difference", "of its largest number"):
            table.add_column(head, justify="left" if head == "output" else "right")
        for name, own in checked["outputs"].items():
            numbers = (f"{own['largest']:.1e}", f"{own['relative']:.1e}")
            if name in ("kind", "beyond"):
                numbers = (f"{own['differing']} images", "")
            table.add_row(name, " x ".join(map(str, ("batch", *own["shape"]))), *numbers)
        console().print(table)
        if self.status:
            verdict = f"NOT verified: {'; '.join(checked['failures'])}"
        else:
            verdict = (
                f"verified on {checked['images']} images of {printable(checked['source'])}, "
                f"{checked['looks']} looks in batches of {', '.join(map(str, checked['batches']))}: "
                f"{'; '.join(checked['conditions'])}"
            )
        opset = f", opset {self.about['opset']}" if "opset" in self.about else ""
        print_lines([
            verdict,
            f"{self.about['to']:<9}{printable(self.file)} ({self.about['bytes'] / 2**20:.1f} MB{opset})",
            *self.lines,
            *(f"note     {note}" for note in self.notes),
        ])  # fmt: skip
