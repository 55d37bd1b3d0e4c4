"""Jobs of several processes: the same results under every launcher, in one folder."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from launching import SMALL, followers_of, parent, start, trainer_of, wait_for
from runs import configure, fingerprint, train_in

from ostinato.run_dir import RunDir, read_json
from ostinato.sweep import jobs

# Two processes cannot show a wrong order of a sum.
THREE = ("training.processes=3", "training.accumulate=5")
JOBS = ("-m", *SMALL, "training.eval_every=4", "training.accumulate=5")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").is_file(), reason="finds the processes to kill in /proc"
)


def alone(folder: Path, *overrides: str) -> dict:
    """The fingerprint of a single run with one process."""
    run = train_in(folder, "training.epochs=1", "training.accumulate=5", *overrides)
    return fingerprint(run)


def jobs_in(folder: Path) -> list[RunDir]:
    paths = folder.glob("outputs/multirun/*/*")
    return [RunDir(path) for path in sorted(paths) if (path / ".hydra").is_dir()]


def processes(run: RunDir) -> int:
    return read_json(run.provenance)["processes"]["count"]


def first_with_checkpoint(folder: Path) -> Path | None:
    found = sorted(folder.glob("outputs/multirun/*/*/checkpoints/step_*"))
    return found[0].parents[1].resolve() if found else None


def test_a_finished_job_is_not_trained_again_with_other_processes(tmp_path):
    run = train_in(tmp_path, "training.epochs=1", "training.accumulate=3")
    config, resolved = configure("training.epochs=1", "training.accumulate=3")
    training = replace(config.training, processes=3, process_timeout=60.0)
    again = replace(config, training=training)
    assert jobs.job_folder(tmp_path, "0", again) == jobs.job_folder(
        tmp_path, "0", config
    )

    def refuse(*arguments):
        raise AssertionError("trains again")

    assert jobs.run_once(refuse, again, run, resolved) is not None


@pytest.mark.proof
def test_processes_of_joblib_jobs_share_the_threads_of_their_job(tmp_path):
    sweep = start(
        tmp_path,
        *(*JOBS, "launcher=joblib", "training.processes=3", "seed=1,2"),
        "training.threads=null",
        # joblib gives each job these numbers, on a machine with fewer cores, too.
        OMP_NUM_THREADS="6",
        MKL_NUM_THREADS="6",
        MKL_DYNAMIC="FALSE",
    )
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, output

    runs = jobs_in(tmp_path)
    assert [processes(run) for run in runs] == [3, 3]
    assert [read_json(run.provenance)["threads"] for run in runs] == [2, 2]
    assert [fingerprint(run) for run in runs] == [
        alone(tmp_path / seed, "training.threads=2", f"seed={seed}") for seed in "12"
    ]


@pytest.mark.proof
@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_job_has_one_folder_and_one_log_for_all_its_processes(launcher, tmp_path):
    if launcher == "submitit_local":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    both = {}
    for number in ("1", "3"):
        folder = tmp_path / number
        folder.mkdir()
        sweep = start(
            folder,
            *(*JOBS, f"launcher={launcher}", f"training.processes={number}"),
            "seed=1,2",
        )
        output, _ = sweep.communicate(timeout=500)
        assert sweep.returncode == 0, output
        both[number] = jobs_in(folder)
        assert [processes(run) for run in both[number]] == [int(number)] * 2
    assert [fingerprint(run) for run in both["3"]] == [
        fingerprint(run) for run in both["1"]
    ]
    for one, three in zip(both["1"], both["3"], strict=True):
        assert one.path.name == three.path.name
        assert files_in(one.path) == files_in(three.path)
        assert without_times(one) == without_times(three)


def files_in(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def without_times(run: RunDir) -> list[str]:
    """The lines of a log, without the time and the number of processes."""
    lines = run.log.read_text().splitlines()
    return [line.partition("] ")[2] for line in lines if "process" not in line]


@pytest.mark.proof
def test_a_sweep_over_the_number_of_processes_trains_once(tmp_path):
    sweep = start(tmp_path, *JOBS, "training.processes=1,2,3")
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, output
    assert output.count("finished already") == 2
    assert len(jobs_in(tmp_path)) == 1


@pytest.mark.proof
@needs_proc
def test_a_job_whose_process_is_killed_names_it_and_resumes(tmp_path):
    sweep = start(tmp_path, *JOBS, *THREE, "training.epochs=20", "seed=1,2")
    job = wait_for(lambda: first_with_checkpoint(tmp_path), sweep)
    os.kill(followers_of(trainer_of(job))[-1], signal.SIGKILL)
    output, _ = sweep.communicate(timeout=500)

    assert sweep.returncode == 1, output
    assert "1 of 2 jobs did not finish" in output
    failed = read_json(RunDir(job).results)
    assert failed["status"] == "failed"
    assert "was killed by SIGKILL; memory may have run out" in failed["error"]
    assert output.count("was killed by SIGKILL") <= 2  # the log, the table


@pytest.mark.proof
@needs_proc
def test_a_submitted_job_that_gets_sigterm_writes_a_checkpoint_and_resumes(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = ("launcher=submitit_local", *THREE, "training.epochs=4")
    sweep = start(tmp_path, *JOBS, *arguments, "training.checkpoint_every=1000")
    job = wait_for(lambda: first_in_training(tmp_path), sweep)
    os.kill(launcher_of(trainer_of(job)), signal.SIGTERM)
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 1, output
    assert read_json(RunDir(job).results)["status"] == "interrupted"
    assert len(list(RunDir(job).checkpoints.glob("step_*"))) == 1

    sweep = start(tmp_path, "sweep=resume")
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, output
    assert "resuming at step" in RunDir(job).log.read_text()
    assert fingerprint(RunDir(job)) == alone(tmp_path / "alone", "training.epochs=4")


def first_in_training(folder: Path) -> Path | None:
    for log in sorted(folder.glob("outputs/multirun/*/*/steps.jsonl")):
        if log.read_text().count("\n") > 1:
            return log.parent.resolve()
    return None


def launcher_of(trainer: int) -> int:
    """The process that waits for a job: the parent of the server that forked it."""
    return parent(parent(trainer))
