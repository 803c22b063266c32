"""How the processes of a job find each other, and make sure that they are about to do the same."""

import hashlib
import hmac
import os
import platform
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weatherproof.cluster.place import Place
from weatherproof.cluster.wire import connection_of, listening, receive, send
from weatherproof.errors import InputError, shown
from weatherproof.spec import own_files

if TYPE_CHECKING:
    from torch.distributed import Store

SECONDS = 300.0  # in which all processes of a job have to be there
_VARIABLE = "WEATHERPROOF_JOIN_SECONDS"
_FIRST = "weatherproof/first"
_COMMAND = "the command"
REFUSED = "refused"  # what the first process says to the others where the job does not begin


@dataclass(frozen=True)
class Other:
    """One of the other processes, for the first one."""

    rank: int
    host: str
    connection: Connection

    def __str__(self) -> str:
        return f"process {self.rank} on {self.host}"


def patience() -> float:
    """Seconds that a process waits for the others of its job: 300, or what WEATHERPROOF_JOIN_SECONDS says."""
    message = os.environ.get(_VARIABLE, "")
    try:
        seconds = float(message) if message else SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InputError(f"{_VARIABLE} must be a number of seconds above 0, got {shown(message)}")
    return seconds


def store_of(place: Place, seconds: float) -> "Store":
    """The store in which the processes of a job put what the others need; that of torchrun, where there is one.

    Raises:
        InputError: it cannot be reached in that time, or the first process cannot have the port.
    """
    from torch.distributed import PrefixStore, TCPStore

    kept_by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = TCPStore(
            place.address, place.port, is_master=place.first and not kept_by_torchrun,
            timeout=timedelta(seconds=seconds), wait_for_workers=False,
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError) as error:
        if place.first and not kept_by_torchrun:
            raise InputError(
                f"the first process cannot open port {place.port} for the others: {_one_line(error)}; set "
                "MASTER_PORT to a free one"
            ) from None
        raise InputError(_unreachable(place, seconds)) from None
    return PrefixStore(f"weatherproof/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def facts(argv: Sequence[str]) -> dict[str, str]:
    """What has to be the same in all processes of a job, by what a message calls it."""
    import torch

    from weatherproof import __version__

    files = {name: content for word in argv for name, content in own_files(word.partition("=")[2] or word).items()}
    for i, word in enumerate(argv):
        name, equals, file = word.partition("=")
        if name == "--config" and (equals or i + 1 < len(argv)):
            with suppress(OSError):
                files["--config"] = hashlib.sha256(Path(file if equals else argv[i + 1]).read_bytes()).hexdigest()
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "lightning-fabric": metadata.version("lightning-fabric"),
        "weatherproof": f"{__version__} (code {_own_code()})",
        "GPUs": "some" if torch.cuda.is_available() else "none",
        _COMMAND: " ".join(argv),
        **{f"the file {name}": content[:12] for name, content in files.items()},
    }


def others_of(place: Place, store: "Store", about: Mapping[str, str], seconds: float) -> list[Other]:
    """For the first process: all others, in their order.

    Raises:
        InputError: one of them is not there in time, or is about to do something else. Those that are there know it.
    """
    found: dict[int, Other] = {}
    try:
        _welcome(found, place, store, about, seconds)
    except InputError as error:
        for other in found.values():
            with suppress(OSError):
                other.connection.send((REFUSED, str(error)))
        raise
    return [found[rank] for rank in sorted(found)]


def _welcome(found: dict[int, Other], place: Place, store: "Store", about: Mapping[str, str], seconds: float) -> None:
    token, ends = secrets.token_hex(16), time.monotonic() + seconds
    with listening() as server:
        store.set(_FIRST, f"{server.getsockname()[1]} {token}")
        while len(found) < place.world - 1:
            server.settimeout(max(0.01, ends - time.monotonic()))
            try:
                guest, _ = server.accept()
            except TimeoutError:
                raise InputError(_missing(place, found, seconds)) from None
            guest.settimeout(10.0)
            connection = connection_of(guest)
            message = _hello(connection, token)
            if message is None or not 0 < message["rank"] < place.world or message["rank"] in found:
                connection.close()  # a stranger
                continue
            other = found[message["rank"]] = Other(message["rank"], str(message["host"]), connection)
            _compare(other, about, message["facts"])


def first_of(place: Place, store: "Store", about: Mapping[str, str], seconds: float) -> Connection:
    """For another process: the connection to the first one.

    Raises:
        InputError: it cannot be reached in that time.
    """
    try:
        store.wait([_FIRST], timedelta(seconds=seconds))
        port, token = store.get(_FIRST).decode().split()
        connection = connection_of(socket.create_connection((place.address, int(port)), timeout=seconds))
    except (RuntimeError, OSError, ValueError):
        raise InputError(_unreachable(place, seconds)) from None
    send(connection, "hello", token=token, rank=place.rank, host=socket.gethostname(), facts=dict(about))
    return connection


def _hello(connection: Connection, token: str) -> dict[str, Any] | None:
    try:
        hello, _ = receive(connection) if connection.poll(10.0) else ({}, b"")
    except (EOFError, ValueError, OSError):
        return None
    known = isinstance(hello, dict) and hmac.compare_digest(str(hello.get("token", "")).encode(), token.encode())
    return hello if known and isinstance(hello.get("rank"), int) and isinstance(hello.get("facts"), dict) else None


def _compare(other: Other, own: Mapping[str, str], theirs: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*own, *theirs]):
        here, there = own.get(name), theirs.get(name)
        if here != there:
            apart = _apart(str(there), str(here)) if name == _COMMAND else (there, here)
            raise InputError(
                f"{other} is unlike the first process: {name} is {shown(apart[0])} there and {shown(apart[1])} here; "
                "start the same command with the same versions everywhere"
            )


def _apart(one: str, other: str) -> tuple[str, str]:
    """Two commands from the word before the one in which they differ on, to where they are the same again.

    >>> _apart("harden small digits --lr 1 --seed 3", "harden small digits --lr 2 --seed 3")
    ('... --lr 1 ...', '... --lr 2 ...')
    """
    parts = one.split(" "), other.split(" ")
    start = _common(*parts)
    end = _common(*(part[start:][::-1] for part in parts))
    before = max(0, start - 1)
    found = [
        " ".join([*["..."] * (before > 0), *part[before : len(part) - end], *["..."] * (end > 0)]) for part in parts
    ]
    return found[0], found[1]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words are the same from the start on."""
    same = [a == b for a, b in zip(one, other, strict=False)]
    return [*same, False].index(False)


def _missing(place: Place, found: Mapping[int, Other], seconds: float) -> str:
    missing = [str(rank) for rank in range(1, place.world) if rank not in found]
    ranks = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return (
        f"{len(missing)} of the job's {place.world} processes did not reach the first one at {place.address} within "
        f"{seconds:g} s: {ranks}; look at their own messages, at --nnodes, and at the network between the machines"
    )


def _unreachable(place: Place, seconds: float) -> str:
    return (
        f"{place} cannot reach the first one at {place.address}:{place.port} within {seconds:g} s: is it running, is "
        f"that its address, and does the network let this machine through? ({_VARIABLE} is the time)"
    )


def _own_code() -> str:
    """Equal where the package's own files are."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
