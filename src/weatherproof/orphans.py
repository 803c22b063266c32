"""Processes that `multiprocessing` has started end with the one that started them, even where that is killed."""

import os
import threading
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess


def end_with_parent(_worker: int = 0) -> None:
    """In such a process: from now on it ends as soon as the one that started it is gone. Elsewhere nothing."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent,), name="end with parent", daemon=True).start()


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # whatever the other threads wait for
