"""How the first process of a job and each other one talk: one connection between them, so that who ends is noticed.

To the first process go JSON and tensors without code alone. What comes from it is pickled, as everywhere where torch's
processes talk: it comes from the address at which this process has asked to take part.
"""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # a machine without power is noticed in 50 s


def listening() -> socket.socket:
    """A socket on a free port of all of this machine's addresses."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def connection_of(own: socket.socket) -> Connection:
    """The socket as a connection, which has it from then on."""
    own.settimeout(None)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(own.detach())


def send(connection: Connection, kind: str, content: bytes = b"", **about: Any) -> None:
    """Send the first process a message that holds no code."""
    head = json.dumps({"kind": kind, **about}).encode()
    connection.send_bytes(len(head).to_bytes(4, "big") + head + content)


def receive(connection: Connection) -> tuple[dict[str, Any], bytes]:
    """A message of another process, and what came with it. Raises `EOFError` where that process has ended."""
    return ended_as_eof(lambda: _parted(connection.recv_bytes()))


def ended_as_eof(read: Callable[[], Any]) -> Any:
    """What is read from a connection; that its other end is gone is an `EOFError`, in whatever way it is noticed."""
    try:
        return read()
    except (ConnectionError, TimeoutError) as error:
        raise EOFError from error
    except OSError as error:
        if str(error) in ("got end of file during message", "handle is closed"):
            raise EOFError from error
        raise


def _parted(message: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + size]), message[4 + size :]
