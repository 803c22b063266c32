"""Every model of timm: is it loaded, does it embed, is it hardened for a step, saved, and does it come back equal?

    OMP_NUM_THREADS=1 nice -n 19 python -m benchmarks.timm_models --minutes 75
    python -m benchmarks.timm_models --again "several classifiers"

Architectures with random weights. Each model has a process of its own, with a limit of time and memory, the smallest
first; what was found stays in docs/results/timm-models.json after every model, and the next call goes on from there.
The page beside it is made of that file alone.
"""

import argparse
import json
import multiprocessing
import re
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm
import torch

from benchmarks.measure import machine
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder, save_encoder
from weatherproof.errors import InputError
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.sizes import in_pixels
from weatherproof.training import Plan, harden_encoder

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "timm-models.json"
STAGES = ("loads", "embeds", "hardens", "saves", "returns")
SECONDS, MEMORY, MOST = 120, 6 << 30, 100_000_000
SIDE = 64  # of the two images; each encoder brings them to its own size,
ANY = 128  # or to this, where the model takes any
_SORTS = (  # what a reason is called in the page, by a pattern that is found in it
    ("several classifiers", "has several classifiers"),
    ("not one embedding for each image", "not one embedding of"),
    ("does not work without its classifier", "does not work without its classifier"),
    ("batch norm on one number", "Expected more than 1 value per channel"),
    ("non-square input", "square"),
    ("more or fewer channels than grey or RGB", "channels"),
    ("cannot be built", "cannot be built"),
    ("embeddings that are not finite", "not finite"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--most", type=int, default=MOST, help="parameters of the largest model that is tried")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time that one model may take")
    parser.add_argument("--again", metavar="PATTERN", help="try again those whose reason has this regular expression")
    parser.add_argument("--models", metavar="PATTERN", default="*", help="those of timm whose names fit")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    told = json.loads(asked.results.read_text()) if asked.results.is_file() else {}
    found: dict[str, dict[str, Any]] = told.get("models", {})
    if asked.again is not None:
        found = {name: row for name, row in found.items() if not re.search(asked.again, row.get("why", ""))}
    elif asked.most > told.get("most", asked.most):
        found = {name: row for name, row in found.items() if row["parameters"] <= told["most"]}
    left: dict[str, dict[str, Any]] = told.get("left", {})
    names = [name for name in timm.list_models(asked.models) if name not in found]
    end = time.monotonic() + 60 * asked.minutes
    sizes = {name: left[name] if name in left else _apart(_size, (name,), asked.seconds) for name in names}
    for name, size in sizes.items():
        if size.get("parameters", 0) > asked.most:
            found[name] = size | {"not tried": f"{size['parameters'] / 1e6:,.0f} M parameters"}
    tried = {row["family"] for row in found.values() if "not tried" not in row}
    for name in _in_order({name: size for name, size in sizes.items() if name not in found}, tried):
        if time.monotonic() > end:
            break
        begin, row = time.monotonic(), {"family": "", "parameters": -1} | sizes[name]
        row |= {} if "why" in row else _apart(_try, (name,), asked.seconds)
        row["seconds"] = round(time.monotonic() - begin, 1)
        found[name] = row
        print(name, {key: value for key, value in row.items() if key != "family"}, flush=True)
        _write(asked, found, {name: size for name, size in sizes.items() if name not in found})


def _in_order(sizes: Mapping[str, Mapping[str, Any]], seen: set[str]) -> list[str]:
    """One of every family first, the smallest; then the others, the smallest first."""
    ordered = sorted(sizes, key=lambda name: (sizes[name].get("parameters", 0), name))
    first = []
    for name in ordered:
        if (family := sizes[name].get("family", "")) not in seen:
            seen.add(family)
            first.append(name)
    return [*first, *(name for name in ordered if name not in first)]


def _size(name: str, told: Connection) -> None:
    family = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except Exception:  # other people's code, which may look at a number
        model = timm.create_model(name, pretrained=False)
    told.send({"family": family, "parameters": sum(p.numel() for p in model.parameters())})


def _try(name: str, told: Connection) -> None:
    """Send what the model reaches, stage by stage."""

    def reached(stage: str) -> None:
        told.send({"reached": stage})

    warnings.simplefilter("ignore")
    pixels = (torch.arange(2 * 3 * SIDE * SIDE) * 37 % 256).to(torch.uint8).view(2, 3, SIDE, SIDE)
    images = MemoryImages(pixels, torch.zeros(2, dtype=torch.int64))
    text = f"timm:{name}@random"
    encoder = load_encoder(text, seed=0, size=None if timm.get_pretrained_cfg(name).fixed_input_size else ANY).eval()
    told.send({"pixels": in_pixels(encoder.preprocessing.size or 0)})
    reached("loads")
    seen = images.pixels.float() / 255
    with torch.no_grad():
        embedded = encoder(seen)
    if embedded.shape != (2, encoder.feature_dim) or not embedded.isfinite().all():
        raise InputError(f"embeddings of shape {list(embedded.shape)}, or not finite")
    reached("embeds")
    plan = Plan(epochs=1, batch_size=2, lr=1e-4, device="cpu")
    student = harden_encoder(
        encoder, images, operator=RandomMask(0.5), objective=StudentTeacher(), plan=plan, progress=False
    )
    before = encoder.state()
    if not any(not torch.equal(value, before[key]) for key, value in student.state().items()):
        raise InputError("a step changes no weight")
    reached("hardens")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        save_encoder(student, folder, provenance={"benchmark": "timm_models"})
        reached("saves")
        again = load_encoder(Path(folder)).eval()
        if not torch.equal(again(seen), student(seen)):
            raise InputError("comes back with other embeddings")
    reached("returns")


def _apart(work: Any, arguments: Sequence[Any], seconds: float) -> dict[str, Any]:
    """What a process of its own sends, together; and why it did not come to its end."""
    context = multiprocessing.get_context("fork")  # nothing is imported again
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(work, arguments, seconds, there))
    child.start()
    there.close()
    found: dict[str, Any] = {}
    try:
        while True:
            found |= here.recv()
    except EOFError:
        child.join()
    if child.exitcode == -signal.SIGXCPU:
        found["why"] = f"took more than {seconds:g} s of processor time"
    elif child.exitcode:
        found["why"] = f"its process ends by itself, by the signal {signal.Signals(-child.exitcode).name}"
    return found


def _run(work: Any, arguments: Sequence[Any], seconds: float, told: Connection) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1,) * 2)
    try:
        work(*arguments, told)
    except Exception as error:  # other people's code, of which anything may come
        words = " ".join(str(error).split())
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        told.send({"why": f"{kind}{words}"[:400]})
    told.close()


def _write(
    asked: argparse.Namespace, found: Mapping[str, Mapping[str, Any]], left: Mapping[str, Mapping[str, Any]]
) -> None:
    file, limits = asked.results, {"most": asked.most, "seconds": asked.seconds, "memory": MEMORY}
    told = {
        **limits, "side": SIDE, "any": ANY, "machine": machine("cpu"), "all": len(timm.list_models()),
        "models": dict(sorted(found.items())), "left": dict(sorted(left.items())),
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    beside.replace(file)
    file.with_suffix(".md").write_text(render(told))


def sort_of(why: str) -> str:
    """What a reason is called in the page."""
    return next((name for name, pattern in _SORTS if re.search(pattern, why)), why)


def render(told: Mapping[str, Any]) -> str:
    """Markdown, from the JSON alone."""
    models = told["models"]
    tried = {name: row for name, row in models.items() if "not tried" not in row}
    families = {row["family"] for row in models.values()}
    reached = {stage: sum(_stages(row) >= at for row in tried.values()) for at, stage in enumerate(STAGES, 1)}
    whole = {row["family"] for row in tried.values() if _stages(row) == len(STAGES)}
    lines = [
        "# timm's models",
        "",
        f"Of the {told['all']:,} architectures of timm {told['machine']['versions']['timm']}, with random weights: "
        f"{len(tried):,} were tried, {len(models) - len(tried):,} have more than {told['most'] / 1e6:g} M parameters "
        f"and were not, {told['all'] - len(models):,} are left. Each had a process of its own with {told['seconds']:g} "
        f"s of processor time and {told['memory'] >> 30} GiB, and embedded and hardened two images for one step, at "
        f"its own size, or at {told['any']} pixels where it takes any (a few of these at their own, too). "
        "Written by `python -m benchmarks.timm_models`; nothing here is typed by hand. What was found of each model "
        "stands in the JSON file of the same name.",
        "",
        "| of those tried | models | share |",
        "| --- | --- | --- |",
        *(f"| {_WORDS[stage]} | {count:,} | {count / max(1, len(tried)):.1%} |" for stage, count in reached.items()),
        "",
        f"At least one model comes back equal of {len(whole)} of {len(families)} families (files in `timm.models`).",
        "",
        "## Why not",
        "",
        "| models | reason | for example | which |",
        "| --- | --- | --- | --- |",
    ]
    failed = {name: row for name, row in tried.items() if "why" in row}
    for sort, count in Counter(sort_of(row["why"]) for row in failed.values()).most_common():
        of = [name for name in failed if sort_of(failed[name]["why"]) == sort]
        which = ", ".join(f"`{name}`" for name in of[:8]) + (f" and {len(of) - 8} more" if len(of) > 8 else "")
        example = failed[of[0]]["why"]
        lines.append(f"| {count} | {_cell(sort)} | {'' if example == sort else _cell(example)} | {which} |")
    return "\n".join(lines) + "\n"


_WORDS = {
    "loads": "load", "embeds": "embed", "hardens": "harden for a step", "saves": "are saved",
    "returns": "come back equal",
}  # fmt: skip


def _stages(row: Mapping[str, Any]) -> int:
    return STAGES.index(row["reached"]) + 1 if "reached" in row else 0


def _cell(text: str) -> str:
    return text.replace("|", "\\|")[:240]


if __name__ == "__main__":
    main()
