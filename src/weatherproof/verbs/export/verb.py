"""Hand an encoder on."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError, unknown
from weatherproof.files import write_atomically
from weatherproof.readouts.embedding import require_embeddings
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED
from weatherproof.verbs.export.checking import Verdict, chosen, compared, damages, looks
from weatherproof.verbs.export.graph import Graph, Pixels, Shape, expected
from weatherproof.verbs.export.hub import hub_folder, push_folder, require_hub
from weatherproof.verbs.export.outcome import ABOUT, Exported
from weatherproof.verbs.export.programs import (
    OPSETS,
    Run,
    onnx_bytes,
    onnx_run,
    require_onnx,
    torch_bytes,
    torch_run,
    traced,
)
from weatherproof.verbs.export.subject import Subject, alone, described, pictures, subject_of
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import Outcome, recipe_of, with_origins

To = Literal["onnx", "torch", "hub"]

FILES = {"onnx": "encoder.onnx", "torch": "encoder.pt2", "hub": "hub"}
FAILED = ".failed"  # behind the name of what is not verified
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "timm", "torchvision", "open_clip_torch", "safetensors")


@verb()
def export(
    encoder: str | Path | nn.Module | Outcome,
    *,
    to: To = "onnx",
    images: str | Path | ImageSet | None = None,
    size: int | str | None = None,
    pixels: Pixels = "float",
    opset: int = 20,
    push: str | None = None,
    out: str | Path | None = None,
) -> Exported:
    """Hand an encoder on, verified on real images before it is called done: exit status 1 where its numbers are not the
    encoder's, and what was written is then named *.failed.

    Args:
        encoder: a run folder, or NAME@WEIGHTS as for harden.
        to: onnx: one file with preprocessing, embedding, logits, map, gauge and gate inside; torch: the same as a
            torch.export program; hub: a folder that plain timm, torchvision, open_clip or transformers
            load, with a model card.
        images: what it is verified on; by default the images that the run names, else some that are always there.
        size: side of the network's input in pixels, or rows x columns such as 224x288; by default the encoder's own.
        pixels: float in [0, 1], or uint8 from 0 to 255, as what goes into the file.
        opset: of ONNX.
        push: ORG/NAME, where the folder of --to hub is put on the Hugging Face hub, as a private repository where
            there is none of that name; needs a token.
        out: the folder; by default runs/export/onnx, torch or hub.
    """
    if to not in FILES:
        raise unknown("form", to, FILES)
    if pixels not in get_args(Pixels):
        raise unknown("kind of pixels", pixels, get_args(Pixels))
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise InputError(f"opset must be from {OPSETS[0]} to {OPSETS[1]}, got {opset}")
    if push is not None and to != "hub":
        raise InputError("--push puts the folder of --to hub on a hub: give both")
    if pixels != "float" and to == "hub":
        raise InputError("--pixels is of --to onnx and --to torch: other libraries normalise their pixels themselves")
    if to == "onnx":
        require_onnx()
    out = Path("runs") / "export" / to if out is None else out
    recipe = recipe_of("export", {**locals(), "encoder": encoder.folder if isinstance(encoder, Outcome) else encoder})
    if push is not None:
        require_hub(push)
    subject = subject_of(cast(str | Path | Encoder | Outcome, encoder), size)  # `verb` has made one of a network
    source, shape = pictures(subject, images, size, fixed_size=to != "hub")
    shape = Shape(shape.height, shape.width, shape.resized, pixels)
    real = chosen(source, subject.encoder.preprocessing.channels)
    with torch.inference_mode():
        require_embeddings(subject.encoder.name, subject.encoder(real))
    run = RunFolder.open(out, with_origins(recipe, subject.encoder), ignore=(*IGNORED, "images", "push"))
    if to == "hub":
        return _hub(run, alone(subject), source.name, real, shape, push)
    return _program(run, subject, source.name, real, shape, to, opset)


def _program(
    run: RunFolder, subject: Subject, source: str, real: Tensor, shape: Shape, to: str, opset: int
) -> Exported:
    encoder, readout = subject.encoder, subject.readout
    checks = looks(real, damages(subject.operator), shape, encoder.preprocessing)
    graph = Graph(encoder, readout, shape)
    ours = partial(expected, encoder, readout, place=graph.place)
    first = next((look.images for look in checks if len(look.images) > 1), checks[0].images.repeat(2, 1, 1, 1))
    sides = {name: tuple(own.shape[1:]) for name, own in ours(first).items()}
    about = described(subject, graph, sides, shape.pixels, to)
    program = traced(graph, encoder.name, first)
    if to == "onnx":
        data = onnx_bytes(program, [*graph(first)], encoder.name, about, opset)
        theirs: Run = onnx_run(data, [*sides])
    else:
        data = torch_bytes(program, about)
        theirs = torch_run(data)
    del program
    verdict = compared(checks, ours, theirs)
    facts = about | {"to": to, "bytes": len(data)} | ({"opset": opset} if to == "onnx" else {})
    return _finish(run, subject, facts, verdict, source, len(real), lambda path: write_atomically(path, data))


def _hub(run: RunFolder, subject: Subject, source: str, real: Tensor, shape: Shape, push: str | None) -> Exported:
    encoder = subject.encoder
    checks = looks(real, damages(subject.operator), Shape(shape.height, shape.width, False), encoder.preprocessing)
    making = run.path / f".{FILES['hub']}.tmp"
    shutil.rmtree(making, ignore_errors=True)  # a killed one's leavings
    try:
        hub = hub_folder(subject, making, checks, source)
        size = sum(file.stat().st_size for file in making.iterdir())
        facts: dict[str, Any] = {
            "to": "hub", "encoder": encoder.name, "library": hub.library, "bytes": size,
            "hardened_against": subject.against,
        }  # fmt: skip
        done = _finish(run, subject, facts, hub.verdict, source, len(real), partial(_moved, making), hub.lines)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    if push is None or done.status:
        return done
    address = push_folder(done.file, push)
    return Exported(done.folder, done.file, done.about, done.notes, [*done.lines, f"pushed   {address}"])


def _moved(making: Path, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    making.replace(path)


def _finish(
    run: RunFolder, subject: Subject, about: Mapping[str, Any], verdict: Verdict, source: str, images: int,
    write: Callable[[Path], object], lines: tuple[str, ...] = (),
) -> Exported:  # fmt: skip
    """Put it under its name where it is verified, else under another; an earlier call's other one goes."""
    failed = bool(verdict.failures())
    good = run.path / FILES[about["to"]]
    bad = good.with_name(good.name + FAILED)
    path, other = (bad, good) if failed else (good, bad)
    facts = {
        **about,
        "file": path.name,
        "verified": {"source": source, "images": images} | verdict.to_dict(),
        "versions": _versions(),
        "notes": list(subject.notes),
    }
    write(path)
    _removed(other)
    run.write_json(ABOUT, facts)
    run.close()
    return Exported(run.path, path, facts, subject.notes, lines, int(failed))


def _removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _versions() -> dict[str, str]:
    from weatherproof import __version__

    found = {"weatherproof": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
