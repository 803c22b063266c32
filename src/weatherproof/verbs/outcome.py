"""What a verb gives back: to Python the object, to the command line its text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weatherproof.data import ImageSet
from weatherproof.data.digest import contents_digest
from weatherproof.encoders import Encoder
from weatherproof.encoders.adapters.folder import body_hash
from weatherproof.encoders.own import IN_HAND
from weatherproof.errors import InputError, shown
from weatherproof.evaluation.engine.run import weights_digest
from weatherproof.functions import given
from weatherproof.names import command_line, printable, visible
from weatherproof.readouts import Readout, readout_hash
from weatherproof.recipe import COMMITS, INPUTS, OWN_FILES
from weatherproof.spec import UserFunction, is_component, own_files
from weatherproof.texts import LARGEST, Malformed, bounded, read_json
from weatherproof.training import RunFolder
from weatherproof.training.run import finite

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T", Encoder, ImageSet)

_MADE = ("*.safetensors", "*.json", "hardened/*.safetensors", "hardened/*.json")
_OTHERS = ("results.json", "checks.json")  # which no other call is to find as they are
# Words that there were not from the beginning, and what a recipe without them means.
_LATER = {
    "classes_match": False, "classes": None, "prompts": None, "micro_batch": None, "checkpoint_gradients": False,
    "compile": False, "tracker": None,
}  # fmt: skip
NOTHING_DONE = "this run is finished already: nothing was done"


def console() -> "Console":
    """What prints tables and colours on standard output: that its reader has gone is an error as of `print`."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Out()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are, however long."""
    out = console()
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


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
        notes: sentences that belong beside the numbers.
    """

    folder: Path
    records: Sequence[Mapping[str, Any]]
    encoder: Any = None
    checks: Sequence[Mapping[str, Any]] = field(default_factory=list)
    status: int = 0
    next_steps: Sequence[str] = ()
    page: Path | None = None
    notes: Sequence[str] = ()

    @property
    def report(self) -> Path:
        """The page."""
        return self.page or self.folder / "report.html"

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "folder": str(self.folder),
            "report": str(self.report) if self.report.is_file() else None,
            "records": finite([dict(r) for r in self.records]),
            "checks": [dict(c) for c in self.checks],
            "status": self.status,
            "notes": list(self.notes),
        }

    def show(self) -> None:
        """Print the numbers as a table, where the files are, and the notes."""
        self.show_numbers()
        self.show_notes()

    def show_numbers(self) -> None:
        """Print the four numbers of a hardening, the table, the checks and where the files are."""
        from weatherproof.reports import console_table
        from weatherproof.reports.hardened.words import summary_lines

        print_lines(summary_lines(self.folder))
        if self.records:
            console().print(console_table(self.records))
        self.show_checks()

    def show_checks(self) -> None:
        """Print the checks and where the files are."""
        out = console()
        for check in self.checks:
            mark = "[green]holds[/]" if check["passed"] else "[red]fails[/]"
            out.print(mark, end="  ")
            out.print(visible(f"{check['claim']} ({check['detail']})"), highlight=False, markup=False, soft_wrap=True)
        files = {"report": self.report} if self.report.is_file() else {}
        if (self.folder / "encoder.safetensors").is_file():
            files["encoder"] = self.folder / "encoder.safetensors"
        lines = [(name, printable(file)) for name, file in files.items()]
        print_lines(
            f"{name:<9}{line}" for name, line in [*lines, *(("next", visible(step)) for step in self.next_steps)]
        )

    def show_notes(self) -> None:
        """Print the notes."""
        print_lines(f"note     {note}" for note in self.notes)


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


def own_json(file: Path) -> Any:
    """What an earlier call wrote into a file of its run folder. Raises `InputError` where it cannot be read."""
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}): delete it, or choose another --out") from None


def finished(run: RunFolder, *notes: str, encoder: Any = None) -> Outcome:
    """The outcome of a run folder that holds its results already; without any there is no page."""
    from weatherproof.reports import write_report
    from weatherproof.reports.files import read_checks, read_results

    (records, noted), known = read_results(run.path), read_checks(run.path)
    if records and not (run.path / "report.html").is_file():
        write_report(run.path)
    return Outcome(run.path, records, encoder=encoder, checks=known, next_steps=notes, notes=noted)


def files_made(folder: Path) -> dict[str, int]:
    """The files of a run folder that a finished run is to have, and their bytes: what is loaded or shown again."""
    made = (file for pattern in _MADE for file in folder.glob(pattern) if file.is_file() and file.name not in _OTHERS)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in sorted(made)}


def require_files(folder: Path) -> None:
    """Raise `InputError` where a file that results.json names is gone, or has another size."""
    results, here = own_json(folder / "results.json"), files_made(folder)
    named = results.get("files") if isinstance(results, dict) else None
    for name, size in named.items() if isinstance(named, dict) else ():
        if here.get(name) != size:
            found = f"has {here[name]:,} bytes in place of {size:,}" if name in here else "is missing"
            raise InputError(
                f"the run in {folder} is finished, and {name} {found}: remove {folder / 'results.json'}, and the same "
                "command makes it again"
            )


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise `InputError` for a text, a path or a number that nothing can be done with, whatever it is for: too long, a
    null character, a whole number beyond 64 bits, NaN."""
    for name, value in arguments.items():
        for own in value if isinstance(value, list | tuple) else (value,):
            option = name.rstrip("_").replace("_", "-")
            if isinstance(own, float) and math.isnan(own):
                raise InputError(f"{option} must be a finite number, got nan")
            if isinstance(own, int) and abs(own) > LARGEST:
                raise InputError(f"{option} is {shown(own)}: whole numbers go up to {LARGEST:,}")
            if isinstance(own, str | Path):
                try:
                    bounded(str(own))
                except Malformed as error:
                    raise InputError(f"{option} cannot be {shown(str(own))}: {error}") from None


def recipe_of(verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What recipe.yaml says: the verb and its arguments, among which its `options` are flat; objects by their text."""
    arguments = {**arguments, **arguments.get("options", {})}
    plain = (str, int, float, list, type(None))
    given = {
        name: value
        for name, value in arguments.items()
        if name != "options" and not (name in _LATER and value == _LATER[name])
    }
    given |= {n: list(v) for n, v in given.items() if n in ("classes", "prompts") and isinstance(v, tuple)}
    recipe = {"verb": verb} | {k: v if isinstance(v, plain) else _identity(v) for k, v in given.items()}
    named = [str(text) for value in recipe.values() for text in (value if isinstance(value, list) else [value])]
    files = {file: content for text in named for file, content in own_files(text).items()}
    return recipe | ({OWN_FILES: files} if files else {})


def with_origins(recipe: Mapping[str, Any], *encoders: Encoder, images: Sequence[ImageSet] = ()) -> dict[str, Any]:
    """The recipe with digests of what these encoders and images hold now, by which a run goes on with them alone, and
    with the hashes of the published files that they come from, and the commits of the hub."""
    origins = {origin.name: origin for encoder in encoders for origin in encoder.origins}
    commits = {name: origin.commit for name, origin in origins.items() if origin.commit is not None}
    files = {**recipe.get(OWN_FILES, {}), **{name: origin.sha256 for name, origin in origins.items()}}
    weights = _each("the encoder", list(dict.fromkeys(encoders)), weights_digest)
    inputs = {INPUTS: {**recipe.get(INPUTS, {}), **weights, **_each("the set", images, contents_digest)}}
    return {**recipe, **({OWN_FILES: files} if files else {}), **({COMMITS: commits} if commits else {}), **inputs}


def _each(kind: str, things: Sequence[T], digest: Callable[[T], str]) -> dict[str, str]:
    """The digest of each by its name, or by its place where two have the same."""
    names = [own.name for own in things]
    words = (name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1))
    return {f"{kind} {word}": digest(own) for word, own in zip(words, things, strict=True)}


def _identity(value: Any) -> str:
    """The text of an object; of a network in the hand, whose class's name says little, with its weights."""
    if isinstance(value, Readout):
        return f"{len(value.classes)} {value.kind} classes@{readout_hash(value)[:12]}"
    text = text_of(value)
    return f"{text}@{body_hash(value)[:12]}" if isinstance(value, Encoder) and text.startswith(IN_HAND) else text


def text_of(value: Any) -> str:
    """What a recipe, a record and a command line call it."""
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, UserFunction):
        return value.path  # its repr is quoted, to stand inside a call
    if is_component(value):
        return repr(value)  # of a component, which may have a name among its settings
    return getattr(value, "name", None) or repr(given(value))


def name_of(model: Any) -> str:
    """What records call a model that the user gave: its folder's name, or its text without the weights."""
    text = text_of(model)
    return printable(Path(text).resolve().name if Path(text).is_dir() else text.partition("@")[0])


def command(verb: str, *arguments: Any, **options: Any) -> str:
    """A command line to copy, quoted for a shell."""
    words = [*map(text_of, arguments), *(w for k, v in options.items() for w in (f"--{k}", text_of(v)))]
    return command_line(verb, *words)
