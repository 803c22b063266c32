"""Hardening at internet scale, on paper: the formula of `doctor --plan` with terms measured here, and a simulation of
many shards over many processes that fail. Writes docs/results/scale.{json,md}.

    python -m benchmarks.scale
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, signature
from weatherproof.cards import CARDS
from weatherproof.verbs.doctor.counting import Counted, Loss, counted, counted_loss
from weatherproof.verbs.doctor.formula import CHECKPOINT, FLOAT, Scale, evaluate, limits
from weatherproof.verbs.doctor.planning import duration
from weatherproof.verbs.doctor.simulation import Failure, planned_shards, simulate
from weatherproof.verbs.doctor.terms import Terms, decoding, terms_of

RESULTS = Path(__file__).parents[1] / "docs" / "results"
ENCODERS = {
    "ViT-B/14": "timm:vit_base_patch14_dinov2",
    "ViT-L/14": "timm:vit_large_patch14_dinov2",
    "ViT-g/14": "timm:vit_giant_patch14_dinov2",
}
SIZE, CARD, OPERATOR, PRECISION = 224, "h100", "RandomMask((0.0, 0.95))", "bf16-mixed"
IMAGES = (1e6, 1e7, 1e8, 1e9)
GPUS = {1e6: 8, 1e7: 16, 1e8: 64, 1e9: 512}
BATCH, CORES, UTILISATION, CHECKPOINT_SECONDS = 8192, 8.0, 0.4, 30.0
PRICE = 2.5  # an example, in any currency
STORED = {"500 × 375": (375, 500), "256 × 256": (256, 256)}  # as ImageNet's files, and shrunk on writing shards
SHARDS, EACH, PROCESSES, CHECKPOINT_STEPS = 10_000, 512, 512, 25
FAILURES = (Failure(61, 256), Failure(3, 512), Failure(40, 128), Failure(77, 512))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--price", type=float, default=PRICE, help="of a GPU for an hour, in any currency")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for scale.json and scale.md")
    args = parser.parse_args()
    start = time.perf_counter()
    found = {"command": " ".join(["python -m benchmarks.scale", *sys.argv[1:]]), "machine": machine("cpu")}
    found |= {"price": args.price} | measure(args.seconds)
    found["seconds"] = round(time.perf_counter() - start)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    page = "\n".join(render(found)) + "\n"
    (args.out / "scale.md").write_text(page)
    print(page)


def measure(seconds: float) -> dict[str, Any]:
    terms = terms_of(None, None, OPERATOR, SIZE, seconds, 0)
    stored = {name: decoding(SIZE, seconds, size) for name, size in STORED.items()}
    counts = {name: counted(encoder, SIZE) for name, encoder in ENCODERS.items()}
    return {
        "terms": asdict(terms),
        "stored": {name: {"per_core": pair[0], "bytes": pair[1]} for name, pair in stored.items()},
        "counted": {name: {**asdict(one), "step": one.step} for name, one in counts.items()},
        "loss": asdict(counted_loss()),
        "simulation": _simulation(),
    }


def _simulation() -> dict[str, Any]:
    start = time.perf_counter()
    found = simulate(planned_shards(SHARDS, EACH), SHARDS * EACH // 200, PROCESSES, 1, CHECKPOINT_STEPS, FAILURES)
    return {
        "shards": SHARDS, "images": SHARDS * EACH, "processes": PROCESSES, "steps": found.steps,
        "failures": [asdict(failure) for failure in FAILURES], "repeated": found.repeated, "alike": found.alike,
        "seen_once": int((found.seen == 1).sum()), "shares": found.shares, "touched": found.touched,
        "opened": found.opened, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def _scale(images: float, gpus: int, batch: int = BATCH) -> Scale:
    return Scale(
        images=images, epochs=1, batch=batch, gpus=gpus, pixels=SIZE * SIZE, peak=CARDS[CARD].peak(PRECISION),
        utilisation=UTILISATION, cores_per_gpu=CORES, storage=None, checkpoint_seconds=CHECKPOINT_SECONDS,
    )  # fmt: skip


def _counted(found: Mapping[str, Any]) -> dict[str, Counted]:
    return {name: Counted(**{n: v for n, v in one.items() if n != "step"}) for name, one in found["counted"].items()}


def _terms(found: Mapping[str, Any], stored: str) -> Terms:
    own = found["stored"][stored]
    return replace(Terms(**found["terms"]), decoded=own["per_core"], image_bytes=own["bytes"])


def render(found: Mapping[str, Any]) -> Iterator[str]:
    """The page, from the JSON alone."""
    loss, terms = Loss(**found["loss"]), Terms(**found["terms"])
    yield from ("# Hardening at internet scale, on paper", "")
    yield (
        f"One epoch of a hardening at {SIZE} pixels, `{OPERATOR}`, batch {BATCH:,}, {PRECISION}, {CORES:g} cores for "
        f"each GPU: the [formula](../scale.md#the-formula) with counted flops and the terms measured below. Assumed, "
        f"not measured: {UTILISATION:.0%} of the peak of an {CARD.upper()} ({CARDS[CARD].source}), and "
        f"{terms.network / 1e9:g} GB/s of network for each GPU. Money is an example: {found['price']:g} for a GPU "
        "hour, in any currency."
    )
    yield from ("", "## Measured terms", "", *_measured(found, terms), "", "## Counted", "", *_counts(found))
    for stored in STORED:
        yield from ("", f"## Time, from images stored as {stored}", "", *_times(found, stored, loss))
    yield from ("", "## Where it breaks", "", *_breaks(found, loss), "", "## Many shards, many processes", "")
    yield from (*_simulated(found["simulation"]), "", signature(found))


def _measured(found: Mapping[str, Any], terms: Terms) -> Iterator[str]:
    yield from ("| term | |", "|---|---|")
    for name, own in found["stored"].items():
        rate = f"{own['per_core']:,.0f} images/s and core"
        yield f"| decoding JPEG of {name} ({own['bytes'] / 1e3:,.0f} kB) to {SIZE} | {rate} |"
    yield f"| crop, flip and operator | {terms.copies:,.0f} times copying an image in memory |"
    yield f"| a checkpoint's disk | {terms.disk / 1e9:.2f} GB/s |"
    seconds, size = terms.order_seconds * 1e6, terms.order_bytes
    yield f"| the order of an epoch | {seconds:.2f} s and {size:,.0f} MB for a million images, in every process |"
    yield f"| the objective's memory | {found['loss']['matrices']:.1f} matrices of batch × batch, on every GPU |"


def _counts(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| encoder | weights | forward | a step of an image | weights, gradients, Adam | checkpoint | gradients |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in _counted(found).items():
        yield (
            f"| {name} | {one.parameters / 1e6:,.0f} M | {one.forward / 1e9:,.1f} Gflop | {one.step / 1e9:,.1f} Gflop "
            f"| {one.fixed_bytes / 1e9:,.1f} GB | {CHECKPOINT * one.parameters / 1e9:,.1f} GB | "
            f"{FLOAT * one.parameters / 1e9:,.2f} GB |"
        )


def _times(found: Mapping[str, Any], stored: str, loss: Loss) -> Iterator[str]:
    terms = _terms(found, stored)
    yield "| encoder | images | GPUs | time | GPU hours | money | of which the network | first | then |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, one in _counted(found).items():
        for images in IMAGES:
            scale = _scale(images, GPUS[images])
            course = evaluate(scale, CARDS[CARD], one, loss, terms)
            beyond = [limit for limit in limits(scale, CARDS[CARD], one, loss, terms, course) if limit.used > 1]
            words = [f"{limit.what} ({limit.used:.1f}×)" for limit in beyond[:2]] + ["", ""]
            hours = scale.gpus * course.seconds / 3600
            busy = course.steps * (course.network + course.operator) / course.seconds
            yield (
                f"| {name} | {images:,.0f} | {scale.gpus} | {duration(course.seconds)} | "
                f"{hours:,.1f} | {found['price'] * hours:,.2f} | {busy:.0%} | {words[0]} | {words[1]} |"
            )


def _breaks(found: Mapping[str, Any], loss: Loss) -> Iterator[str]:
    yield "What is used of what there is, at the largest of these (1,000,000,000 images, 512 GPUs, files as stored):"
    yield ""
    yield "| encoder | what | used | where | then |"
    yield "|---|---|---|---|---|"
    for name, one in _counted(found).items():
        scale, terms = _scale(1e9, GPUS[1e9]), _terms(found, next(iter(STORED)))
        course = evaluate(scale, CARDS[CARD], one, loss, terms)
        for limit in limits(scale, CARDS[CARD], one, loss, terms, course):
            then = limit.then if limit.used > 1 else ""
            yield f"| {name} | {limit.what} | {limit.used:.2g}× | {limit.where} | {then} |"


def _simulated(own: Mapping[str, Any]) -> Iterator[str]:
    jobs = ", ".join(f"{failure['processes']}" for failure in own["failures"])
    yield (
        f"{own['images']:,} images in {own['shards']:,} shards, {own['steps']} steps of an epoch on {own['processes']} "
        f"processes, by the code that orders, shares out and resumes a real training; no pixel is read. "
        f"{len(own['failures'])} times the job dies, and the next one goes on at the last checkpoint with {jobs} "
        f"processes. {own['seen_once']:,} images went into the weights exactly once, of {own['images']:,}; "
        f"{own['repeated']} steps were taken again; every step saw {'' if own['alike'] else 'NOT '}the batch that one "
        f"process without failures sees. Each process had {own['shares'][0]:,} to {own['shares'][1]:,} images. A step "
        f"of all processes reads from {own['touched'][0]:,} to {own['touched'][1]:,} shards, and one process in the "
        f"epoch from {own['opened']:,}: shards are read image by image, at its place. {own['seconds']:.1f} seconds."
    )


if __name__ == "__main__":
    main()
