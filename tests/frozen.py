"""Records as they were: every number of a run, to the bit, beside the run that gives it now.

`tests/oracles/records/NAME.json` holds the records of one run without their decimal numbers, and these apart, by the
arithmetic of the machine that made them: processors that add in another order end in other last bits, and after a
training in other answers. On a machine whose arithmetic is not in the file, the numbers are not compared, nor are those
in an attack's certificate, nor the hashes of protocols, some of which are of numbers (the standard deviations that a
noise follows); everything else is: which records, in which order, of what, measured how.

    WEATHERPROOF_FREEZE=1 python -m pytest tests/... -n 0

writes the files anew, for a change that means to change numbers. The commit says which and why.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "oracles" / "records"
_NUMBER = "a number"  # in the place of a decimal one


@cache
def arithmetic() -> str:
    """The version of PyTorch, what it takes the processor for, and a digest of sums, products and gradients."""
    draws = torch.Generator().manual_seed(0)
    found = hashlib.sha256()
    for batch, channels, side in ((3, 3, 17), (64, 16, 16), (128, 32, 8)):
        images = torch.rand(batch, channels, side, side, generator=draws, requires_grad=True)
        weights = torch.rand(24, channels, 3, 3, generator=draws, requires_grad=True)
        maps = torch.nn.functional.batch_norm(
            torch.conv2d(images, weights, padding=1), None, None, training=True
        ).tanh()  # fmt: skip
        logits = maps.flatten(1) @ torch.rand(maps[0].numel(), 10, generator=draws)
        logits.log_softmax(dim=1)[:, 0].sum().backward()
        for value in (maps, logits, images.grad, weights.grad):
            assert value is not None
            found.update(value.detach().numpy().tobytes())
    return f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()} {found.hexdigest()[:12]}"


def compare(name: str, records: Sequence[dict[str, Any]]) -> None:
    """Fails where a record is not what it was.

    Args:
        name: of the run, and of the file.
        records: of its results.json.
    """
    file, numbers = FOLDER / f"{name}.json", list(_numbers(records))
    shape = [_without_numbers({key: value for key, value in record.items() if value is not None}) for record in records]
    if os.environ.get("WEATHERPROOF_FREEZE"):
        _write(file, shape, numbers)
        return
    kept = json.loads(file.read_text("utf-8"))
    before = kept["numbers"].get(arithmetic())
    for number, (then, now) in enumerate(zip(_whole(kept["records"]), shape, strict=True)):
        if before is None:
            then, now = _anywhere(then), _anywhere(now)
        assert now == then, f"record {number} of {name}"
    if before is not None:
        changed = [i for i, (a, b) in enumerate(zip(before, numbers, strict=True)) if repr(a) != repr(b)]
        assert not changed, (
            f"{len(changed)} of {len(numbers)} numbers of {name}: {[(before[i], numbers[i]) for i in changed[:5]]}"
        )


def _write(file: Path, shape: list[Any], numbers: list[float]) -> None:
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    changes = [
        {key: after.get(key) for key in {**before, **after} if after.get(key) != before.get(key)}
        for before, after in pairwise([{}, *shape])
    ]
    others = known.get("numbers", {}) if known.get("records") == changes else {}  # of other machines
    text = json.dumps({"records": changes, "numbers": {**others, arithmetic(): numbers}}, ensure_ascii=False)
    file.write_text(re.sub(r'(?<=[\]}], )(?={")|(?<="numbers": )', "\n", text) + "\n", "utf-8")


def _whole(changes: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Records, of what each has other than the one before it; None: it has no such key."""
    record: dict[str, Any] = {}
    for own in changes:
        record = {key: value for key, value in {**record, **own}.items() if value is not None}
        yield record


def _anywhere(record: dict[str, Any]) -> dict[str, Any]:
    """What of a record is the same on all machines."""
    told = [re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", _NUMBER, words) for words in record.get("certificate", ())]
    return {**record, "protocol": "", "certificate": told}


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)


def _without_numbers(value: Any) -> Any:
    if isinstance(value, float):
        return _NUMBER
    if isinstance(value, dict):
        return {key: _without_numbers(part) for key, part in value.items()}
    return [_without_numbers(part) for part in value] if isinstance(value, list | tuple) else value
