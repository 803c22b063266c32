"""Where this process stands among those of one job, from the environment that a launcher has set."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from weatherproof.errors import InputError, shown

Launcher = Literal["torchrun", "SLURM"]

_PORTS = (20_000, 20_000)  # from where, how many: SLURM's jobs each get one by their number
_MOST = 1 << 20  # processes
_ALONE = ("localhost", 29500)  # where nobody else is to be met


@dataclass(frozen=True)
class Place:
    """One process of a job that runs the same command everywhere.

    Attributes:
        rank: which of them this is; the first one, 0, prints and writes.
        world: how many there are.
        local_rank: which of those on this machine, so which of its GPUs.
        address: host name or number at which the first process is reached.
        port: where all of them meet.
        by: who has started them.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    by: Launcher

    @property
    def first(self) -> bool:
        return self.rank == 0

    def __str__(self) -> str:
        return f"process {self.rank} of {self.world} on {socket.gethostname()}"


def here(environment: Mapping[str, str] | None = None) -> Place | None:
    """This process's place; None where no launcher has started it. A job may have one process only.

    torchrun says it by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, and goes before SLURM, inside of
    which it may run. SLURM says it by SLURM_PROCID and others, in what `srun` has started alone: a batch script by
    itself is one process, however many the job asks for. MASTER_ADDR and MASTER_PORT go before what is made of SLURM's.

    Args:
        environment: None: that of this process.

    Raises:
        InputError: some of it is missing, or makes no sense.
    """
    own = os.environ if environment is None else environment
    if {"RANK", "WORLD_SIZE"} <= own.keys():
        rank, world = _count(own, "RANK"), _count(own, "WORLD_SIZE")
        local = _count(own, "LOCAL_RANK") if "LOCAL_RANK" in own else rank
        return _checked(Place(rank, world, local, *_meeting(own, "torchrun", world), "torchrun"))
    if {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= own.keys():
        rank, world = _count(own, "SLURM_PROCID"), _count(own, "SLURM_STEP_NUM_TASKS")
        local = _count(own, "SLURM_LOCALID") if "SLURM_LOCALID" in own else 0
        return _checked(Place(rank, world, local, *_meeting(own, "SLURM", world), "SLURM"))
    return None


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts.

    >>> first_host("gpu[07-09,12],login1"), first_host("a1,a2"), first_host("rack[1-2]n[01-16]-ib")
    ('gpu07', 'a1', 'rack1n01-ib')
    """
    match = re.match(r"(?:[^,\[\]]|\[[^\]]*\])+", hosts)
    if match is None:
        raise InputError(f"SLURM's list of hosts cannot be read: {shown(hosts)}")
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", match[0])


def _meeting(own: Mapping[str, str], by: Launcher, world: int) -> tuple[str, int]:
    """Address and port of the first process."""
    if world == 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= own.keys():
        return _ALONE
    hosts = own.get("SLURM_STEP_NODELIST") or own.get("SLURM_JOB_NODELIST") or ""
    if "MASTER_ADDR" in own:
        address = own["MASTER_ADDR"]
    elif by == "SLURM" and hosts:
        address = first_host(hosts)
    else:
        raise InputError(f"a process of a job by {by} needs MASTER_ADDR, the address of the first one: it is not set")
    if "MASTER_PORT" in own:
        return address, _count(own, "MASTER_PORT")
    if by == "SLURM" and "SLURM_JOB_ID" in own:
        start, many = _PORTS
        step = _count(own, "SLURM_STEP_ID") if own.get("SLURM_STEP_ID", "").isdecimal() else 0
        return address, start + (_count(own, "SLURM_JOB_ID") * 7 + step) % many
    raise InputError(f"a process of a job by {by} needs MASTER_PORT, a free port of {address}: it is not set")


def _count(own: Mapping[str, str], name: str) -> int:
    if not own[name].isdecimal() or len(own[name]) > 18:
        raise InputError(f"the environment's {name} must be a whole number from 0, got {shown(own[name])}")
    return int(own[name])


def _checked(place: Place) -> Place:
    if not 0 <= place.rank < place.world <= _MOST:
        raise InputError(
            f"the environment says that this is process {place.rank} of {place.world}: expected a lower one"
        )
    if not 1 <= place.port <= 65535:
        raise InputError(f"the processes of a job meet at a port from 1 to 65535, got {place.port}")
    return place
