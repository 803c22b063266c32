"""What embed gives back: to Python the object, to the command line its text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from weatherproof.embedded.reader import EmbeddingFile, load_embeddings
from weatherproof.embedded.search import Neighbours
from weatherproof.errors import InputError
from weatherproof.names import printable, visible
from weatherproof.training.run import finite
from weatherproof.verbs.outcome import console, print_lines

_SHOWN = 10  # queries of a table on the terminal


@dataclass
class EmbedOutcome:
    """The result of embedding images into a file.

    Attributes:
        file: the file; it is there when the work is complete.
        done, total: images that were looked at, and all.
        notes: sentences that belong beside it.
        left_out: by path, why a file could not be read.
        status: the exit status: 0.
    """

    file: Path
    done: int
    total: int
    next_steps: Sequence[str] = ()
    notes: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    status: int = 0

    @property
    def complete(self) -> bool:
        """Whether the file is there."""
        return self.done == self.total

    @property
    def embeddings(self) -> EmbeddingFile:
        """The file, to be read row by row. Raises `InputError` where the work is not complete."""
        if not self.complete:
            raise InputError(f"{self.file} is not there yet: {self.done:,} of {self.total:,} images are embedded")
        return load_embeddings(self.file)

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        facts: dict[str, Any] = {"file": str(self.file), "complete": self.complete, "done": self.done, "of": self.total}
        if self.complete:
            own = self.embeddings
            facts |= {"images": len(own), "columns": list(own.columns), "features": own.about.features}
            facts |= {name: getattr(own.about, name) for name in ("dtype", "size", "encoder", "weights")}
        left_out = {printable(path): reason for path, reason in self.left_out.items()}
        return facts | {"left_out": left_out, "status": self.status, "notes": list(self.notes)}

    def show(self) -> None:
        """Print what is in the file, where it is, and the notes."""
        lines = []
        if self.complete:
            about, own = self.embeddings.about, self.file.stat().st_size
            beside = {"patches": about.patches, "logits": about.classes, "gauge": about.kinds}
            more = "".join(f", {name}" for name, there in beside.items() if there)
            lines = [
                f"{about.images:,} embeddings of {about.features:,} numbers ({about.dtype}){more}: "
                f"{about.data} by {visible(about.encoder)}",
                f"file     {printable(self.file)} ({own / 1e6:,.1f} MB)",
            ]
        steps = (f"next     {visible(step)}" for step in self.next_steps)
        print_lines([*lines, *steps, *(f"note     {visible(note)}" for note in self.notes)])


@dataclass
class SearchOutcome:
    """The nearest images of an index for each query.

    Attributes:
        index: the index.
        queries: what the queries are called: paths, or the source and a position.
        query_labels: the names of their classes; None where there is none.
        found: the cosines, and the rows of the index.
        names, labels: by row of the index, of those that were found.
        file: where all of it is written; None: nowhere.
        notes: sentences that belong beside it.
        status: the exit status: 0.
    """

    index: EmbeddingFile
    queries: Sequence[str]
    query_labels: Sequence[str | None]
    found: Neighbours
    names: Mapping[int, str]
    labels: Mapping[int, str | None]
    file: Path | None = None
    notes: Sequence[str] = ()
    status: int = 0

    def neighbours(self) -> Iterator[list[dict[str, Any]]]:
        """Of each query the nearest images, the nearest first: {"image", "label", "cosine", "row"}."""
        for cosines, rows in zip(self.found.cosine.tolist(), self.found.row.tolist(), strict=True):
            yield [
                {"image": self.names[row], "label": self.labels[row], "cosine": cosine, "row": row}
                for cosine, row in zip(cosines, rows, strict=True)
                if row >= 0
            ]

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        rows = [
            {"query": query, "label": label, "neighbours": own}
            for query, label, own in zip(self.queries, self.query_labels, self.neighbours(), strict=True)
        ]
        return {
            "index": str(self.index.path), "encoder": self.index.about.encoder, "exact": self.found.exact,
            "queries": finite(rows), "file": None if self.file is None else str(self.file), "status": self.status,
            "notes": list(self.notes),
        }  # fmt: skip

    def show(self) -> None:
        """Print the neighbours of the first queries, where the rest is, and the notes."""
        from rich.table import Table
        from rich.text import Text

        shown = [*zip(self.queries, islice(self.neighbours(), _SHOWN), strict=False)]
        query_home = _home(query for query, _ in shown)
        home = _home(near["image"] for _, own in shown for near in own)
        table = Table()
        table.add_column(f"query{_in(query_home)}", overflow="fold")
        table.add_column(f"nearest{_in(home)}", overflow="fold")
        table.add_column("class", overflow="fold")
        table.add_column("cosine", justify="right")
        for query, own in shown:
            for place, near in enumerate(own or [{"image": "none", "label": None, "cosine": None}]):
                cosine = "" if near["cosine"] is None else f"{near['cosine']:.4f}"
                words = (
                    query[len(query_home) :] * (place == 0),
                    near["image"].removeprefix(home),
                    near["label"] or "",
                    cosine,
                )
                table.add_row(*(Text(visible(word)) for word in words), end_section=place == max(0, len(own) - 1))
        console().print(table)
        lines = []
        if len(self.queries) > _SHOWN:
            more = f"and {len(self.queries) - _SHOWN:,} queries more"
            lines.append(more if self.file else f"{more}: --out FILE.csv writes all of them")
        if self.file is not None:
            lines.append(f"file     {printable(self.file)}")
        print_lines([*lines, *(f"note     {visible(note)}" for note in self.notes)])


def _home(names: Iterable[str]) -> str:
    """The folder that all of these lie in, with its last slash; "" where there is none."""
    own = sorted(names)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(own[0], own[-1], strict=False)) if own else ()
    folder, slash, _ = "".join(letter for letter, _ in alike).rpartition("/")
    return folder + slash


def _in(home: str) -> str:
    return f" in {visible(home)}" if home else ""
