"""Slurm: the job of a run, its requeue, and checks for the usual mistakes.

It is loaded before anything else of a fit, so it imports nothing that takes time.
"""

import os
import re
import subprocess
from collections.abc import Mapping

from datamodules.errors import UserError

INTERACTIVE = ("bash", "interactive")
"""Job names that Lightning takes for a shell, in which it starts the ranks itself."""
_SECONDS = 60


def job_id(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the id that `scontrol` knows the running job by; None outside of Slurm.

    A task of an array is named by array and task: one of them has the array's own id as its
    `SLURM_JOB_ID`, and to requeue that one would requeue them all.
    """
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID")


def in_batch_job(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True in a job that Slurm can run again: not an interactive shell."""
    return "SLURM_JOB_ID" in environ and environ.get("SLURM_JOB_NAME") not in INTERACTIVE


def started_by_srun(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if Slurm started the ranks and Lightning will count on it."""
    return in_batch_job(environ) and "SLURM_NTASKS" in environ


def is_first_task(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True in the task of a job that speaks for all of them."""
    return environ.get("SLURM_PROCID", "0") == "0"


def requeue(job: str) -> str:
    """Ask Slurm to run a job again, unless somebody has cancelled it.

    Slurm would revive a cancelled job that asks for it. It sends such a job the same signal as one
    that it preempts, but shows it as completing, the other as running until its grace time is over.

    Args:
        job: Id of the job.

    Returns:
        The outcome, in a sentence for the user.
    """
    state = _run("scontrol", "show", "--oneliner", "job", job)
    if re.search("JobState=(?!RUNNING)", state) and "Reason=TimeLimit" not in state:
        return f"Slurm job {job} was cancelled, so it is not requeued"
    refusal = _run("scontrol", "requeue", job)
    if refusal:
        return f"Slurm refused to requeue job {job} ({refusal}); submit it again to go on"
    return f"Slurm job {job} is requeued"


def _run(*command: str) -> str:
    """Run a command; return its output, or the reason of its failure."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout + done.stderr).strip()


def check_step(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse a job whose ranks would wait for each other for ever, before any is made.

    Raises:
        UserError: If a job of several tasks was started without `srun` or without
            `--ntasks-per-node`, or under a name that Lightning takes for a shell.
    """
    tasks = int(environ.get("SLURM_NTASKS", "1"))
    if tasks == 1:
        return
    if "SLURM_STEP_ID" not in environ:
        if environ.get("SLURM_JOB_NAME") in INTERACTIVE:
            return
        raise UserError(
            f"this Slurm job has {tasks} tasks, but kinetoscope was started once, without srun; "
            "write `srun kinetoscope ...` in the batch script (in an interactive shell without "
            "srun, set SLURM_JOB_NAME=interactive)"
        )
    if environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        raise UserError(
            f"srun started {tasks} tasks in a job named {environ['SLURM_JOB_NAME']!r}, which "
            "Lightning takes for a shell: each task would train alone; choose another --job-name, "
            "or start kinetoscope once, without srun"
        )
    if "SLURM_NTASKS_PER_NODE" not in environ:
        raise UserError(
            f"this Slurm job asks for --ntasks={tasks}, from which a rank cannot tell its node's "
            "share; ask for --ntasks-per-node, one task for each GPU"
        )


def check_tasks(num_devices: int, num_nodes: int, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse a trainer that does not want the tasks that Slurm has started.

    Args:
        num_devices: Devices per node that the trainer uses.
        num_nodes: Nodes that it expects.
        environ: The environment of the process.

    Raises:
        UserError: If devices are not tasks per node, or nodes are not those of the job.
    """
    if not started_by_srun(environ):
        return
    tasks = int(environ.get("SLURM_NTASKS_PER_NODE", environ["SLURM_NTASKS"]))
    nodes = int(environ.get("SLURM_NNODES", "1"))
    if tasks != num_devices:
        raise UserError(
            f"the trainer uses {num_devices} device(s) a node, but Slurm starts {tasks} task(s) "
            f"there; set --trainer.devices={tasks}, or --ntasks-per-node={num_devices} in the "
            "batch script"
        )
    if nodes != num_nodes:
        raise UserError(
            f"the trainer expects {num_nodes} node(s), but the Slurm job has {nodes}; set "
            f"--trainer.num_nodes={nodes}, or --nodes={num_nodes} in the batch script"
        )
