"""Say what is wrong with an installation, a cluster or a plan, before it costs a night."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weatherproof.errors import InputError
from weatherproof.interrupts import interrupts_noticed
from weatherproof.verbs.doctor import installation
from weatherproof.verbs.doctor.outcome import Diagnosis

if TYPE_CHECKING:
    from torch.nn import Module
else:
    Module = object  # an installation may be looked at whose torch does not import

OUT = Path("runs/doctor")
_READING = ("data", "split", "size", "workers", "seconds", "seed")
_FORMS = {  # what is asked for, and its options, but for `out`
    "data": _READING,
    "distributed": (*_READING, "distributed", "processes", "strategy", "device"),
    "plan": (
        "plan", "size", "seconds", "seed", "images", "epochs", "batch_size", "operator", "gpus", "gpu", "utilisation",
        "price", "cores_per_gpu", "network", "storage", "checkpoint_seconds", "precision", "measured",
    ),
}  # fmt: skip


@interrupts_noticed()
def doctor(
    *,
    data: str | None = None,
    split: str | None = None,
    size: int | str = 224,
    workers: int | None = None,
    seconds: float = 2.0,
    distributed: bool = False,
    processes: int = 2,
    strategy: Literal["ddp", "fsdp"] = "ddp",
    plan: str | Path | Module | None = None,
    images: float = 1e6,
    epochs: float = 1.0,
    batch_size: int = 4096,
    operator: str = "RandomMask((0.0, 0.95))",
    gpus: int = 8,
    gpu: str = "h100",
    utilisation: float = 0.4,
    price: float | None = None,
    cores_per_gpu: float = 8.0,
    network: float | None = None,
    storage: float | None = None,
    checkpoint_seconds: float = 30.0,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed",
    measured: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Say what is wrong with an installation, a cluster or a plan. Alone: versions, extras, devices, cores, disks and
    caches, with what to do about each problem; the exit status is 1 where something essential is broken.

    Args:
        data: images as every verb takes them: how many per second are decoded, with 0, 1, 2, 4, ... workers, and what
            holds them back.
        split: of the images; by default train.
        size: side in pixels at which images are read, or rows x columns such as 224x288.
        workers: processes that decode, at most; of each process with --distributed. By default as many as cores.
        seconds: of each measurement.
        distributed: whether several processes compute what one does, and how fast they talk: under torchrun on all
            machines, else with --processes that are started here. Writes doctor.json.
        processes: of --distributed without torchrun.
        strategy: of --distributed: that whose gradients are compared with those of one process, ddp or fsdp.
        plan: an encoder as every verb takes it, such as timm:vit_base_patch16_224: time, money and limits of hardening
            it at scale, from counted flops and measured terms. Its weights are not loaded.
        images: of the plan; 1e9 is a number.
        epochs: passes over the images.
        batch_size: of the plan, over all GPUs.
        operator: the damage of the plan.
        gpus: of the plan.
        gpu: a card by its name (a100, h100, ...), or its peak in flop/s such as 312e12.
        utilisation: the part of the card's peak that a training reaches: an assumption.
        price: of a GPU for an hour, in your currency; without it no money is spoken of.
        cores_per_gpu: processor cores that decode for each GPU.
        network: GB/s between GPUs, per GPU; by default what --measured says, else an assumption that is named.
        storage: GB/s that the images' disk gives to all GPUs together; by default only what is needed is said.
        checkpoint_seconds: between two checkpoints, as in the training.
        precision: 32-true, bf16-mixed or 16-mixed.
        measured: the doctor.json of your machines, by --distributed or --data; by default decoding, operator and disk
            are measured here, in a few seconds.
        device: auto, cpu or cuda.
        out: the folder for doctor.json; by default runs/doctor with --distributed, and none is written else.
        seed: of every random draw.
    """
    given = dict(locals())
    from weatherproof.verbs.doctor.outcome import require

    require(
        seconds=seconds, processes=processes, images=images, epochs=epochs, batch_size=batch_size, gpus=gpus,
        utilisation=utilisation, price=price, cores_per_gpu=cores_per_gpu, network=network, storage=storage,
        checkpoint_seconds=checkpoint_seconds, workers=workers,
    )  # fmt: skip
    if plan is not None and (distributed or data is not None):
        raise InputError(
            "--plan goes by itself: measure with --data or --distributed first, and give it --measured FILE"
        )
    asked = "plan" if plan is not None else "distributed" if distributed else "data" if data is not None else None
    _require_own(asked, given)
    if plan is not None:
        from weatherproof.verbs.doctor.planning import Wishes, name_of, planned

        diagnosis = planned(
            plan,
            Wishes(
                encoder=name_of(plan), size=size, images=images, epochs=epochs, batch_size=batch_size,
                operator=operator, gpus=gpus, gpu=gpu, utilisation=utilisation, price=price,
                cores_per_gpu=cores_per_gpu, network=network, storage=storage,
                checkpoint_seconds=checkpoint_seconds, precision=precision,
            ),
            measured, seconds, seed,
        )  # fmt: skip
    elif distributed:
        diagnosis = _distributed(
            data, split, size, workers, seconds, processes, strategy, device, Path(out or OUT), seed
        )
        out = out or OUT
    elif data is not None:
        diagnosis = _data(data, split, size, workers, seconds, seed)
    else:
        diagnosis = Diagnosis("installation", list(installation.sections()))
    if out is not None and not diagnosis.quiet:
        diagnosis.write(Path(out))
    return diagnosis


def _require_own(asked: str | None, given: Mapping[str, object]) -> None:
    """Raise `InputError` for an option of another form than the one that is asked for; None: the installation."""
    own = ("out", *(_FORMS[asked] if asked else ()))
    for name, parameter in inspect.signature(doctor).parameters.items():
        if name not in own and given[name] != parameter.default:
            forms = " or ".join(f"--{form}" for form, names in _FORMS.items() if name in names)
            raise InputError(f"--{name.replace('_', '-')} belongs to {forms}: give that, or leave it out")


def _data(source: str, split: str | None, size: int | str, workers: int | None, seconds: float, seed: int) -> Diagnosis:
    from weatherproof.verbs.doctor import feeding

    images = feeding.open_images(source, split, size)
    most = max(1, int(installation.usable_cores())) if workers is None else workers
    found, alone = feeding.measure(images, most, seconds, seed)
    return Diagnosis("data", [feeding.section(images, found, alone)], {"data": feeding.numbers(images, found, alone)})


def _distributed(
    source: str | None, split: str | None, size: int | str, workers: int | None, seconds: float, processes: int,
    strategy: Literal["ddp", "fsdp"], device: str, folder: Path, seed: int,
) -> Diagnosis:  # fmt: skip
    from weatherproof.cluster import here
    from weatherproof.verbs.doctor import distributed

    request = distributed.Request(
        source, split, size, 1 if workers is None else workers, seconds, folder, seed, strategy
    )
    found = distributed.examine(request, here(), device, processes)
    if found is None:
        return Diagnosis("distributed", [], quiet=True)
    return Diagnosis("distributed", [distributed.section(found)], {"distributed": found})
