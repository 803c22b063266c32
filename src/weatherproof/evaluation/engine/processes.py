"""Work shared out over processes of this machine, each with its own blocks and files."""

import json
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import cast

import torch

from weatherproof.errors import InputError
from weatherproof.evaluation.engine.work import Work
from weatherproof.interrupts import interrupts_ignored

_PATIENCE = 60.0  # seconds in which a process that is told to stop ends its condition and saves; then it is killed


def run_in_processes(work: Work, processes: int, report: Callable[[int], None]) -> None:
    """`work.run(report)`, process k doing the k-th, (k + processes)-th, ... block that is left, on CUDA device k modulo
    their number.

    Raises:
        InputError: the parts cannot be sent to another process, or one of them has failed; one line says how.
    """
    context = torch.multiprocessing.get_context("spawn")
    shares = [share for k in range(processes) if (share := _share(work, k, processes)) is not None]
    listening: dict[Connection, SpawnProcess] = {}
    with interrupts_ignored():  # inherited: Ctrl-C is for this process, which tells the others
        for share in shares:
            here, there = context.Pipe()
            child = context.Process(target=_child, args=(there, share, os.getpid()))
            child.start()
            there.close()
            listening[here] = child
    children = list(listening.values())
    try:
        while listening:
            for connection in cast(list[Connection], wait(list(listening))):
                try:
                    done, refusal = json.loads(connection.recv_bytes())
                except EOFError:
                    child = listening.pop(connection)
                    child.join()
                    if child.exitcode:
                        raise InputError(_ended(child.exitcode)) from None
                    continue
                if refusal is not None:
                    raise InputError(refusal)
                report(done)
    finally:
        for child in children:
            child.terminate()  # those that have ended do not mind
        for child in children:
            child.join(_PATIENCE)
            child.kill()


def _share(work: Work, k: int, processes: int) -> bytes | None:
    """One process's part: its blocks, and the images that they need; None where there is nothing left to do.

    As bytes and not through shared memory, of which a container often has 64 MB.
    """
    left = work.unfinished_blocks[k::processes]
    if not left:
        return None
    device = work.device
    if str(device) == "cuda":  # without a number: any of them
        device = torch.device("cuda", k % torch.cuda.device_count())
    threads = max(1, torch.get_num_threads() // processes)
    try:
        return pickle.dumps((work.on_cpu().part(left, device), threads))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(f"this model or these images cannot be sent to another process: {error}; use 1") from None


def _child(connection: Connection, share: bytes, parent: int) -> None:
    signal.signal(signal.SIGTERM, _stop)
    try:
        work, threads = pickle.loads(share)  # noqa: S301 - from the process that started this one
        torch.set_num_threads(threads)
        work.run(lambda done: _tell(connection, done), wanted=lambda: os.getppid() == parent)
    except KeyboardInterrupt:
        pass
    except InputError as error:
        _refuse(connection, str(error))
    except Exception as error:  # of a user's operator or model, or memory
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _refuse(connection, f"a process of the measurement failed: {reason}; what was done is saved")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on it ends by itself


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell(connection: Connection, done: int, refusal: str | None = None) -> None:
    connection.send_bytes(json.dumps([done, refusal]).encode())


def _refuse(connection: Connection, message: str) -> None:
    with suppress(OSError):  # nobody listens any more
        _tell(connection, 0, message)


def _ended(status: int) -> str:
    if status < 0:
        return (
            f"a process of the measurement was ended by signal {-status}, often for want of memory: take fewer "
            f"processes or a smaller batch size; the same command goes on from there"
        )
    return (
        f"a process of the measurement ended with status {status}: in a script, call it under "
        f"if __name__ == '__main__', as processes need; or use one process"
    )
