"""Does PGD find what the public libraries find? CIFAR-10 test images attacked by ours, torchattacks and foolbox: the
same network, start, step and number of steps, the last iterate. And is the log-barrier's distance as short as that of
foolbox's DDN? Writes docs/results/attack-parity.{json,md}.

    python -m benchmarks.attack_parity --data DIR

To have the libraries: pip install torchattacks foolbox (in an environment of its own, if need be).
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import machine, signature
from weatherproof import attacks, load_encoder, load_images, random
from weatherproof.attacks import PGD, Ball, LogBarrier
from weatherproof.data import batches
from weatherproof.readouts import OwnHead

RESULTS = Path(__file__).parents[1] / "docs" / "results"
STEPS, BATCH = 20, 50
BALLS = ("L2(0.1)", "Linf(1/255)", "L1(2)")  # in larger ones this network gets next to nothing right
POINTS, EXCESS = 0.3, 1e-6  # what may lie between the libraries, and how far a perturbation may leave the ball
NEAREST = LogBarrier("l2")
Attack = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, labels, keys -> images
Some = list[tuple[Tensor, Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attack_parity", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("--data", required=True, help="the folder with cifar10/ and resnet20-12fca82f.th")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--nearest", type=int, default=32, help="images of the log-barrier's comparison")
    parser.add_argument("--balls", nargs="+", default=list(BALLS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for attack-parity.json and attack-parity.md")
    args = parser.parse_args()
    encoder = load_encoder(f"resnet20@{args.data}/resnet20-12fca82f.th")
    model = OwnHead(encoder).eval().to(args.device)
    libraries, start = _libraries(), time.perf_counter()
    some = _some(args.data, args.images, args.device)
    rows = [row for text in args.balls for row in compared(model, some, text, libraries)]
    nearest = distances(model, _some(args.data, args.nearest, args.device), libraries)
    found = {
        "command": " ".join(
            ["python -m benchmarks.attack_parity", *(a if a != args.data else "DIR" for a in sys.argv[1:])]
        ),
        "machine": machine(args.device),
        "libraries": {name: version(name) for name in libraries},
        "seconds": round(time.perf_counter() - start),
        "images": args.images,
        "clean": _right(model, some, [images for images, _, _ in some]).double().mean().item(),
        "rows": rows,
        "nearest": nearest,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "attack-parity.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "attack-parity.md").write_text(render(found))
    print(render(found))


def read_ball(text: str) -> Ball:
    attack = attacks.parse(f"PGD({text})")
    assert isinstance(attack, PGD)
    return attack.ball


def compared(model: nn.Module, some: Some, text: str, libraries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Ours, that of each library that has this attack, and ours where any iterate counts."""
    ball, ours = read_ball(text), None
    pgd = PGD(ball, STEPS, best=False)
    every: dict[str, Attack] = {"ours": lambda x, y, k: pgd(model, x, y, k)}
    every |= {name: found for name in libraries if (found := _peer(name, libraries[name], model, pgd)) is not None}
    every["ours, any iterate"] = lambda x, y, k: PGD(ball, STEPS, stop_when_fooled=True)(model, x, y, k)
    for name, attack in every.items():
        made = [attack(*batch).detach() for batch in some]
        right = _right(model, some, made)
        ours = right if ours is None else ours
        length = torch.cat([_length(ball, a.double() - x.double()) for a, (x, _, _) in zip(made, some, strict=True)])
        row = {
            "ball": text,
            "library": name,
            "robust": right.double().mean().item(),
            "points": 100 * (right.double() - ours.double()).mean().item(),
            "agree": (right == ours).double().mean().item(),
            "excess": length.max().item() - ball.eps,
            "lowest": min(a.min().item() for a in made),
            "highest": max(a.max().item() for a in made),
        }
        print(_line(row), flush=True)
        yield row


def distances(model: nn.Module, some: Some, libraries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far away the nearest misclassified image is that each finds; 0 where the clean one is misclassified."""
    every: dict[str, Attack] = {f"ours, {NEAREST!r}": lambda x, y, k: NEAREST(model, x, y, k)}
    if "foolbox" in libraries:
        package = libraries["foolbox"]
        wrapped = package.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)
        ddn = package.attacks.DDNAttack(steps=1000)
        every["foolbox, DDN, 1000 steps"] = lambda x, y, k: ddn(wrapped, x, y, epsilons=None)[1]
    wrong = ~_right(model, some, [images for images, _, _ in some])
    rows, first = [], None
    for name, attack in every.items():
        made = [attack(*batch).detach() for batch in some]
        length = torch.cat([(a - x).flatten(1).norm(dim=1) for a, (x, _, _) in zip(made, some, strict=True)])
        lost = _right(model, some, made)
        length = length.masked_fill(lost, torch.inf).masked_fill(wrong, 0)
        first = length if first is None else first
        moved = ~wrong
        rows.append({
            "attack": name,
            "images": len(length),
            "median": length.median().item(),
            "failed": int((lost & moved).sum()),
            "longer_than_ours": int((length > first)[moved].sum()),
            "shorter_than_ours": int((length < first)[moved].sum()),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def _peer(name: str, package: Any, model: nn.Module, pgd: PGD) -> Attack | None:
    """The same attack of a library; None where it has none of this norm."""
    norm, eps = type(pgd.ball).__name__, pgd.ball.eps
    if name == "torchattacks":
        kind = {"L2": "PGDL2", "Linf": "PGD"}.get(norm)
        if kind is None:
            return None
        attack = getattr(package, kind)(model, eps=eps, alpha=pgd.step, steps=pgd.steps, random_start=False)
        return lambda x, y, k: attack(x, y)
    kind = {"L2": "L2PGD", "Linf": "LinfPGD", "L1": "SparseL1DescentAttack"}[norm]
    made = getattr(package.attacks, kind)(abs_stepsize=pgd.step, steps=pgd.steps, random_start=False)
    wrapped = package.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)
    return lambda x, y, k: made(wrapped, x, y, epsilons=[eps])[1][0]


def _libraries() -> dict[str, Any]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        for name in ("torchattacks", "foolbox"):
            try:
                found[name] = import_module(name)
            except ImportError:
                continue
    if not found:
        raise SystemExit("nothing to compare with: pip install torchattacks foolbox")
    return found


def _some(data: str, count: int, device: str) -> Some:
    """Even over the test set, whatever its order."""
    images = load_images(f"cifar10:{Path(data) / 'cifar10'}", "test")
    if not 1 <= count <= len(images):
        raise SystemExit(f"expected 1 .. {len(images)} images, got {count}")
    chosen = images.subset(torch.arange(count) * len(images) // count)
    return [(b.images, b.labels, random.keys(0, b.index)) for b in batches(chosen, BATCH, device=device)]


def _right(model: nn.Module, some: Some, made: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(a).argmax(1) == labels for a, (_, labels, _) in zip(made, some, strict=True)])


def _length(ball: Ball, difference: Tensor) -> Tensor:
    order = {"L2": 2.0, "Linf": torch.inf, "L1": 1.0}[type(ball).__name__]
    return torch.linalg.vector_norm(difference.flatten(1), order, dim=1)


def _line(row: Mapping[str, Any]) -> str:
    aside = row["library"] == "ours, any iterate"  # another question: it may differ
    holds = row["excess"] <= EXCESS and (aside or abs(row["points"]) <= POINTS)
    cells = [
        f"`{row['ball']}`",
        row["library"],
        f"{100 * row['robust']:.1f}",
        "" if row["library"] == "ours" else f"{row['points']:+.1f}",
        "" if row["library"] == "ours" else f"{100 * row['agree']:.1f}",
        f"{max(row['excess'], 0):.0e}",
        f"{row['lowest']:g} .. {row['highest']:g}",
        "" if holds else "**outside**",
    ]
    return f"| {' | '.join(cells)} |"


def render(found: Mapping[str, Any]) -> str:
    """Markdown, from the JSON alone."""
    lines = [
        "# Parity of the attacks",
        "",
        f"Accuracy in per cent of ResNet-20 on {found['images']:,} CIFAR-10 test images (clean:",
        f"{100 * found['clean']:.1f}) under PGD with {STEPS} steps of 2.5 eps / {STEPS} from the clean image, the last",
        "iterate. Difference: theirs less ours. Agreement: images on which both say the same, right or wrong. Excess:",
        f"how far the largest perturbation is beyond eps, in float64. Outside: more than {POINTS} points from ours,",
        f"or more than {EXCESS:g} beyond eps.",
        '"Any iterate" (`stop_when_fooled=True`) asks another question: it may be lower.',
        "",
        "| ball | library | accuracy | difference, points | agreement, % | excess | pixels | |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, found["rows"]),
        "",
        "L1: foolbox's projection is not exact, its images are therefore not quite ours.",
        "",
        "The nearest misclassified image in L2, as information. Clean errors count as 0, failures as infinite.",
        "",
        "| attack | images | median distance | failed | longer than ours | shorter |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["nearest"]:
        other = not row["attack"].startswith("ours")
        cells = [row["attack"], row["images"], f"{row['median']:.4f}", row["failed"]]
        cells += [row["longer_than_ours"], row["shorter_than_ours"]] if other else ["", ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", signature(found, found["libraries"])]) + "\n"


if __name__ == "__main__":
    main()
