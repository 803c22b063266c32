"""What it costs to start: importing the package over importing PyTorch, and `weatherproof --help`."""

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Row, in_turn

IMPORT_LIMIT = 0.2  # seconds over `import torch`
HELP_LIMIT = 0.5  # seconds


def run(device: str, repeats: int = 9) -> list[Row]:
    """Whole processes, in turn: the interpreter's own start is in both."""
    ours, floor = in_turn(lambda: _python("import torch, weatherproof"), lambda: _python("import torch"), repeats)
    every = "import torch, weatherproof; [getattr(weatherproof, name) for name in weatherproof.__all__]"
    whole, whole_floor = in_turn(lambda: _python(every), lambda: _python("import torch"), repeats)
    command = _command()
    helps, bare = in_turn(lambda: _call([*command, "--help"]), lambda: _python("pass"), repeats)
    return [
        Row("import weatherproof", "import torch", "s", ours, floor, by="difference", limit=IMPORT_LIMIT),
        Row("every public name of weatherproof", "import torch", "s", whole, whole_floor, by="difference"),
        Row("weatherproof --help", "nothing", "s", helps, by="itself", limit=HELP_LIMIT),
        Row("python -c pass", "nothing", "s", bare, by="itself"),
    ]


def _command() -> list[str]:
    """The installed console script, as a user calls it."""
    script = Path(sys.executable).parent / "weatherproof"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "weatherproof"]


def _python(code: str) -> None:
    _call([sys.executable, "-c", code])


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
