"""The verbs, from the command line.

A verb is a typed function: its parameters without a default are positional here, the others are options of the same
name, and its docstring is the help. Exit status: 0 done; 1 a check that the user asked for failed; 2 bad arguments or
bad input, with one clear line on standard error.
"""

import inspect
import json
import os
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from weatherproof.errors import InputError, unknown

# The one-line helps stand here too, so that `weatherproof --help` answers without loading PyTorch.
VERBS = {
    "demo": "harden an encoder on the embedded digits and show what it gains (under two minutes)",
    "harden": "teach a copy of an encoder to see through a known damage, without labels",
    "train": "train a classifier from labels (the supervised rival)",
    "probe": "fit a linear readout on a frozen encoder, with many or few labels",
    "audit": "measure an encoder or classifier under damage",
    "compare": "put several runs on one page",
    "reproduce": "rerun a table or figure of the papers beside its published numbers",
}
_PLAIN = (str, int, float, bool, Path, type(None))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        from weatherproof import __version__

        print(f"weatherproof {__version__}")
        return 0
    try:
        return _run(argv[0], argv[1:])
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; what was done is saved, the same command goes on from there", status=130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has gone
        return 0
    except (OSError, RuntimeError) as error:
        if _is_user_error(error):
            return _fail(str(error))
        raise


def _is_user_error(error: Exception) -> bool:
    from weatherproof.training import TrainingError

    return isinstance(error, TrainingError | OSError)


def _fail(message: str, status: int = 2) -> int:
    print(f"weatherproof: {' '.join(message.split())}", file=sys.stderr)
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
    function = getattr(import_module(f"weatherproof.verbs.{verb}"), verb)
    arguments, as_json = _parse(verb, function, argv)
    warnings.showwarning = _show_warning
    outcome = function(**arguments)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2))
    else:
        outcome.show()
    return int(outcome.status)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):  # ours; what libraries tell their developers is not for the user
        print(f"weatherproof: {' '.join(str(message).split())}", file=sys.stderr)


def _parse(verb: str, function: Callable[..., Any], argv: list[str]) -> tuple[dict[str, Any], bool]:
    """The arguments of the verb's function, read with a parser made from its signature."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentParser

    described = parse_docstring(function.__doc__ or "")
    helps = {p.arg_name: p.description for p in described.params}
    parser = ArgumentParser(prog=f"weatherproof {verb}", description=described.description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a YAML file with any of these arguments (a recipe)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    hints = typing.get_type_hints(function)
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        _add(parser, name, parameter, _plain(hints[name]), helps.get(name) or "")
        names.append(name)
    import jsonargparse

    try:
        parsed = parser.parse_args(argv)
    except jsonargparse.ArgumentError as error:
        raise InputError(f"{str(error).strip()} (see: weatherproof {verb} --help)") from None
    return {name: parsed[name] for name in names}, parsed["json"]


def _add(parser: Any, name: str, parameter: inspect.Parameter, kind: Any, text: str) -> None:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        parser.add_argument(name, nargs="+", type=kind, help=text)
    elif parameter.default is inspect.Parameter.empty:
        parser.add_argument(name, type=kind, help=text)
    elif kind is bool and parameter.default is False:
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text, dest=name)
    else:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=parameter.default, help=text, dest=name)


def _plain(hint: Any) -> Any:
    """The annotation without the objects that only Python can pass: on the command line a component is its text."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kept = [a for a in typing.get_args(hint) if a in _PLAIN or typing.get_origin(a) in (Literal, tuple, list)]
        return typing.Union[tuple(kept)]  # noqa: UP007 - built from a tuple
    return hint
