"""What can be done with the encoder of a run: the Python that loads it, and commands that go on from it."""

from dataclasses import dataclass

from weatherproof.names import command_line
from weatherproof.reports.files import Run
from weatherproof.reports.group import Group


@dataclass(frozen=True)
class Use:
    """Runs with an encoder. `steps`: of the page's only one, (why, command)."""

    runs: tuple[Run, ...]
    steps: tuple[tuple[str, str], ...]


def use_part(group: Group) -> Use | None:
    """The part; None where no run has an encoder."""
    runs = tuple(run for run in group.runs if run.has("encoder.safetensors"))
    return Use(runs, () if group.compared or _in_hand(runs[0]) else next_steps(runs[0])) if runs else None


def next_steps(run: Run) -> tuple[tuple[str, str], ...]:
    """(why, command) pairs; every part of a command is quoted for the shell."""
    folder, images = str(run.path), str(run.recipe.get("images") or "IMAGES")
    other = "RandomMask(0.5)" if "GaussianNoise" in str(run.recipe.get("operator")) else "GaussianNoise(0.3)"
    return (
        ("Measure it on damage it was not trained for", command_line("audit", folder, images, "--operator", other)),
        ("Give it labels, a tenth of them", command_line("probe", folder, images, "--labels", "0.1")),
        ("Set it beside another run", command_line("compare", folder, "OTHER_RUN")),
    )


def _in_hand(run: Run) -> bool:
    """Whether its encoder is around a network that no text makes."""
    return str(run.recipe.get("encoder")).startswith("module:")


def loading(run: Run) -> str:
    like = ", like=network" if _in_hand(run) else ""
    return (
        f"import weatherproof as wp\nencoder = wp.load_encoder({str(run.path)!r}{like})\n"
        "embeddings = encoder(images)  # float32 pixels in [0, 1], batch x channels x height x width"
    )
