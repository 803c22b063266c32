"""Weights from files, tensors only: nothing in a weights file is ever executed."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from weatherproof.encoders.checkpoint import Checkpoint
from weatherproof.encoders.messages import one_line, shown, some
from weatherproof.errors import InputError
from weatherproof.names import shell_word, utf8_path

ENDINGS = (".safetensors", ".pth", ".pt", ".th", ".bin")  # of weights files
_OPENAI = r"RN\d+(x\d+)?|ViT-[BL]-\d+(-336)?"  # CLIP's networks


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU: safetensors, or .pt, .pth, .th with nothing but tensors inside.

    A checkpoint is unwrapped ("state_dict", "model") and prefixes of training wrappers ("module.") are stripped.
    "FILE#key" takes the tensors under that key, such as "#state_dict_ema" or "#encoder_q".

    Raises:
        InputError: no such file, damaged, a pickle with objects in it, or several sets of tensors and no key.
    """
    return read_checkpoint(path).plain()


def read_checkpoint(path: str | Path, *, outline: bool = False) -> Checkpoint:
    """All tensors of a weights file, as they are nested in it; "FILE#key" where the file's own name is FILE.

    Args:
        outline: names and shapes are enough. Of a safetensors file the header alone is then read, and every tensor is
            of zeros that take no memory; other files have no such header.

    Raises:
        InputError: no such file, damaged, a pickle with objects in it, or no named tensors.
    """
    path, key = file_and_key(path)
    if is_folder(path):
        raise InputError(f"{path} is a folder: name the weights file in it, or give the run folder as the encoder")
    if not _is_file(path):
        raise InputError(f"no weights file {str(path)!r}{_unseen(path)}{_beside(path)}")
    if path.suffix != ".safetensors":
        return Checkpoint.of(str(path), _read_torch(path), key)
    content, metadata = _read_safetensors(path, outline)
    return Checkpoint.of(str(path), content, key, metadata)


def read_published(paths: Sequence[str]) -> Checkpoint:
    """All tensors of a library's weights, which large networks have in several files.

    Raises:
        InputError: as `read_checkpoint`.
    """
    parts = [read_checkpoint(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    return Checkpoint.of(paths[0], {k: v for part in parts for k, v in part.plain().items()}, None)


def file_and_key(path: str | Path) -> tuple[Path, str | None]:
    """A file whose name has a # in it is meant as a whole."""
    whole = str(path)
    file, key = whole, ""
    while not _is_file(Path(file)) and "#" in file:
        file, _, last = file.rpartition("#")
        key = f"{last}#{key}" if key else last
    return (Path(file), key) if key and _is_file(Path(file)) else (Path(whole), None)


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a text that nothing could be called
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _unseen(path: Path) -> str:
    """Why a file cannot be seen that may well be there; "" where it is not."""
    try:
        path.stat()
    except PermissionError as error:
        return f": {error.strerror}"
    except (OSError, ValueError):
        pass
    return ""


def _beside(path: Path) -> str:
    """What a message says of a file beside it with the same name and another ending; "" where there is none."""
    others = [path.parent / f"{path.stem}{ending}" for ending in ENDINGS if ending != path.suffix]
    other = next((other for other in others if path.stem and _is_file(other)), None)
    if other is None:
        return ""
    return f"; {other} lies beside it: {renamed(other, path) or 'give that'}"


def renamed(file: Path, wanted: Path) -> str:
    """The command that makes one weights file of another; "": there is none."""
    words = f"{shell_word(str(file))} {{}}{shell_word(str(wanted))}"
    if wanted.suffix == ".safetensors":
        return f"weatherproof prepare weights {words.format('--out ')}"
    return f"mv {words.format('')}" if file.suffix != ".safetensors" else ""


def _read_safetensors(path: Path, outline: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with utf8_path(path) as there:
            with safe_open(there, "pt") as file:
                metadata = file.metadata() or {}
                if outline:
                    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
                    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, metadata
            return load_file(there), metadata
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file (truncated?): {one_line(error)}") from None


def _read_torch(path: Path) -> Any:
    if _is_script(path):
        raise InputError(
            f"{path} is a TorchScript program, which is never read, as it is code: OpenAI's weights for CLIP come "
            f"by their name, weatherproof prepare weights {_named(path)} --out FILE.safetensors; convert others "
            "where you trust them, safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), "
            "'weights.safetensors')"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # read or refused, either is clear
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        if _holds_objects(path, str(error)):
            raise InputError(
                f"{path} holds Python objects, and only tensors are read, as objects could run code: "
                "convert it where you trust it, safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
            ) from None
        raise _unreadable(path) from None  # PyTorch's own words advise weights_only=False
    except (EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise _unreadable(path) from None


def _unreadable(path: Path) -> InputError:
    with path.open("rb") as file:
        beginning = file.read(16)
    return InputError(
        f"{path} is not a readable weights file: truncated, or another kind of file "
        f"({path.stat().st_size:,} bytes, the first of them {beginning!r}); fetch it again"
    )


def _is_script(path: Path) -> bool:
    """Whether it is an archive of `torch.jit`: beside its tensors it has constants and code."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return "constants.pkl" in inner and any(name.startswith("code/") for name in inner)


def _named(path: Path) -> str:
    """OpenAI's name of its weights in this file, as open_clip has it: ViT-L-14-336px.pt is open_clip:ViT-L-14-336."""
    name = path.stem.removesuffix("px")
    return f"open_clip:{name if re.fullmatch(_OPENAI, name) else 'RN101'}/openai"


def _holds_objects(path: Path, message: str) -> bool:
    if "unsupported global" in message.lower() or "TorchScript" in message:
        return True
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO and "Unsupported oper" in message  # an instruction for objects


def fits(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether every expected tensor is given in its shape and no other."""
    return expected.keys() == state.keys() and all(state[k].shape == v.shape for k, v in expected.items())


def check_fit(name: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor], hint: str = "") -> None:
    """Nothing, if every expected tensor is given in its shape and no other.

    Args:
        hint: what the message ends with.

    Raises:
        InputError: how many tensors are missing, unexpected or misshapen, and the first few of each.
    """
    missing = [k for k in expected if k not in state]
    unexpected = [k for k in state if k not in expected]
    misshapen = [
        f"{shown(k)} is {list(state[k].shape)}, expected {list(v.shape)}"
        for k, v in expected.items()
        if k in state and state[k].shape != v.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [f"{len(names)} {word} ({some([*map(shown, names)])})" for word, names in found.items() if names]
    if problems:
        raise InputError(f"the weights do not fit {name}: {'; '.join(problems)}{hint}")
