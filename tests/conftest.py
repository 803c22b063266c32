"""What every test relies on: one thread, no network, and the real images where there are some.

Shapes and dtypes of the package are checked by jaxtyping's pytest plugin (`--jaxtyping-packages` in pyproject.toml). It
installs its import hook before any conftest is read, so tests import the package as usual, after `typechecker`, which
says what is checked. The hook reads annotations at run time: `from __future__ import annotations` would turn them into
strings and switch off the checks of dataclass fields, so the linter forbids it.

Nothing heavy is imported here at once: with several workers this file is read first in the process that starts them.
"""

import gc
import ipaddress
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch


def pytest_collection() -> None:
    """Before the package is imported. The process that only hands out tests to workers does not get here."""
    import typechecker  # noqa: F401

    gc.disable()


def pytest_collection_finish() -> None:
    """What is there by now stays: libraries, the package, the tests. No collection of garbage looks through it."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Libraries that count what they have not got back at the end would complain."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several test processes share the cores; sums on one thread also have one order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _listen_to_interrupts() -> None:
    """A shell starts background jobs deaf to Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_local(address: object) -> bool:
    if not isinstance(address, tuple):  # a Unix socket has a path
        return True
    try:
        return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    except ValueError:
        return address[0] in ("localhost", "", socket.gethostname())


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Nothing here may need the network: a test that reaches for it fails. This machine may talk to itself."""
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse(address: object) -> None:
        if not _is_local(address):
            raise AssertionError(f"this test reached for the network: {address}")

    def guarded_connect(self: socket.socket, address: object) -> None:
        refuse(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: object) -> int:
        refuse(address)
        return connect_ex(self, address)

    def guarded_resolve(host: object, *args: object, **kwargs: object) -> object:
        if host is not None:
            refuse((host.decode() if isinstance(host, bytes) else host,))
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_lines_of_progress() -> Iterator[None]:
    """What a test expects on standard error must not depend on how slow the machine is."""
    from weatherproof import progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_SHORT", float("inf"))
        yield


@pytest.fixture
def every_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of progress for each phase, when it ends."""
    from weatherproof import progress

    class Teller(progress._Teller):
        def __init__(self) -> None:
            super().__init__()
            self.thread = threading.current_thread()  # alive, so that none is started

        def close(self, meter: progress.Meter) -> None:
            self.look()
            super().close(meter)

    monkeypatch.setattr(progress, "_teller", Teller())
    monkeypatch.setattr(progress, "_SHORT", 0.0)
    monkeypatch.setattr(progress, "_LINE", 0.0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images. Unset: skipped. Set but not there: an error, since somebody meant to read it."""
    name = os.environ.get("WEATHERPROOF_DATA")
    if not name:
        pytest.skip("WEATHERPROOF_DATA is not set: these tests read real images")
    folder = Path(name)
    assert folder.is_dir(), f"WEATHERPROOF_DATA={name} is not a folder"
    return folder


@pytest.fixture
def cuda() -> "torch.device":
    """The CUDA device, or a skip."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def shallow_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's vision transformers with one block of their twelve, for what happens before the first."""
    from torchvision.models import vision_transformer

    whole = vision_transformer._vision_transformer
    monkeypatch.setattr(vision_transformer, "_vision_transformer", lambda **given: whole(**given | {"num_layers": 1}))


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the finished run folder of a study at the smallest scale; each runs once, all from one store beside."""
    from weatherproof.verbs.reproduce import reproduce

    home = tmp_path_factory.mktemp("smoke")

    @cache
    def run(name: str) -> Path:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="small.* no weights given")
            reproduce(name, store=home / "store", out=home / name, device="cpu")
        return home / name

    return run
