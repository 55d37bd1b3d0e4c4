"""A sweep always ends with a table, and the same command completes a killed sweep."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from preloaded import python

from ostinato.errors import ConfigError
from ostinato.run_dir import RunDir, read_json
from ostinato.sweep import sweep

ROOT = Path(__file__).parents[2]
# Two of four jobs diverge. The first step is saved, so that a killed job can resume.
JOBS = [
    *(
        "-m",
        "experiment=debug",
        "tracker=jsonl",
        "data.limit_train=60",
        "data.limit_val=30",
        "data.limit_test=30",
    ),
    *("training.eval_every=4", "training.checkpoint_every=1", "training.log_every=1"),
    *("training.lr=1e-2,1e38", "seed=1,2"),
]

pytestmark = pytest.mark.slow


def start(folder, *arguments):
    command = [python(), str(ROOT / "scripts" / "train.py"), *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(folder, *arguments):
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def jobs_in(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def table(folder):
    return json.loads((folder / "sweep.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted sweep: its folder, exit code and output.

    Another sweep starts at the same moment.
    """
    place = tmp_path_factory.mktemp("whole")
    other = start(place, *JOBS, "training.epochs=1", "training.lr=1e-2", "seed=1")
    code, output = run(place, *JOBS)
    assert other.wait(200) == 0, other.stdout.read()
    sweeps = (place / "outputs" / "multirun").iterdir()
    folders = sorted(sweeps, key=lambda path: len(jobs_in(path)))
    # Each sweep has its own folder.
    assert [len(jobs_in(folder)) for folder in folders] == [1, 4]
    return folders[1], code, output


@pytest.mark.slow
def test_a_job_that_fails_is_listed_and_gives_exit_code_1_after_the_others(whole):
    folder, code, output = whole
    assert code == 1, output
    statuses = [read_json(RunDir(job).results)["status"] for job in jobs_in(folder)]
    assert sorted(statuses) == ["failed", "failed", "finished", "finished"]
    failed = [
        job
        for job in jobs_in(folder)
        if read_json(RunDir(job).results)["status"] == "failed"
    ]
    for job in failed:
        assert f"failed: {job.name} (training.lr=1e+38" in output
        assert "lower training.lr" in RunDir(job).log.read_text()
    assert "2 of 4 jobs did not finish" in output
    assert "Traceback" not in output
    assert [c["failed"] for c in table(folder)["configurations"]] == [0, 2]
    assert all((folder / f"sweep.{kind}").is_file() for kind in ("json", "md", "html"))


@pytest.mark.slow
def test_a_killed_sweep_resumes_to_the_same_table(whole, tmp_path):
    process = start(tmp_path, *JOBS)
    deadline = time.monotonic() + 120
    while not (
        half_way := [*tmp_path.glob("outputs/multirun/*/1_*/checkpoints/step_*")]
    ):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = half_way[0].parents[2]
    first, killed = jobs_in(folder)
    assert not RunDir(killed).results.exists()
    before = RunDir(first).results.stat().st_mtime_ns

    code, output = run(tmp_path, "sweep=resume")

    assert code == 1, output  # the two that diverge
    # It continues in the same folder, and the finished job does not run again.
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert RunDir(first).results.stat().st_mtime_ns == before
    assert "finished already" in output
    assert "resuming at step" in RunDir(killed).log.read_text()
    assert table(folder) == table(whole[0])
    assert {j.name for j in jobs_in(folder)} == {j.name for j in jobs_in(whole[0])}


@pytest.mark.proof
def test_a_changed_config_gives_a_new_job_and_keeps_the_old_one(whole):
    folder = whole[0]
    before = {
        job.name: RunDir(job).results.stat().st_mtime_ns for job in jobs_in(folder)
    }
    finished = [
        name
        for name in before
        if read_json(RunDir(folder / name).results)["status"] == "finished"
    ]
    changed = [argument for argument in JOBS if not argument.startswith("training.lr")]
    code, output = run(
        folder.parents[2],
        *changed,
        "training.lr=2e-2,1e-2",
        f"hydra.sweep.dir={folder}",
    )
    assert "finished already" in output
    new = [job for job in jobs_in(folder) if job.name not in before]
    assert [
        read_json(RunDir(job).results)["config"]["training"]["lr"] for job in new
    ] == [2e-2, 2e-2]
    assert all(
        RunDir(folder / name).results.stat().st_mtime_ns == before[name]
        for name in finished
    )
    # The two jobs that failed before still count.
    assert code == 1
    assert len(table(folder)["configurations"]) == 3


def test_the_newest_sweep_resumes_by_its_recorded_command_or_the_typed_one(tmp_path):
    for age, name in ((100, "old"), (1, "new"), (50, "middle")):
        record = tmp_path / name / "multirun.yaml"
        record.parent.mkdir()
        task = ["seed=1,2", f"name={name}"]
        recorded = {"overrides": {"task": task, "hydra": ["hydra.mode=MULTIRUN"]}}
        record.write_text(json.dumps({"hydra": recorded}))
        os.utime(record, (time.time() - age,) * 2)
    where = f"hydra.sweep.dir={tmp_path / 'new'}"
    assert sweep.resume_arguments(["sweep=resume"], tmp_path) == [
        "-m",
        "seed=1,2",
        "name=new",
        where,
    ]
    assert sweep.resume_arguments(["-m", "seed=1", "sweep=resume"], tmp_path) == [
        "-m",
        "seed=1",
        where,
    ]
    with pytest.raises(ConfigError, match="holds no sweep"):
        sweep.resume_arguments(["sweep=resume"], tmp_path / "nothing")
