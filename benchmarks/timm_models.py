"""Every model of timm: is it loaded, does it embed, is it hardened for a step, saved, and does it come back equal?

    OMP_NUM_THREADS=1 nice -n 19 python -m benchmarks.timm_models --minutes 75
    python -m benchmarks.timm_models --again "several classifiers"

All are built in shapes alone, which computes nothing. Then they are run with random weights, each in a process of its
own with a limit of time and memory, the smallest of every family first, then the others from the smallest on; what was
found stays in docs/results/timm-models.json after every model, and the next call goes on from there. The page beside it
is made of that file alone.
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
from weatherproof.encoders.libraries.timm import build_timm
from weatherproof.errors import InputError
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.sizes import in_pixels
from weatherproof.training import Plan, harden_encoder

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "timm-models.json"
EMBEDS = "embeds"  # what shapes alone say of a model
STAGES = ("loads", "embeds", "hardens", "saves", "returns")
BEGIN, END = "<!-- by python -m benchmarks.timm_models -->", "<!-- until here -->"
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
    args = parser.parse_args()
    survey = json.loads(args.results.read_text()) if args.results.is_file() else {}
    rows: dict[str, dict[str, Any]] = survey.get("models", {})
    if args.again is not None:
        for row in rows.values():
            _forget(row, args.again)
    names = timm.list_models(args.models)
    end = time.monotonic() + 60 * args.minutes
    for count, name in enumerate([name for name in names if "shapes" not in rows.get(name, {})]):
        if time.monotonic() > end:
            break
        seen = _apart(_shapes, (name,), args.seconds)
        why = seen.pop("why", None)
        rows[name] = rows.get(name, {}) | seen | ({} if why is None else {"shapes": why})
        if count % 20 == 0:
            _write(args, rows)
    known = {name: rows[name] for name in names if name in rows}
    left = {name: row for name, row in known.items() if not _ran(row) and 0 <= row.get("parameters", -1) <= args.most}
    for name in _in_order(left, {row["family"] for row in rows.values() if _ran(row)}):
        if time.monotonic() > end:
            break
        begin = time.monotonic()
        rows[name] |= _apart(_try, (name,), args.seconds)
        rows[name]["seconds"] = round(time.monotonic() - begin, 1)
        print(name, {key: value for key, value in rows[name].items() if key != "family"}, flush=True)
        _write(args, rows)
    _write(args, rows)


def _forget(row: dict[str, Any], pattern: str) -> None:
    """What was found of a model, where its reason has this expression."""
    if re.search(pattern, row.get("why", "")):
        for key in ("why", "reached", "pixels", "seconds"):
            row.pop(key, None)
    if re.search(pattern, row.get("shapes", "")):
        del row["shapes"]


def _ran(row: Mapping[str, Any]) -> bool:
    return "seconds" in row


def _in_order(sizes: Mapping[str, Mapping[str, Any]], seen: set[str]) -> list[str]:
    """One of every family first, the smallest; then the others, the smallest first."""
    ordered = sorted(sizes, key=lambda name: (sizes[name].get("parameters", 0), name))
    first = []
    for name in ordered:
        if (family := sizes[name].get("family", "")) not in seen:
            seen.add(family)
            first.append(name)
    return [*first, *(name for name in ordered if name not in first)]


def _shapes(name: str, results: Connection) -> None:
    """Send how many parameters the model has, and whether shapes alone say that it embeds: no number is computed."""
    results.send({"family": timm.models.model_entrypoint(name).__module__.rpartition(".")[2]})
    warnings.simplefilter("ignore")
    try:
        with torch.device("meta"):
            results.send({"parameters": sum(p.numel() for p in timm.create_model(name, pretrained=False).parameters())})
    except Exception:  # other people's code, which may look at a number
        results.send({"parameters": sum(p.numel() for p in timm.create_model(name, pretrained=False).parameters())})
    with torch.device("meta"):
        build_timm(name, {}, None, None)
    results.send({"shapes": EMBEDS})


def _try(name: str, results: Connection) -> None:
    """Send what the model reaches, stage by stage."""

    def reached(stage: str) -> None:
        results.send({"reached": stage})

    warnings.simplefilter("ignore")
    pixels = torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = MemoryImages(pixels, torch.zeros(2, dtype=torch.int64))
    text = f"timm:{name}@random"
    try:
        size = None if timm.get_pretrained_cfg(name).fixed_input_size else ANY
        encoder = load_encoder(text, seed=0, size=size).eval()
    except InputError:  # a window or a block that does not divide it
        encoder = load_encoder(text, seed=0).eval()
    results.send({"pixels": in_pixels(encoder.preprocessing.size or 0)})
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
    if all(torch.equal(*pair) for pair in zip(encoder.parameters(), student.parameters(), strict=True)):
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


def _run(work: Any, arguments: Sequence[Any], seconds: float, results: Connection) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1,) * 2)
    try:
        work(*arguments, results)
    except Exception as error:  # other people's code, of which anything may come
        words = " ".join(str(error).split())
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        results.send({"why": f"{kind}{words}"[:400]})
    results.close()


def _write(args: argparse.Namespace, rows: Mapping[str, Mapping[str, Any]]) -> None:
    file, limits = args.results, {"most": args.most, "seconds": args.seconds, "memory": MEMORY}
    survey = {
        **limits, "side": SIDE, "any": ANY, "machine": machine("cpu"), "all": len(timm.list_models()),
        "models": dict(sorted(rows.items())),
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(survey, indent=1) + "\n")
    beside.replace(file)
    file.with_suffix(".md").write_text(render(survey))
    if file == RESULTS:
        _show(survey)


def _show(survey: Mapping[str, Any]) -> None:
    """The table of shares, where docs/encoders.md has it."""
    page = RESULTS.parents[1] / "encoders.md"
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    page.write_text("\n".join([f"{before}{begin}", *shares(survey), f"{end}{after}"]))


def sort_of(why: str) -> str:
    """What a reason is called in the page."""
    return next((name for name, pattern in _SORTS if re.search(pattern, why)), why)


def shares(survey: Mapping[str, Any]) -> list[str]:
    """How many reach which stage, as lines of a table."""
    models, all_of = survey["models"], survey["all"]
    tried = [row for row in models.values() if _ran(row)]
    shaped = sum(row.get("shapes") == EMBEDS for row in models.values())
    reached = {stage: sum(_stages(row) >= at for row in tried) for at, stage in enumerate(STAGES, 1)}
    return [
        "| | models | of | share |",
        "| --- | --- | --- | --- |",
        f"| embed, by their shapes | {shaped:,} | {all_of:,} | {shaped / max(1, all_of):.1%} |",
        *(
            f"| run: {_WORDS[stage]} | {count:,} | {len(tried):,} | {count / max(1, len(tried)):.1%} |"
            for stage, count in reached.items()
        ),
    ]


def render(survey: Mapping[str, Any]) -> str:
    """Markdown, from the JSON alone."""
    models, all_of = survey["models"], survey["all"]
    tried = {name: row for name, row in models.items() if _ran(row)}
    families = {row["family"] for row in models.values() if "family" in row}
    whole = {row["family"] for row in tried.values() if _stages(row) == len(STAGES)}
    lines = [
        "# timm's models",
        "",
        f"The {all_of:,} architectures of timm {survey['machine']['versions']['timm']}. Each is built in shapes alone, "
        "without a number, as `timm:NAME@random` is, and asked for the embedding of an image of its own size: "
        f"{sum('shapes' in row for row in models.values()):,} were. The smallest of every family, and the others from "
        f"the smallest on, are run, with random weights: {len(tried):,} were. Each had a process of its own with "
        f"{survey['seconds']:g} s of processor time and {survey['memory'] >> 30} GiB, and embedded and hardened two "
        f"images for one step, at its own size, or at {survey['any']} pixels where it takes any (a few of these at "
        "their own, too). Written by `python -m benchmarks.timm_models`; nothing here is typed by hand. What was found "
        "of each model stands in the JSON file of the same name.",
        "",
        *shares(survey),
        "",
        f"At least one model comes back equal of {len(whole)} of {len(families)} families (files in `timm.models`).",
        "",
        "## Why not",
        "",
        "| models | reason | for example | which |",
        "| --- | --- | --- | --- |",
    ]
    failed = {name: why for name, row in models.items() if (why := _why(row))}
    for sort, count in Counter(map(sort_of, failed.values())).most_common():
        of = [name for name, why in failed.items() if sort_of(why) == sort]
        which = ", ".join(f"`{name}`" for name in of[:8]) + (f" and {len(of) - 8} more" if len(of) > 8 else "")
        example = failed[of[0]]
        lines.append(f"| {count} | {_cell(sort)} | {'' if example == sort else _cell(example)} | {which} |")
    return "\n".join(lines) + "\n"


def _why(row: Mapping[str, Any]) -> str:
    """Why a model does not work; of one that was not run, why its shapes do not say that it does."""
    if _ran(row):
        return str(row.get("why", ""))
    return "" if row.get("shapes", EMBEDS) == EMBEDS else str(row["shapes"])


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
