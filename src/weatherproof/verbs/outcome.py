"""What a verb gives back: to Python the object, to the command line its text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherproof.names import printable, shell_word, visible
from weatherproof.spec import UserFunction
from weatherproof.training import RunFolder
from weatherproof.training.run import finite


@dataclass
class Outcome:
    """The result of a verb.

    Attributes:
        folder: the run folder.
        records: the numbers, as in results.json (decision 5 of the architecture: each carries its protocol).
        encoder: the finished encoder, where the verb makes one.
        checks: claims that were checked: [{"claim", "passed", "detail"}].
        status: the exit status: 0 done, 1 a check that the user asked for failed.
        next_steps: lines that say what to try next.
    """

    folder: Path
    records: Sequence[Mapping[str, Any]]
    encoder: Any = None
    checks: Sequence[Mapping[str, Any]] = field(default_factory=list)
    status: int = 0
    next_steps: Sequence[str] = ()
    page: Path | None = None

    @property
    def report(self) -> Path:
        """The page."""
        return self.page or self.folder / "report.html"

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "records": finite([dict(r) for r in self.records]),
            "checks": [dict(c) for c in self.checks],
            "status": self.status,
        }

    def show(self) -> None:
        """Print the numbers as a table, and where the files are."""
        from rich.console import Console

        from weatherproof.reports import console_table

        console = Console()
        console.print(console_table(self.records))
        for check in self.checks:
            mark = "[green]holds[/]" if check["passed"] else "[red]fails[/]"
            console.print(mark, end="  ")
            console.print(visible(f"{check['claim']} ({check['detail']})"), highlight=False, markup=False)
        files = {"report": self.report}
        if (self.folder / "encoder.safetensors").is_file():
            files["encoder"] = self.folder / "encoder.safetensors"
        lines = [(name, printable(file)) for name, file in files.items()]
        for name, line in [*lines, *(("next", visible(step)) for step in self.next_steps)]:
            console.print(f"{name:<9}{line}", highlight=False, markup=False, soft_wrap=True)


@dataclass
class Listing:
    """What there is to choose from, by name: the result of a verb that was asked for nothing else."""

    entries: Mapping[str, str]
    status: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return dict(self.entries)

    def show(self) -> None:
        """Print one line an entry."""
        width = max(map(len, self.entries))
        for name, text in self.entries.items():
            print(f"{name:<{width}}  {text}")


def complete_state(run: RunFolder, file: str) -> dict[str, Any] | None:
    """What a run that was measured to its end says of itself in this file; None where something is left to do."""
    if not run.finished or not (run.path / file).is_file():
        return None
    state: dict[str, Any] = json.loads((run.path / file).read_text(encoding="utf-8"))
    return state if state["complete"] else None


def finished(run: RunFolder, *notes: str, encoder: Any = None) -> Outcome:
    """The outcome of a run folder that holds its results already."""
    from weatherproof.reports import write_report

    records = json.loads((run.path / "results.json").read_text(encoding="utf-8"))["records"]
    checks = run.path / "checks.json"
    known = json.loads(checks.read_text(encoding="utf-8")) if checks.is_file() else []
    if not (run.path / "report.html").is_file():
        write_report(run.path)
    return Outcome(run.path, records, encoder=encoder, checks=known, next_steps=notes)


def recipe_of(verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What recipe.yaml says: the verb and its arguments, objects by their text."""
    plain = (str, int, float, list, type(None))
    return {"verb": verb} | {k: v if isinstance(v, plain) else text_of(v) for k, v in arguments.items()}


def text_of(value: Any) -> str:
    """What a recipe, a record and a command line call it."""
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, UserFunction):
        return value.path  # its repr is quoted, to stand inside a call
    return getattr(value, "name", None) or getattr(value, "__qualname__", None) or repr(value)


def name_of(model: Any) -> str:
    """What records call a model that the user gave: its folder's name, or its text without the weights."""
    text = text_of(model)
    return printable(Path(text).resolve().name if Path(text).is_dir() else text.partition("@")[0])


def command(verb: str, *arguments: Any, **options: Any) -> str:
    """A command line to copy, quoted for a shell."""
    words = [*map(text_of, arguments), *(w for k, v in options.items() for w in (f"--{k}", text_of(v)))]
    return " ".join(["weatherproof", verb, *map(shell_word, words)])
