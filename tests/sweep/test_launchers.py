"""With every launcher, a job that fails or is killed does not affect other jobs."""

import multiprocessing
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from launching import SMALL, start, trainer_of
from preloaded import python
from runs import configure, fingerprint, train_in

from ostinato.config import plugins
from ostinato.run_dir import RunDir, read_json
from ostinato.sweep.worker import train_in_subprocess

PLUGINS = {
    "basic": "hydra",
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="finds the process to kill in /proc"
)
@pytest.mark.proof
@pytest.mark.parametrize("launcher", PLUGINS)
def test_the_other_jobs_finish_if_one_fails_and_one_is_killed(launcher, tmp_path):
    plugin = PLUGINS[launcher]
    if find_spec(plugin.split(".")[0]) is None or find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    threads = None if launcher == "joblib" else "1"
    sweep = start(
        tmp_path,
        *(
            "-m",
            f"launcher={launcher}",
            *SMALL,
            "training.lr=1e-2,1e38,2e-2,3e-2",
        ),
        OSTINATO_CACHE=str(tmp_path / "cache"),
        OMP_NUM_THREADS=threads,
    )
    killed = None
    while killed is None:
        assert sweep.poll() is None, sweep.stdout.read()
        jobs = [job.resolve() for job in tmp_path.glob("outputs/multirun/*/2_*")]
        killed = trainer_of(jobs[0]) if jobs else None
        time.sleep(0.005)
    os.kill(killed, signal.SIGKILL)
    output, _ = sweep.communicate(timeout=200)

    assert sweep.returncode == 1, output
    assert "2 of 4 jobs did not finish" in output
    results = {
        path.parent.name[0]: read_json(path)
        for path in tmp_path.glob("outputs/*/*/*/results.json")
    }
    failed = {
        number: result["error"]
        for number, result in results.items()
        if result["status"] != "finished"
    }
    assert sorted(results) == list("0123")
    assert sorted(failed) == ["1", "2"]
    assert "lower training.lr" in failed["1"]
    assert failed["2"].startswith("killed by SIGKILL")
    assert len(list((tmp_path / "cache" / "tokens").glob("*.arrow"))) == 3, (
        "three splits, tokenised once for all jobs"
    )
    if launcher == "joblib":
        import joblib

        used = {
            read_json(path)["threads"]
            for path in tmp_path.glob("outputs/*/*/*/provenance.json")
        }
        assert used == {max(joblib.cpu_count() // 2, 1)}, (
            "two jobs at once share the cores"
        )


def train_job(folder: Path, *overrides: str) -> RunDir:
    multiprocessing.set_executable(python())  # starts the fork server
    config, resolved = configure(*overrides)
    folder.mkdir()
    train_in_subprocess(config, RunDir(folder), resolved, {"version": 1})
    return RunDir(folder)


@pytest.mark.slow
def test_a_job_computes_the_same_as_a_single_run_after_any_other_job(tmp_path):
    alone = fingerprint(train_in(tmp_path / "alone", "training.epochs=1"))
    train_job(
        tmp_path / "before",
        "training.epochs=1",
        "seed=7",
        "training.label_smoothing=0.1",
    )
    assert fingerprint(train_job(tmp_path / "job", "training.epochs=1")) == alone


@pytest.mark.slow
def test_a_job_that_gets_sigterm_writes_a_checkpoint_and_ends_the_sweep(tmp_path):
    options = ("-m", *SMALL, "training.epochs=500", "seed=1,2")
    sweep = start(tmp_path, *options, program=python())
    while not list(tmp_path.glob("outputs/multirun/*/*/checkpoints/step_*")):
        assert sweep.poll() is None, sweep.stdout.read()
        time.sleep(0.01)
    sweep.send_signal(signal.SIGTERM)
    output, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 128 + signal.SIGTERM, output
    (job,) = (path for path in tmp_path.glob("outputs/multirun/*/*") if path.is_dir())
    assert read_json(RunDir(job).results)["status"] == "interrupted"
    assert "1 of 1 jobs did not finish" in output


@pytest.mark.slow
def test_a_job_that_fails_records_its_own_reason(tmp_path):
    failed = train_job(tmp_path / "job", "training.lr=1e38")
    assert "lower training.lr" in read_json(failed.results)["error"]


@pytest.mark.parametrize(
    ("group", "option"),
    [("launcher", "joblib"), ("launcher", "slurm"), ("search", "optuna")],
)
def test_a_missing_plugin_is_reported_with_its_extra(monkeypatch, group, option):
    assert plugins.missing_plugin(group, "basic") is None
    monkeypatch.setattr(plugins, "find_spec", lambda name: None)
    found = plugins.missing_plugin(group, option)
    assert found == f"{group}={option}: needs pip install 'ostinato[{option}]'"
    assert plugins.missing_plugin("model", option) is None
