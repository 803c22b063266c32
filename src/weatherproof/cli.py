"""The verbs, from the command line.

A verb is a typed function: its parameters before the star are positional here, the others are options of the same
name, and its docstring is the help. Exit status: 0 done; 1 a check that the user asked for failed; 2 bad arguments or
bad input, with one clear line on standard error; 128 and its number after a signal that asks to stop.

Where torchrun or srun has started several processes, the first one runs the verb and the others work for it.
"""

import inspect
import io
import json
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from weatherproof import texts
from weatherproof.cluster.place import Place, here
from weatherproof.cluster.slurm import requeue, wants_requeue
from weatherproof.errors import SHOWN, Failure, InputError, Stopped, one_line, shown, unknown
from weatherproof.interrupts import TOO_EARLY, leaving, number_of
from weatherproof.names import original, printable
from weatherproof.progress import phase
from weatherproof.recipe import NO_ARGUMENTS
from weatherproof.spec import fits

# The one-line helps stand here too, so that `weatherproof --help` answers without loading PyTorch.
VERBS = {
    "demo": "harden an encoder on the embedded digits and show what it gains (two to five minutes on two cores)",
    "harden": "teach a copy of an encoder to see through a known damage, without labels",
    "pretrain": "learn an encoder from unlabelled images (simclr, mocov2, instdis, pirl; --views urrl for robust ones)",
    "train": "train a classifier from labels (fcl: robust to noise where it may be; or a rival)",
    "finetune": "fine-tune a whole encoder on labels, and keep it robust",
    "probe": "fit a linear readout on a frozen encoder, with many or few labels",
    "audit": "measure an encoder or classifier under damage",
    "corrupt": "write a corrupted copy of a data set, as CIFAR-10-C or ImageNet-C",
    "embed": "embed images into a file (Parquet or npz), or find their nearest images in one",
    "export": "hand an encoder on: an ONNX file, a torch.export program, or a folder that its own library loads",
    "shard": "write a data set as tar shards: few large files in place of many small ones",
    "compare": "put several runs on one page",
    "doctor": "say what is wrong with an installation, a cluster or a plan, and how fast images are decoded",
    "reproduce": "rerun a table or figure of the papers beside its published numbers",
    "prepare": "turn archives and weights into what studies read, and fetch what is free",
}
_MODE = "bounded"  # how jsonargparse reads a word that is not a text: `texts.parse_argument`
_NOT_FINITE = ("nan", "inf", "-inf", "infinity", "-infinity")
_PLAIN = (str, int, float, bool, Path, type(None))
_ON_EVERY_PROCESS = ("doctor",)  # verbs that each process of a job runs by itself
_LEFT_TO_THE_LAUNCHER = ("--devices", "--processes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error; a terminal may know fewer letters
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        place = here()
        return _status(words) if place is None or place.world == 1 else _in_job(place, words)
    except InputError as error:
        return _fail(str(error))


def _status(argv: list[str]) -> int:
    """Run one verb in this process and return the exit status."""
    try:
        return _flushed(argv)
    except InputError as error:
        return _fail(str(error))
    except Stopped as error:
        number = number_of(error)
        again = f"; {requeue()}" if wants_requeue(number) else ""
        return _fail(f"stopped; what was done is saved, the same command goes on from there{again}", 128 + number)
    except KeyboardInterrupt as error:
        return _fail(TOO_EARLY, status=128 + number_of(error))
    except BrokenPipeError:
        _nobody_reads()
        return 0
    except (OSError, RuntimeError) as error:
        if _is_user_error(error):
            return _fail(_reason(error))
        raise


def _in_job(place: Place, argv: list[str]) -> int:
    """Run one verb in the first process of a job, or work for it. Raises `InputError` where they do not meet."""
    if not argv or argv[0] not in VERBS or {"-h", "--help"} & {*argv}:
        return _status(argv) if place.first else 0
    if argv[0] in _ON_EVERY_PROCESS:
        return _status(argv)
    for word in argv:
        if word.partition("=")[0] in _LEFT_TO_THE_LAUNCHER:
            cause = f"{word.partition('=')[0]} is said by {place.by} here, which has started {place.world} processes: "
            return _fail(f"{cause}leave it out") if place.first else 2
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what torch says of its attempts to reach the first process
    with leaving():
        from weatherproof.cluster.job import join, taking_part
        from weatherproof.cluster.serving import serve
    own, connection = join(place, argv)
    if connection is not None:
        return serve(own, connection)
    status = 1
    try:
        with taking_part(own):
            status = _status(argv)
    finally:
        own.end(status)
    return status


def _flushed(argv: list[str]) -> int:
    """The status of `_answer`, once all that it printed has left: that the reader has gone must not show later."""
    try:
        return _answer(argv)
    finally:
        _flush()


def _answer(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        from weatherproof import __version__

        print(f"weatherproof {__version__}")
        return 0
    return _run(argv[0], argv[1:])


def _is_user_error(error: Exception) -> bool:
    return isinstance(error, Failure | OSError)


def _reason(error: Exception) -> str:
    """Of what the system refuses, the file first and then why."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"cannot use {printable(os.fsdecode(error.filename))}: {error.strerror}"
    return str(error)


def _fail(message: str, status: int = 2) -> int:
    print(f"weatherproof: {one_line(message)}", file=sys.stderr)
    return status


def _overview() -> str:
    lines = [f"  {verb:<10} {line}" for verb, line in VERBS.items()]
    return "\n".join(
        ["usage: weatherproof VERB ...", "", "Image encoders that hold up in bad conditions, and the proof.", ""]
        + lines
        + ["", "weatherproof VERB --help shows a verb's arguments. Start with: weatherproof demo"]
    )


def _run(verb: str, argv: list[str]) -> int:
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    with leaving():
        function = getattr(import_module(f"weatherproof.verbs.{verb}"), verb)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        with leaving():
            positional, options, as_json = _parse(verb, function, argv)
        with phase(verb):
            outcome = function(*positional, **options)
    try:
        if as_json:
            print(json.dumps(outcome.to_dict(), indent=2))
        else:
            outcome.show()
        _flush()
    except BrokenPipeError:
        _nobody_reads()
    return int(outcome.status)  # it counts, whether it is read or not


def _flush() -> None:
    if sys.stdout is not None:  # it may be closed
        sys.stdout.flush()


def _nobody_reads() -> None:
    """The reader of our output has gone: the rest of it goes nowhere."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):  # ours; what libraries tell their developers is not for the user
        print(f"weatherproof: {one_line(message)}", file=sys.stderr)


def _parse(verb: str, function: Callable[..., Any], argv: list[str]) -> tuple[list[Any], dict[str, Any], bool]:
    """The arguments of the verb's function, read with a parser made from its signature."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, set_loader

    class Help(DefaultHelpFormatter):
        def _get_help_string(self, action: Any) -> str:
            return str(action.help or "")  # `_add` says type and default in words

    set_loader(_MODE, texts.parse_argument, exceptions=(texts.Malformed,))
    described = parse_docstring(function.__doc__ or "")
    helps = {p.arg_name: p.description or "" for p in described.params}
    parser = ArgumentParser(
        prog=f"weatherproof {verb}", description=described.description, exit_on_error=False, allow_abbrev=False,
        formatter_class=Help, parser_mode=_MODE,
    )  # fmt: skip
    parser.add_argument("--config", action="config", help="a recipe.yaml, or a YAML file with any of these arguments")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    kinds = {name: _plain(hints[name]) for name in parameters}
    for name, parameter in parameters.items():
        _add(parser, name, parameter, kinds[name], helps.get(name, "") + _type_and_default(hints[name], parameter))
    _check_words(argv)
    _check_numbers(argv, kinds)
    try:
        parsed = parser.parse_args(_with_recipe(parser, verb, parameters, argv))
    except (ArgumentError, OverflowError) as error:
        raise InputError(f"{_complaint(str(error), kinds)} (see: weatherproof {verb} --help)") from None
    for name in parameters:
        if parsed[name] is None and not fits(None, kinds[name]):
            raise InputError(f"{name.rstrip('_')} cannot be null: expected {_words(kinds[name])}")
    given = {name: _changed(parsed[name], original) for name in parameters}
    positional: list[Any] = []
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional += given[name]
        elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            positional.append(given[name])
    options = {n: given[n] for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return positional, options, parsed["json"]


def _check_words(argv: Sequence[str]) -> None:
    for word in argv:
        option, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
        try:
            texts.bounded(value)
            if texts.is_number_too_long(value):
                raise texts.Malformed(f"a number of {len(value)} digits")
        except texts.Malformed as error:
            raise InputError(f"{option or 'an argument'} cannot be {shown(value)}: {error}") from None


def _check_numbers(argv: Sequence[str], kinds: Mapping[str, Any]) -> None:
    """Raise `InputError` for a whole number that only YAML sees as one, such as 0x40 or 1:00: jsonargparse reads it."""
    for word, after in pairwise([*argv, ""]):
        option, equals, value = word.partition("=")
        name = option[2:].replace("-", "_") if option.startswith("--") else ""
        given = value if equals else after
        if name in kinds and texts.is_no_decimal(given) and fits(1, kinds[name]):
            raise InputError(f"{option} is a number in decimal digits such as 64; got {shown(given)}")


def _add(parser: Any, name: str, parameter: inspect.Parameter, kind: Any, text: str) -> None:
    default = str(parameter.default) if isinstance(parameter.default, Path) else parameter.default
    option = f"--{name.rstrip('_').replace('_', '-')}"
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        parser.add_argument(name, nargs="+", type=kind, help=text)
    elif parameter.default is inspect.Parameter.empty:
        parser.add_argument(name, type=kind, help=text, metavar=name)
    elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        parser.add_argument(name, nargs="?", type=kind, default=default, help=text)
    elif kind is bool and parameter.default is False:
        parser.add_argument(option, action="store_true", help=text, dest=name)
    elif _item(kind):
        parser.add_argument(
            option, action="append", type=_each(_item(kind)), help=f"{text} May be repeated.", dest=name
        )
    else:
        parser.add_argument(option, type=kind, default=default, help=text, dest=name)


def _type_and_default(hint: Any, parameter: inspect.Parameter) -> str:
    """What an option's help ends with: " (path; runs/audit by default)"."""
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or hint is bool or _item(hint):
        return ""
    kinds = [k for k in typing.get_args(hint) or (hint,) if k is not type(None)]
    is_path, default = Path in kinds and {*kinds} <= {*_PLAIN}, parameter.default
    word = "path" if is_path else " or ".join(k.__name__ for k in kinds if k in (int, float))
    words = [word, "" if default in (None, "") else f"{default} by default"]
    return f" ({'; '.join(filter(None, words))})" if any(words) else ""


def _plain(hint: Any) -> Any:
    """The annotation without the objects that only Python can pass: on the command line a component is its text."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        plain = [a for a in typing.get_args(hint) if a in _PLAIN or typing.get_origin(a) in (Literal, tuple, list)]
        if str in plain and Path in plain:  # a path is text here
            plain.remove(Path)
        return typing.Union[tuple(plain)]  # noqa: UP007 - built from a tuple
    return hint


def _item(kind: Any) -> Any:
    """What a list holds; None where the annotation is no list."""
    lists = [k for k in (kind, *typing.get_args(kind)) if typing.get_origin(k) is list]
    return typing.get_args(lists[0])[0] if lists else None


def _each(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads one word of a list, and the list itself, which the parser checks once more when it is complete."""

    def read(value: Any) -> Any:
        return [kind(item) for item in value] if isinstance(value, list) else kind(value)

    read.__name__ = kind.__name__  # for the parser's complaints
    return read


def _with_recipe(parser: Any, verb: str, known: Mapping[str, inspect.Parameter], argv: list[str]) -> list[str]:
    """The arguments with what the file of `--config` says in front of them, so that what is typed here wins. All texts
    are `printable`, since the parser's YAML takes no others."""
    place = next((i for i, word in enumerate(argv) if word.partition("=")[0] == "--config"), None)
    if place is None:
        return [*map(printable, argv)]
    _, equals, file = argv[place].partition("=")
    rest = argv[:place] + argv[place + 1 :]
    if not equals:
        if place == len(rest):
            raise InputError("--config needs a file: a run's recipe.yaml, or a YAML file with arguments")
        file = rest.pop(place)
    recipe = {name: _changed(value, printable) for name, value in _read_recipe(Path(file), verb).items()}
    strangers = [name for name in recipe if name not in known]
    if strangers:
        raise unknown(f"argument in {file}", strangers[0], known)
    left_out = [n for n in recipe if known[n].kind is known[n].POSITIONAL_OR_KEYWORD and known[n].default is None]
    parser.set_defaults({n: recipe.pop(n) for n in left_out})  # such a default would win over what the file says
    repeated = {n: v for n, v in recipe.items() if isinstance(v, list) and known[n].kind is known[n].KEYWORD_ONLY}
    single = {n: v for n, v in recipe.items() if n not in repeated}
    words = [f"--{n.replace('_', '-')}={item}" for n, items in repeated.items() for item in items]
    return ["--config", json.dumps(single), *words, *map(printable, rest)]


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """The texts in an argument, changed."""
    if isinstance(value, list):
        return [_changed(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _read_recipe(file: Path, verb: str) -> dict[str, Any]:
    try:
        recipe = texts.read_yaml(file)
    except (OSError, texts.Malformed) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"--config {file} cannot be read: {reason}") from None
    if not isinstance(recipe, dict) or not all(isinstance(name, str) for name in recipe):
        raise InputError(f"--config {file} holds no arguments: expected lines such as 'epochs: 25'")
    if recipe.get("verb", verb) != verb:
        raise InputError(f"--config {file} is a recipe of {shown(recipe['verb'])}, not of {verb!r}")
    return {name: value for name, value in recipe.items() if name not in NO_ARGUMENTS}


def _complaint(message: str, kinds: Mapping[str, Any]) -> str:
    """The parser's complaint in one line; about a value of the wrong type, its own runs over ten."""
    in_list = re.match(r"(?s)argument --([\w-]+): invalid (\w+) value: (.*)", message.strip())
    if in_list:
        return f"{in_list[1].replace('-', '_')} cannot be {in_list[3][:SHOWN]}: expected {in_list[2]}"
    match = re.match(r'(?s)Parser key "(\w+)":.*(?:Given|Got) value: (.*)', message.strip())
    if match is None or match[1] not in kinds:
        return message.strip()
    if float in (kinds[match[1]], *typing.get_args(kinds[match[1]])) and match[2].strip().lower() in _NOT_FINITE:
        return f"{match[1]} must be a finite number, got {match[2].strip()}"
    return f"{match[1]} cannot be {shown(match[2].strip())}: expected {_words(kinds[match[1]])}"


def _words(kind: Any) -> str:
    """An annotation in words: "int or None", "'cached' or 'paper'"."""
    parts = typing.get_args(kind) or (kind,)
    choices = [c for part in parts for c in (typing.get_args(part) if typing.get_origin(part) is Literal else (part,))]
    return " or ".join("None" if c is type(None) else getattr(c, "__name__", None) or repr(c) for c in choices)
