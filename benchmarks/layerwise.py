"""What losses and Tikhonov penalties at several layers do to accuracy and robustness ("Robustness of Contrastive
Learning Models", eq. 3-5; its authors had not tried 4 and 5). Writes docs/results/layerwise.{json,md}.

    python -m benchmarks.layerwise --data DIR --seeds 0 1 2
"""

import argparse
import json
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from weatherproof import random, views
from weatherproof.data import ImageSet, label_fraction, load_images
from weatherproof.encoders import Encoder, load_encoder, stages
from weatherproof.evaluation import evaluate
from weatherproof.methods import LayerwiseSimCLR, layer_projectors, rising
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.operators import COMMON_15, Corruption
from weatherproof.readouts import Classifier, fit_probe
from weatherproof.training import Plan, fit

RESULTS = Path(__file__).parents[1] / "docs" / "results"
Row = dict[str, Any]
ENCODER = "small(width=16, channels=3)"
IMAGES = 10_000
PLAN = Plan(epochs=10.0, batch_size=128, lr=2e-3, weight_decay=1e-6, warmup_epochs=1.0, device="cpu", log_every=20)
TEMPERATURE = 0.5  # SimCLR on CIFAR-10 (Chen et al. 2020, Appendix B.9)
KINDS = {
    "noise": COMMON_15[:3],
    "blur": COMMON_15[3:7],
    "weather": COMMON_15[7:11],
    "digital": COMMON_15[11:],
}


def variants(layers: int, strength: float) -> dict[str, dict[str, Any]]:
    """alphas and betas of what is compared; lambda is that of eq. 3."""
    last = (0.0,) * (layers - 1)
    none = (0.0,) * layers
    even = (strength / 2 / layers,) * layers
    return {
        "SimCLR": {"alphas": (*last, 1.0), "betas": none},
        "losses at all layers": {"alphas": rising(layers), "betas": none},
        "Tikhonov at the last": {"alphas": (*last, 1.0), "betas": (*last, strength / 2)},
        "Tikhonov at all layers": {"alphas": (*last, 1.0), "betas": rising(layers, strength / 2)},
        "losses and Tikhonov at all layers": {"alphas": rising(layers), "betas": rising(layers, strength / 2)},
        "losses at all layers, even": {"alphas": (1.0,) * layers, "betas": none},
        "Tikhonov at all layers, even": {"alphas": (*last, 1.0), "betas": even},
    }


def balanced(images: ImageSet, count: int) -> ImageSet:
    """As many of every class: files may lie class by class."""
    return images.subset(label_fraction(images.labels, count / len(images), seed=0))


def pretrain(settings: dict[str, Any], train: ImageSet, plan: Plan, method: str) -> tuple[Encoder, Row]:
    """An encoder without labels, and what its last steps looked like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights are meant
        encoder = load_encoder(ENCODER, seed=plan.seed)
    with random.framework_seed(plan.seed):
        projectors = layer_projectors(encoder)
    trained = LayerwiseSimCLR(
        encoder, views.parse("SimCLR(32)"), projectors, NTXent(TEMPERATURE), penalty=InputGradient(1.0, method),
        **settings,
    )  # fmt: skip
    start = time.process_time()
    rows = fit(trained, train, plan, progress=False)
    terms = {name: value for name, value in rows[-1].items() if name.startswith(("loss_", "penalty_"))}
    return encoder.eval(), {"seconds": time.process_time() - start, **terms}


def measure(
    encoders: dict[str, Encoder], train: ImageSet, test: ImageSet, severities: list[int], seed: int
) -> dict[str, Row]:
    """Top-1 of linear probes, clean and under the common corruptions (mean over severities and corruptions)."""
    models = {
        name: Classifier(encoder, fit_probe(encoder, train, num_classes=10, seed=seed))
        for name, encoder in encoders.items()
    }

    def top1(operator: Corruption | None) -> dict[str, float]:
        records = evaluate(models, test, operator=operator, realizations=1, seed=seed, metrics=("top1",))
        return {str(record.model): record.value for record in records}

    found: dict[str, Row] = {name: {"clean": value} for name, value in top1(None).items()}
    kinds: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in KINDS} for name in models}
    for kind, names in KINDS.items():
        for name in names:
            damaged = [top1(Corruption(name, severity)) for severity in severities]
            for model in models:
                kinds[model][kind].append(statistics.mean(values[model] for values in damaged))
    for model, values in kinds.items():
        found[model] |= {kind: statistics.mean(numbers) for kind, numbers in values.items()}
        found[model]["corrupted"] = statistics.mean(number for numbers in values.values() for number in numbers)
    return found


def page(found: dict[str, Any]) -> str:
    """Mean and sample standard deviation over the seeds, in per cent."""
    columns = ("clean", "corrupted", *KINDS)
    lines = [
        "# Contrastive and Tikhonov losses at several layers", "", found["about"], "", f"`{found['command']}`", "",
        "| variant | " + " | ".join(columns) + " | of clean kept | CPU s |",
        "|---|" + "---:|" * (len(columns) + 2),
    ]  # fmt: skip
    for variant in dict.fromkeys(row["variant"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["variant"] == variant]
        cells = [_spread([100 * row[column] for row in rows]) for column in columns]
        cells += [_spread([100 * row["corrupted"] / row["clean"] for row in rows])]
        lines.append(
            f"| {variant} | " + " | ".join([*cells, f"{statistics.mean(r['seconds'] for r in rows):.0f}"]) + " |"
        )
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layerwise", description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of real images, with cifar10 in it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strength", type=float, default=10.0, help="lambda of eq. 3; the paper's are 0.1, 1 and 10")
    parser.add_argument("--method", choices=("exact", "finite"), default="finite")
    parser.add_argument("--epochs", type=float, default=PLAN.epochs)
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--tested", type=int, default=2000, help="test images")
    parser.add_argument("--variants", nargs="+", help="some of them only")
    parser.add_argument("--out", type=Path, default=RESULTS / "layerwise.json")
    args = parser.parse_args()
    plan = replace(PLAN, epochs=args.epochs)
    train = balanced(load_images(f"cifar10:{args.data}/cifar10", "train"), IMAGES)
    test = balanced(load_images(f"cifar10:{args.data}/cifar10", "test"), args.tested)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        chosen = variants(len(stages(load_encoder(ENCODER))), args.strength)
    chosen = {name: chosen[name] for name in args.variants or chosen}
    rows: list[Row] = []
    for seed in args.seeds:
        trained = {
            name: pretrain(settings, train, replace(plan, seed=seed), args.method) for name, settings in chosen.items()
        }
        encoders = {name: encoder for name, (encoder, _) in trained.items()}
        measured = measure(encoders, train, test, args.severities, seed)
        for name, (_, about) in trained.items():
            rows.append({"variant": name, "seed": seed, **chosen[name], **about, **measured[name]})
            print(json.dumps(rows[-1]), flush=True)
    found = {"about": _about(args, plan), "command": _command(args), "machine": machine("cpu"), "rows": rows}
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(page(found))
    print(page(found))


def _about(args: argparse.Namespace, plan: Plan) -> str:
    return (
        f"{ENCODER}, {IMAGES:,} training images of CIFAR-10 (as many of each class) without labels, {plan!r}, views "
        f"SimCLR(32), temperature {TEMPERATURE}, lambda {args.strength:g} ({args.method}), linear probe on the same "
        f"images with labels; {args.tested:,} test images, 15 corruptions at severities {args.severities}. Top-1 in "
        f"per cent, mean ± standard deviation over seeds {args.seeds}."
    )


def _command(args: argparse.Namespace) -> str:
    seeds, severities = (" ".join(map(str, numbers)) for numbers in (args.seeds, args.severities))
    some = " --variants " + " ".join(f"'{name}'" for name in args.variants) if args.variants else ""
    return (
        f"python -m benchmarks.layerwise --data DIR --seeds {seeds} --strength {args.strength:g} --method "
        f"{args.method} --epochs {args.epochs:g} --severities {severities} --tested {args.tested}{some}"
    )


if __name__ == "__main__":
    main()
