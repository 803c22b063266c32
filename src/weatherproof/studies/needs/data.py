"""Which images a study reads, and what of them is not there."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from weatherproof.data.counts import SIZES
from weatherproof.data.origins import FREE, NOT_FREE, set_of
from weatherproof.data.sources import Contents, contents
from weatherproof.errors import InputError
from weatherproof.names import shell_word
from weatherproof.studies.lab.measures import Suite
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.sets import Images, is_there, located
from weatherproof.studies.lab.study import Cell
from weatherproof.studies.needs.find import FEWER, HERE, MISSING, OPTIONAL, Need

_VAL = "imagenet-val ILSVRC2012_img_val.tar --out {}/val --labels ILSVRC2012_devkit_t12.tar.gz"
_TRAIN = "imagenet-train ILSVRC2012_img_train.tar --out {}/train"
_IMAGENET_C = "imagenet-c FOLDER_OF_ITS_TAR_FILES --out {}"
_PREPARE: Mapping[str, tuple[str, str]] = {  # by set: arguments of `prepare` that bring train, and the other splits
    **dict.fromkeys(("imagenet", "imagenet100", "imagenet100b"), (_TRAIN, _VAL)),
    **dict.fromkeys(("imagenet-c", "imagenet100-c"), (_IMAGENET_C, _IMAGENET_C)),
    **{name: (f"{name} --out {{}}",) * 2 for name in (*FREE, "cifar10-c", "cifar100-c")},
    "synthetic-mnist": ("mnist --out {}",) * 2,
}


def data_needs(cells: Iterable[Cell], data: str | None) -> list[Need]:
    """Each source that is read, with how many images of how many classes lie there, held against the published set, or
    which layout is wanted."""
    wanted: dict[str, set[str]] = {}
    spare: dict[str, list[Suite]] = {}
    for cell in cells:
        for part in parts((cell.model, cell.measure, cell.data)):
            for text, split in part.sources if isinstance(part, Images) else ():
                wanted.setdefault(text, set()).add(split)
        if cell.files is not None:
            suites = spare.setdefault(cell.files.source.text, [])
            if isinstance(cell.measure, Suite) and cell.measure not in suites:
                suites.append(cell.measure)
    needs = [_source(text, sorted(splits, reverse=True), data) for text, splits in wanted.items()]
    return [*needs, *(_spare(text, suites, data) for text, suites in sorted(spare.items()) if text not in wanted)]


def _source(text: str, splits: Sequence[str], data: str | None) -> Need:
    """What lacks over all splits, each line once, and then the commands that mend it."""
    found: dict[str, Contents] = {}
    said, commands, state = [], [], HERE
    for split in splits:
        try:
            found[split] = contents(located(text, data), split)
        except InputError as error:
            worse, line = MISSING, f"{error}{_layout(text, split, data)}"
        else:
            worse, line = _lacks(text, split, found[split], len(found[split].labels))
        said.append(line)
        if worse != HERE:
            commands.append(mended(text, split, data))
            state = MISSING if MISSING in (state, worse) else FEWER
    if found:
        counts = ", ".join(f"{len(own.labels):,} to {split}" for split, own in found.items())
        said.insert(0, f"{counts}, {len(next(iter(found.values())).classes):,} classes")
    return Need("data", state, text, "; ".join(line for line in dict.fromkeys([*said, *commands]) if line))


def _lacks(text: str, split: str, own: Contents, count: int) -> tuple[str, str]:
    """A state and a line on how a split differs from the published one."""
    name = text.partition(":")[0]
    if name not in SIZES or split not in ("train", "test"):
        return HERE, ""
    train, test, _, _ = SIZES[name]
    expected = train if split == "train" else test
    if count == expected:
        return HERE, ""
    line = f"the published set has {expected:,} to {split}"
    empty = int(torch.bincount(own.labels[own.labels >= 0], minlength=len(own.classes)).eq(0).sum())
    if empty:
        return MISSING, f"{line}, {empty:,} classes have none"
    if count > expected:
        return HERE, line
    return FEWER, f"{line}: {expected - count:,} are missing, hours are of these"


def mended(text: str, split: str, data: str | None) -> str:
    """The command that brings it, or what to do where nothing fetches it; "": nobody knows."""
    name, folder = set_of(text), text.partition(":")[2]
    if name in NOT_FREE:
        return NOT_FREE[name]
    if name not in _PREPARE:
        return ""
    where = folder.replace("$DATA", "DIR") if data is None else located(folder, data)
    return f"weatherproof prepare {_PREPARE[name][split != 'train'].format(shell_word(where))}"


def _layout(text: str, split: str, data: str | None) -> str:
    """What a folder that is not there should hold: what the source says of an empty one."""
    name, _, folder = text.partition(":")
    if data is None or Path(folder := located(folder, data)).exists():
        return ""
    with TemporaryDirectory() as empty:
        try:
            contents(f"{name}:{empty}", split)
        except InputError as error:
            return f"; {str(error).replace(empty, folder)}"
    return ""


def _spare(text: str, suites: Iterable[Suite], data: str | None) -> Need:
    """Images that lie corrupted in files, which are made on the fly where there is no such folder."""
    if not is_there(text, data):
        where = text.partition(":")[2]
        return Need("data", OPTIONAL, text, f"no folder {where}: made on the fly instead, with synthetic frost")
    otherwise = f"; {mended(text, 'test', data)}; or move the folder away to have all made on the fly"
    try:
        found = contents(located(text, data), "test")
    except InputError as error:
        return Need("data", MISSING, text, f"{error}{otherwise}")
    if said := [line for suite in suites if (line := suite.lacking(found.parts))]:
        return Need("data", MISSING, text, f"{said[0]}{otherwise}")
    count = len(found.labels) // max(1, len(found.parts))
    state, line = _lacks(text, "test", found, count)
    detail = f"{count:,} images of {len(found.classes):,} classes, in {len(found.parts):,} sets"
    return Need("data", state, text, detail + (f"; {line}{otherwise}" if line else ""))
