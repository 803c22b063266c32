"""Harden an encoder on the embedded digits and show what it gains."""

import json
import multiprocessing
import os
import signal
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from statistics import mean
from typing import Any

import torch

from weatherproof.evaluation import standard_error
from weatherproof.files import write_atomically
from weatherproof.interrupts import interrupts_ignored
from weatherproof.orphans import end_with_parent
from weatherproof.progress import phase
from weatherproof.recipe import FIXED
from weatherproof.reports import write_report
from weatherproof.texts import read_json
from weatherproof.training import RunFolder
from weatherproof.verbs.demo.page_parts import save_page_parts
from weatherproof.verbs.demo.tasks import DAMAGES, MASKS, MIXED, Damage
from weatherproof.verbs.inputs import require_counts
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import Outcome, finished

_queue: "Queue[tuple[int, str]]"  # in a process of `_work` alone


@verb()
def demo(*, seeds: int = 3, out: str | Path = Path("runs/demo")) -> Outcome:
    """Harden an encoder on the embedded handwritten digits and put the gain beside the supervised rival, without any
    network, in two to five minutes on two cores.

    A teacher learns from unlabelled digits (two warped views, SimCLR). Copies of it are hardened against missing
    pixels, and against masks, noise and blur mixed; teacher and copy stand behind a gate, which a gauge of the damage
    opens. Linear probes on that encoder with 2 %, 10 % and 100 % of the labels stand beside the encoder as it was (with
    a probe of clean images) and a supervised network with the same labels, trained as long.

    Args:
        seeds: how often everything is repeated; the errors are over these.
        out: the run folder.
    """
    require_counts(seeds=seeds)
    runs = {damage.name: RunFolder.open(damage.folder(Path(out)), _recipe(damage, seeds)) for damage in DAMAGES}
    run = runs[MASKS.name]
    if not run.finished:
        parts = run.path / "parts"
        parts.mkdir(exist_ok=True)
        _work(seeds, run.path, parts)
        per_seed = [read_json(file) for file in sorted(parts.glob("*.json"))]
        records = over_seeds([record for part in per_seed for record in part])
        for damage in reversed(DAMAGES):  # the demo's own folder last: its results mark the demo as finished
            notes = [*_whose(seeds), *save_page_parts(damage, runs[damage.name], run.path)]
            mine = [record for record in records if record["trained_on"] == repr(damage.trained_on)]
            runs[damage.name].write_json("results.json", {"records": mine} | ({"notes": notes} if notes else {}))
            write_report(runs[damage.name].path)
    for each in runs.values():
        each.close()
    return finished(
        run,
        f"the same against masks, noise and blur mixed: {runs[MIXED.name].path / 'report.html'}",
        f"weatherproof audit {run.path} digits --gauge",
        f"weatherproof audit {run.path} digits --operator 'GaussianBlur(3.0)'",
        "weatherproof harden torchvision:resnet18@WEIGHTS PHOTOS --operator 'RandomMask((0.0, 0.95))'",
    )


def _whose(seeds: int) -> list[str]:
    """What the two kinds of numbers on a page rest on, where there are two."""
    if seeds == 1:
        return []
    return [
        "the four numbers, the curve, the gauge, the promise and the examples are of the encoder that is kept here, of "
        f"seed 0, ± over images; the tables are means over {seeds} seeds, ± over these"
    ]


def _recipe(damage: Damage, seeds: int) -> dict[str, Any]:
    return {
        "verb": "demo",
        "seeds": seeds,
        FIXED: {"encoder": "small", "images": "digits", "operator": damage.trained_on},
    }


def _work(seeds: int, folder: Path, parts: Path) -> None:
    """All tasks, on as many processes as there are cores; each finished task leaves its file and is not run again."""
    from weatherproof.verbs.demo import tasks as demo_tasks

    tasks = [(name, seed) for seed in range(seeds) for name in ("ours", "rival")]
    tasks = [(name, seed) for name, seed in tasks if not (parts / f"{name}-{seed}.json").is_file()]
    if not tasks:
        return
    context = multiprocessing.get_context("spawn")
    total = sum(demo_tasks.COUNTS[name] for name, _ in tasks)
    manager = SyncManager(ctx=context)
    manager.start(end_with_parent)
    with phase("demo", total, "parts") as meter, manager:
        queue: Queue[tuple[int, str]] = manager.Queue()
        pool = ProcessPoolExecutor(min(len(tasks), _cores()), context, _begin, (queue,))
        try:
            with interrupts_ignored():  # inherited: a process hears Ctrl-C in its tasks only
                waiting = {pool.submit(_task, name, seed, folder, parts) for name, seed in tasks}
            while waiting:
                ended, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                while not queue.empty():
                    done, doing = queue.get()
                    meter.advance(done)
                    meter.note = doing or meter.note
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(queue: "Queue[tuple[int, str]]") -> None:
    """In each process before its first task. The queue is not sent with the tasks: one that is with a process already
    cannot be cancelled, and where the demo has stopped it could not be read any more."""
    global _queue
    _queue = queue
    end_with_parent()
    torch.set_num_threads(1)


def _task(name: str, seed: int, folder: Path, parts: Path) -> None:
    from weatherproof.verbs.demo import tasks as demo_tasks

    def tell(done: int, doing: str) -> None:
        _queue.put((done, f"seed {seed}: {doing}" if doing else ""))  # an error once the demo has stopped

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        records = getattr(demo_tasks, name)(seed, folder, tell)
        write_atomically(parts / f"{name}-{seed}.json", json.dumps([record.to_dict() for record in records]))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def over_seeds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record where several differ by their seeds alone: the mean, and its standard error over the seeds."""
    groups = defaultdict(list)
    for record in records:
        same = {k: v for k, v in record.items() if k not in ("value", "stderr", "seeds", "protocol")}
        groups[json.dumps(same, sort_keys=True)].append(record)
    merged = []
    for group in groups.values():
        values = [r["value"] for r in group]
        seeds = sorted({seed for r in group for seed in r["seeds"]})
        merged.append({**group[0], "value": mean(values), "stderr": standard_error(values), "seeds": seeds})
    return merged
