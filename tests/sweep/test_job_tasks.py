"""Jobs of several tasks, on one node or several, with SLURM's commands imitated."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_commands
from launching import SMALL, parent, start, trainer_of, wait_for
from runs import fingerprint, train_in

from ostinato.run_dir import RunDir, read_json

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        not Path("/proc/self/stat").is_file(), reason="finds processes in /proc"
    ),
]

RUN = ("training.epochs=4", "training.accumulate=5")
JOBS = ("-m", "launcher=slurm", *SMALL, "training.eval_every=4", *RUN)


def slurm_sweep(folder: Path, *arguments: str):
    path = slurm_commands.install(folder / "bin")
    return start(folder, *JOBS, *arguments, PATH=path, TEST_SLURM=str(folder))


def jobs_in(folder: Path) -> list[RunDir]:
    paths = folder.glob("outputs/multirun/*/*_*")
    return [RunDir(path) for path in sorted(paths)]


def first_with_checkpoint(folder: Path) -> RunDir | None:
    found = sorted(folder.glob("outputs/multirun/*/*/checkpoints/step_*"))
    return RunDir(found[0].parents[1].resolve()) if found else None


def test_tasks_of_two_nodes_train_together_and_write_once(tmp_path):
    sweep = slurm_sweep(
        tmp_path,
        *("hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2"),
        *("hydra.launcher.cpus_per_task=1", "training.threads=null", "seed=1,2"),
    )
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, output
    runs = jobs_in(tmp_path)
    assert len(runs) == 2, "one folder for each job, none for a task"
    for seed, run in enumerate(runs, start=1):
        provenance = read_json(run.provenance)
        assert provenance["processes"]["count"] == 4
        assert provenance["threads"] == 1
        alone = train_in(
            tmp_path / str(seed), *RUN, f"seed={seed}", "training.threads=1"
        )
        assert fingerprint(run) == fingerprint(alone)
        assert files_in(run.path) == files_in(alone.path) | HYDRA
        assert run.log.read_text().count("test: loss") == 1


HYDRA = {
    ".hydra",
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
    ".job.lock",
    "report.html",
    "train.log",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "places",
    [
        ("hydra.launcher.nodes=3", "hydra.launcher.tasks_per_node=1"),
        ("training.processes=3",),
    ],
)
def test_a_job_that_exceeds_its_time_limit_is_requeued_and_resumes(places, tmp_path):
    sweep = slurm_sweep(tmp_path, *places, "hydra.launcher.cpus_per_task=3")
    run = wait_for(lambda: first_with_checkpoint(tmp_path), sweep)
    task = parent(parent(trainer_of(run.path)))
    os.kill(task, signal.SIGUSR2)  # what SLURM sends before the limit
    output, _ = sweep.communicate(timeout=500)

    assert sweep.returncode == 0, output
    assert "resuming at step" in run.log.read_text()
    assert read_json(run.provenance)["processes"]["count"] == 3
    assert fingerprint(run) == fingerprint(train_in(tmp_path / "alone", *RUN))


def test_tasks_follow_through_all_seeds_of_a_trial(tmp_path):
    variables = {
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NTASKS": "3",
        "PYTHONPATH": os.pathsep.join([*sys.path]),
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", TRIAL, str(tmp_path / "sweep" / "0_debug_x")],
            env={
                **os.environ,
                **variables,
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
            },
        )
        for rank in range(3)
    ]
    assert [task.wait(timeout=500) for task in tasks] == [0, 0, 0]
    runs = [RunDir(path) for path in (tmp_path / "sweep").iterdir()]
    assert [read_json(run.provenance)["processes"]["count"] for run in runs] == [3, 3]
    alone = [
        fingerprint(train_in(tmp_path / seed, *RUN, f"seed={seed}")) for seed in "12"
    ]
    found = [fingerprint(run) for run in runs]
    assert alone in (found, found[::-1])


TRIAL = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from runs import configure
from ostinato.config import SearchConfig
from ostinato.run_dir import RunDir
from ostinato.sweep import jobs, search, tasks, worker

config, resolved = configure("training.epochs=4", "training.accumulate=5", "seed=1")
config = replace(config, search=SearchConfig(num_seeds=2))
run = RunDir(Path(sys.argv[1]))
if tasks.follows():
    worker.follow_in_subprocess(tasks.join())
else:
    run.hydra_record.folder.mkdir(parents=True)
    for name, text in (("hydra.yaml", "{}"), ("overrides.yaml", "[]")):
        (run.hydra_record.folder / name).write_text(text)
    train = partial(worker.train_in_subprocess, logs={"version": 1})
    with tasks.leading():
        search.run_trial(partial(jobs.run_once, train), config, run, resolved)
"""
