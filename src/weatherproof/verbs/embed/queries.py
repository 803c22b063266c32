"""The nearest images of an index, for each of some images."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.embedded.columns import EMBEDDING, Asked
from weatherproof.embedded.parquet import write_table
from weatherproof.embedded.reader import EmbeddingFile, load_embeddings
from weatherproof.embedded.rows import Column
from weatherproof.embedded.search import Search, search_of, searched
from weatherproof.errors import InputError
from weatherproof.names import cell, printable, utf8
from weatherproof.verbs.embed.outcome import SearchOutcome
from weatherproof.verbs.embed.subject import Subject, out_file
from weatherproof.verbs.embed.write import bad_notes, late_note, placed

COLUMNS = ("query", "query_label", "rank", "image", "label", "cosine")
_CHUNK = 1 << 14  # queries that are written at a time


def search_index(
    index: str | Path, model: str | Path | nn.Module, source: str | Path | ImageSet, options: Mapping[str, Any],
    asked: Asked, neighbours: int, search: str | Search,
) -> SearchOutcome:  # fmt: skip
    """Embed the queries, and look for the nearest images of each.

    Raises:
        InputError: an index that cannot be read or is of another encoder or size, an output that is there already, and
            what the encoder, the images or the disk refuse.
    """
    out = options.get("out")
    file = None if out is None else out_file(out, (".csv", ".parquet"))
    if file is not None and file.exists():
        raise InputError(f"{file} is there already: choose another --out, or delete it")
    bank = load_embeddings(index)
    way = search_of(search, len(bank))
    subject = Subject.load(model, source, options, asked)
    bank.about.require(subject.encoder, subject.weights, subject.size, str(bank.path), subject.encoder_at)
    settings = {"index": str(bank.path), "neighbours": neighbours}
    with subject.at_work(file, settings) as parts:
        if not parts.complete:
            raise InputError(f"{late_note(parts, 'nothing is searched yet')}, if it has --out; give more --minutes")

        def queries(rows: int) -> Iterator[torch.Tensor]:
            for own in parts.groups(rows):
                yield own[EMBEDDING]

        places = parts.places().tolist()
        found = searched(bank, queries, neighbours, way, subject.device, len(places))
        rows = sorted({row for row in found.row.flatten().tolist() if row >= 0})
        named = dict(zip(rows, bank.names(rows), strict=True))
        outcome = SearchOutcome(
            bank, [printable(name) for name in subject.origin.names(places)], subject.origin.labels(places), found,
            {row: name for row, (name, _) in named.items()}, {row: label for row, (_, label) in named.items()}, file,
            [*_notes(bank, outcome_lonely=found.lonely, k=neighbours, exact=found.exact), *bad_notes(parts)],
        )  # fmt: skip
        if file is not None:
            with placed(file, parts, 0) as stream:
                (_write_csv if file.suffix.lower() == ".csv" else _write_parquet)(stream, outcome)
    return outcome


def _notes(bank: EmbeddingFile, outcome_lonely: int, k: int, exact: bool) -> list[str]:
    notes = []
    if outcome_lonely:
        many = outcome_lonely > 1
        notes.append(
            f"{outcome_lonely:,} quer{'ies have' if many else 'y has'} no neighbour: an embedding of length 0 has no "
            "direction, and nothing is near it"
        )
    if k > len(bank):
        notes.append(f"{bank.path} has {len(bank):,} image{'s' * (len(bank) > 1)}, fewer than {k} neighbours")
    if not exact:
        notes.append("FAISS has looked at the likeliest images alone: a nearer one may be missing (--search exact)")
    return notes


def _lines(outcome: SearchOutcome) -> Iterator[tuple[Any, ...]]:
    for query, label, own in zip(outcome.queries, outcome.query_labels, outcome.neighbours(), strict=True):
        for rank, near in enumerate(own, start=1):
            yield query, label, rank, near["image"], near["label"], near["cosine"]


def _write_csv(stream: BinaryIO, outcome: SearchOutcome) -> None:
    """One line a neighbour. A query without any has none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for count, (query, query_label, rank, image, label, cosine) in enumerate(_lines(outcome)):
        names = (cell(query), cell(query_label or ""), rank, cell(image), cell(label or ""))
        writer.writerow((*names, f"{cosine:.6f}"))
        if count % _CHUNK == 0:
            stream.write(utf8(text.getvalue()))
            text.seek(0)
            text.truncate()
    stream.write(utf8(text.getvalue()))


def _write_parquet(stream: BinaryIO, outcome: SearchOutcome) -> None:
    lines = _lines(outcome)

    def groups() -> Iterator[dict[str, Column]]:
        first = True
        while (some := [line for line, _ in zip(lines, range(_CHUNK))]) or first:  # noqa: B905 - the shorter one ends
            first = False
            columns = [list(own) for own in zip(*some, strict=True)] or [[] for _ in COLUMNS]
            numbers: dict[str, Column] = {
                "rank": np.array(columns[2], np.int64),
                "cosine": np.array(columns[5], np.float32),
            }
            yield {name: numbers.get(name, own) for name, own in zip(COLUMNS, columns, strict=True)}

    write_table(stream, groups(), {})
