"""A search averages seeds, survives a kill and uses validation data only.

Its best trial can be reproduced exactly.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from runs import configure

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.config import Task
from ostinato.run_dir import RunDir, read_json
from ostinato.sweep import search

ROOT = Path(__file__).parents[2]
SEARCH = [
    *("-m", "search=optuna", "search.num_seeds=2", "hydra.sweeper.n_trials=4"),
    *(
        "experiment=debug",
        "tracker=jsonl",
        "data.limit_train=60",
        "data.limit_val=30",
        "data.limit_test=30",
    ),
    *("training.lr=1e-2,1e38", "training.weight_decay=interval(0.0,0.1)"),
]


def start(project, *arguments):
    return subprocess.Popen(
        [sys.executable, str(project / "scripts" / "train.py"), *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, so that a preset can be added to its conf/."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    folder = tmp_path_factory.mktemp("project")
    for part in ("src", "conf", "scripts"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def whole(project):
    """An uninterrupted search: its folder and output."""
    process = start(project, *SEARCH, "hydra.sweep.dir=whole")
    output, _ = process.communicate(timeout=200)
    assert "best of" in output, output
    return project / "whole", output


def finished(folder):
    runs = {path.parent: read_json(path) for path in folder.glob("*/results.json")}
    return {
        path: result for path, result in runs.items() if result["status"] == "finished"
    }


def validation(result):
    """The monitored validation metric at the best step."""
    for evaluation in result["validation"]:
        if evaluation["step"] == result["best_step"]:
            return evaluation[result["monitor"]]
    raise AssertionError(f"no evaluation at step {result['best_step']}")


@pytest.mark.slow
def test_the_best_trial_has_the_best_mean_over_its_seeds(whole):
    folder, _ = whole
    trials = {}
    for result in finished(folder).values():
        training = result["config"]["training"]
        values = (training["lr"], training["weight_decay"])
        trials.setdefault(values, {})[training["seed"]] = validation(result)
    means = [
        sum(scores.values()) / 2
        for scores in trials.values()
        if set(scores) == {42, 43}
    ]
    assert len(means) == len(trials)
    by_optuna = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert by_optuna["best_value"] == max(means)
    found = search.best_trial(folder, 2)
    assert found.value == max(means)
    assert found.trials == len(trials)
    assert [run.seeds["seed"] for run in found.runs] == [42, 43]


@pytest.mark.slow
def test_a_search_continues_after_a_trial_that_fails(whole):
    folder, output = whole
    failed = [
        path
        for path in folder.glob("*/results.json")
        if path.parent not in finished(folder)
    ]
    assert failed, "choose ranges in which a trial fails"
    assert all("lower training.lr" in read_json(path)["error"] for path in failed)
    assert "Traceback" not in output
    assert (folder / "study.db").is_file()


@pytest.mark.slow
def test_the_preset_of_the_best_trial_reproduces_its_metrics_exactly(project, whole):
    folder, _ = whole
    first = RunDir(search.best_trial(folder, 2).runs[0].folder.path)
    shutil.copy(
        folder / "best_experiment.yaml", project / "conf" / "experiment" / "found.yaml"
    )
    process = start(project, "experiment=found", "hydra.run.dir=again")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    again, before = RunDir(project / "again"), first
    assert read_json(again.results)["val"] == read_json(before.results)["val"]
    assert (
        read_json(again.fingerprint)["best_weights"]
        == read_json(before.fingerprint)["best_weights"]
    )
    assert read_json(again.results)["name"] == "found"


@pytest.mark.slow
def test_the_same_command_completes_a_killed_search_with_the_same_result(
    project, whole
):
    process = start(project, *SEARCH, "hydra.sweep.dir=cut")
    while len(list(project.glob("cut/*/results.json"))) < 3:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in finished(project / "cut")}
    process = start(project, *SEARCH, "hydra.sweep.dir=cut")
    output, _ = process.communicate(timeout=200)
    assert "finished already" in output
    assert {path.name for path in finished(project / "cut")} == {
        path.name for path in finished(whole[0])
    }
    for path in before:
        # A finished run did not run again.
        assert (path / "train.log").read_text().count("majority class") == 2
    for name in ("optimization_results.yaml", "best_experiment.yaml", "sweep.json"):
        assert (project / "cut" / name).read_text() == (whole[0] / name).read_text()


def test_each_seed_has_a_folder_and_a_failure_ends_the_trial(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    config, resolved = configure("search=optuna", "search.num_seeds=3", "seed=5")
    first = RunDir(tmp_path / "0_debug_0123456789")
    hydra = first.path / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "hydra.yaml").write_text(
        "hydra: {mode: MULTIRUN, runtime: {choices: {model: tiny}}}"
    )
    (hydra / "overrides.yaml").write_text("[a=1]")
    seen = []

    def job(config, run, resolved):
        assert (
            resolved["seed"]
            == resolved["training"]["seed"]
            == config.seed
            == config.training.seed
        )
        seen.append(run)
        return None if config.seed == failing else float(config.seed)

    failing = None
    assert search.run_trial(job, config, first, resolved) == 6.0
    assert seen[0].path == first.path
    assert len({run.path for run in seen}) == 3
    assert all(
        run.path.parent == tmp_path and run.sweep.path == tmp_path for run in seen
    )
    assert seen[1].hydra_record.choices == {"model": "tiny"}
    assert yaml.safe_load((seen[1].path / ".hydra" / "overrides.yaml").read_text()) == [
        "a=1",
        "training.seed=6",
    ]
    failing = 6
    seen.clear()
    assert search.run_trial(job, config, first, resolved) is None
    assert len(seen) == 2


def test_the_direction_of_a_search_follows_the_metric():
    assert search.direction(None, Task.single_label) == "maximize"
    assert search.direction(None, Task.regression) == "minimize"
    assert search.direction("loss", Task.single_label) == "minimize"


@pytest.mark.parametrize(
    ("overrides", "multirun", "problem"),
    [
        (["search=optuna", "training.lr=1e-5"], False, "add -m"),
        (["search=optuna"], True, "needs a range to search"),
        (["search=optuna", "seed=1,2"], True, "search.num_seeds"),
        (["search=optuna", "training.lr=interval(-1,1)"], True, "greater than 0"),
        (["search=optuna", "training.lr=tag(log,interval(1e-5,nan))"], True, "finite"),
        (
            ["search=optna", "training.lr=interval(1e-5,1)"],
            True,
            "did you mean optuna?",
        ),
        (["search.num_seeds=2"], False, "add search=optuna"),
        (["search=optuna", "training.epochs=range(0,3)"], True, "greater than 0"),
        (
            [
                "search=optuna",
                "training.lr=tag(log,interval(1e-5,1e-3))",
                "search.num_seeds=0",
            ],
            True,
            "greater than 0",
        ),
    ],
)
def test_a_mistake_in_a_search_is_reported_in_one_line(overrides, multirun, problem):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    register_schemas()
    problems = find_problems("train", overrides, multirun)
    assert len(problems) == 1, problems
    assert problem in problems[0]
