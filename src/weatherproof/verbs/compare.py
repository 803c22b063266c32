"""Put several runs on one page."""

from pathlib import Path

from weatherproof.errors import InputError
from weatherproof.names import printable
from weatherproof.reports import write_comparison
from weatherproof.reports.comparison import distinct
from weatherproof.reports.files import read_results
from weatherproof.texts import path_of
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import Outcome


@verb()
def compare(*runs: str | Path, out: str | Path = Path("runs/comparison")) -> Outcome:
    """Put several runs on one page. Numbers whose protocols differ are not put into one table.

    Args:
        runs: two or more run folders.
        out: the folder for the page.
    """
    if len(runs) < 2:
        raise InputError(f"compare needs two or more run folders, got {len(runs)}")
    first: dict[Path, str | Path] = {}
    for run in runs:
        place = path_of(run).resolve()
        if place in first:
            raise InputError(f"{run} is given twice{_as(first[place], run)}: give each run once")
        first[place] = run
    folders = [path_of(run) for run in runs]
    page = write_comparison(folders, path_of(out))
    records = [
        {**record, "model": f"{printable(name)}: {record.get('model')}"}
        for folder, name in zip(folders, distinct([folder.resolve().name for folder in folders]), strict=True)
        for record in read_results(folder)[0]
    ]
    return Outcome(page.parent, records, page=page)


def _as(before: str | Path, now: str | Path) -> str:
    return "" if str(before) == str(now) else f", before as {before}"
