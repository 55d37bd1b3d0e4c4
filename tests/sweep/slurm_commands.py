"""SLURM's commands for tests: they run jobs on this machine, with SLURM's variables.

Each node of a job is this machine. A job has a folder with its script; requeueing it runs
the script again after its tasks have ended.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scontrol", "sacct")


def install(folder: Path) -> str:
    """Writes the commands into a folder and returns a PATH that finds them first."""
    folder.mkdir()
    for name in COMMANDS:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def sbatch(script: str) -> None:
    """Starts a job, or each job of an array, and prints its number."""
    pairs = re.findall(r"^#SBATCH --([\w-]+)=(.*)$", Path(script).read_text(), re.M)
    options = dict(pairs)
    nodes = int(options["nodes"])
    number = str(os.getpid())
    variables = {
        "SLURM_JOB_ID": number,
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_JOB_NODELIST": ",".join(["localhost"] * nodes),
        "SLURM_NTASKS": str(nodes * int(options["ntasks-per-node"])),
        "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
    }
    jobs = [variables]
    if "array" in options:
        last = int(options["array"].partition("%")[0].partition("-")[2])
        array = {**variables, "SLURM_ARRAY_JOB_ID": number}
        jobs = [{**array, "SLURM_ARRAY_TASK_ID": str(task)} for task in range(last + 1)]
    for job in jobs:
        subprocess.Popen(
            [sys.executable, __file__, "run_job", script],
            env={**os.environ, **job},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    sys.stdout.write(f"Submitted batch job {number}\n")


def run_job(script: str) -> None:
    """Runs the script of a job, and again as long as it is requeued."""
    while True:
        subprocess.run(["bash", script], check=False)
        if not _requeued(_job()).exists():
            return
        _requeued(_job()).unlink()


def srun(*arguments: str) -> None:
    """Runs a command in each task of the job."""
    size = int(os.environ["SLURM_NTASKS"])
    per_node = size // int(os.environ["SLURM_JOB_NUM_NODES"])
    start = arguments.index(sys.executable)
    options, command = arguments[:start], arguments[start:]
    tasks = []
    for rank in range(size):
        variables = {
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank % per_node),
            "SLURM_NODEID": str(rank // per_node),
        }
        with Path(_named(options, "--output", rank)).open("a") as log:
            tasks.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **variables},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    sys.exit(max(abs(task.wait()) for task in tasks))


def scontrol(action: str, job: str) -> None:
    """Requeues a job."""
    assert action == "requeue"
    _requeued(job).touch()


def sacct(*arguments: str) -> None:
    """Lists no job; submitit finds finished jobs by their files."""
    sys.stdout.write("JobID|State|NodeList\n")


def _named(options: tuple[str, ...], option: str, rank: int) -> str:
    name = options[options.index(option) + 1]
    array = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    for code, value in (
        ("%j", os.environ["SLURM_JOB_ID"]),
        ("%A", array),
        ("%a", task),
        ("%t", str(rank)),
    ):
        name = name.replace(code, value)
    return name


def _job() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ["SLURM_JOB_ID"]
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _requeued(job: str) -> Path:
    return Path(os.environ["TEST_SLURM"]) / f"requeued_{job}"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
