"""Many processes, of one machine or of many, that torchrun or SLURM's srun has started with the same command.

The first one runs the verb, prints, and writes the run folder. The others wait for work: to train with it, or to
measure blocks of images. So a verb is written for one process, and nothing of it is done twice.
"""

from weatherproof.cluster.job import Job, Lost, job, join, joined
from weatherproof.cluster.place import Place, here

__all__ = ["Job", "Lost", "Place", "here", "job", "join", "joined"]
