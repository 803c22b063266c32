"""Where this process stands among those that a launcher has started with the same command."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from weatherproof.errors import InputError, shown


@dataclass(frozen=True)
class Place:
    """One process of a job: its number, of how many, and how many of them are on this machine."""

    rank: int
    world: int
    local_world: int


def here(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place as torchrun says it (RANK, WORLD_SIZE, LOCAL_WORLD_SIZE); None where nobody has said any.

    Raises:
        InputError: some of it is missing, or no number.
    """
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    missing = [name for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise InputError(f"RANK and WORLD_SIZE are set, and {', '.join(missing)} not: start it by torchrun")
    told = [environment["RANK"], environment["WORLD_SIZE"], environment.get("LOCAL_WORLD_SIZE", "1")]
    if not all(text.isdecimal() for text in told):
        raise InputError(f"RANK, WORLD_SIZE and LOCAL_WORLD_SIZE are whole numbers, got {shown(' '.join(told))}")
    rank, world, local = map(int, told)
    if not (rank < world and 1 <= local <= world and world % local == 0):
        raise InputError(f"RANK {rank} of WORLD_SIZE {world} with LOCAL_WORLD_SIZE {local}: start it by torchrun")
    return Place(rank, world, local)
