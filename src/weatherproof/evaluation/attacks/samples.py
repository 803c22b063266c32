"""What an attack did to every single image, as a table on the disk."""

import csv
import io
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from weatherproof.errors import InputError
from weatherproof.evaluation.attacks.robust import Attacks
from weatherproof.files import write_atomically
from weatherproof.names import utf8

COLUMNS = (
    *("index", "label", "model", "attack", "draw", "clean_answer", "answer", "right"),
    *("size", "distance", "norm"),
)

Row = tuple[int | float | str, ...]


def save_samples(result: Attacks, path: Path) -> None:
    """One row for each image, model, attack and draw, into PATH.csv or PATH.parquet.

    `index` is the image's position in its source, `size` that of the perturbation, `distance` the same where it
    misclassifies, 0 where the clean image is misclassified already, and "inf" where the attack failed.

    Raises:
        InputError: another kind of file, or parquet without `pyarrow`.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"the table of an attack's images is .csv or .parquet, got {path.name!r}")
    data = _csv(_rows(result)) if path.suffix == ".csv" else _parquet(_rows(result))
    write_atomically(path, data)


def _csv(rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return utf8(text.getvalue())


def _parquet(rows: Iterable[Row]) -> bytes:
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise InputError("a .parquet table needs pyarrow: pip install pyarrow, or write .csv") from None
    columns = list(zip(*rows, strict=True)) or [() for _ in COLUMNS]
    file = io.BytesIO()
    parquet.write_table(pa.table(dict(zip(COLUMNS, map(list, columns), strict=True))), file)
    return file.getvalue()


def _rows(result: Attacks) -> Iterator[Row]:
    for trial in result.trials:
        if trial.facts is None or not {trial.label, trial.clean.label} <= result.answers.keys():
            continue
        found, before = result.answers[trial.label], result.answers[trial.clean.label]
        answers = dict(zip(before.place.tolist(), before["guess"].tolist(), strict=True))
        index, labels = result.images.index[found.place].tolist(), result.labels(trial).tolist()
        lengths = [[round(v, 7) for v in t.tolist()] for t in (found["size"], result.distances(trial))]
        for i, place in enumerate(found.place.tolist()):
            answer = int(found["guess"][i])
            yield (
                index[i], labels[i], trial.model, repr(trial.attack), trial.run, answers[place], answer,
                int(answer == labels[i]), lengths[0][i], lengths[1][i], trial.facts.norm,
            )  # fmt: skip
