"""What SLURM wants to be told: that a job which was stopped is to be queued again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping

TIME_LIMIT = 120.0  # seconds: a SIGTERM so near the end of the job's time is the time limit's
_PATIENCE = 60.0  # seconds that scontrol may take


def wants_requeue(number: int, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a job of SLURM that this signal has stopped should go on in a new one.

    SIGUSR1, which `#SBATCH --signal=USR1@120` sends before the time limit; and the time limit's own SIGTERM. Another
    SIGTERM is `scancel`, or that of a job which SLURM itself puts back.
    """
    own = os.environ if environment is None else environment
    if "SLURM_JOB_ID" not in own:
        return False
    if number == signal.SIGUSR1:
        return True
    ends = own.get("SLURM_JOB_END_TIME", "")
    return number == signal.SIGTERM and ends.isdecimal() and time.time() >= int(ends) - TIME_LIMIT


def requeue(environment: Mapping[str, str] | None = None) -> str:
    """Queue this job of SLURM again, and say in a few words what came of it."""
    own = os.environ if environment is None else environment
    job = own["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in own and "SLURM_ARRAY_TASK_ID" in own:
        job = f"{own['SLURM_ARRAY_JOB_ID']}_{own['SLURM_ARRAY_TASK_ID']}"
    program = shutil.which("scontrol", path=own.get("PATH"))
    if program is None:
        return f"job {job} is not queued again, as there is no scontrol here: submit the same script"
    try:
        done = subprocess.run([program, "requeue", job], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} is not queued again: {error}"
    if done.returncode:
        return f"job {job} is not queued again: scontrol says {(done.stderr or done.stdout).strip()}"
    return f"job {job} is queued again"
