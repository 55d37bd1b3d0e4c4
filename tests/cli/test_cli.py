"""A user's mistakes: one line each, all at once, exit code 2, and no files written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from preloaded import python

from ostinato import config
from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.cli.schemas import SCHEMAS, reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    register_schemas()


def run(script, *arguments, cwd, **environment):
    return subprocess.run(
        [python(), str(ROOT / "scripts" / f"{script}.py"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.lrr=1", ["unknown key", "did you mean training.lr?"]),
        ("lr=1e-3", ["unknown key", "did you mean training.lr?"]),
        ("+training.foo=1", ["unknown key"]),
        ("training.lr=abc", ["must be a number"]),
        ("training.lr=-1", ["greater than 0"]),
        ("training.lr=nan", ["finite"]),
        ("training.batch_size=0", ["greater than 0"]),
        ("training.batch_size=2.5", ["whole number"]),
        ("training.schedule=linaer", ["one of", "linear", "did you mean linear?"]),
        ("training.warmup_ratio=1", ["less than 1"]),
        ("model.max_length=1", ["greater than or equal to 4"]),
        ("data.val_fraction=1.5", ["less than 1"]),
        ("model.pretrained=perhaps", ["true or false"]),
        ("model=minlm", ["unknown model", "did you mean minilm?"]),
        ("experiment=debg", ["unknown experiment", "did you mean debug?"]),
        ("tracker=[tensorbord]", ["unknown tracker", "did you mean tensorboard?"]),
        ("seed=-1", ["greater than or equal to 0"]),
        ("seed=1,2", ["add -m"]),
        ("training.lr", ["key=value"]),
        ("training.seed=${oc.env:OSTINATO_NOT_SET}", ["OSTINATO_NOT_SET"]),
        ("training.processes=0", ["must be auto, or an integer from 1 to 1024"]),
        ("training.processes=two", ["must be auto, or an integer from 1 to 1024"]),
        ("training.processes=3", ["use training.accumulate=3"]),
        ("training.gradient_checkpointing=yes please", ["true or false"]),
    ],
)
def test_each_mistake_is_one_line_with_the_key_as_typed_and_a_remedy(override, parts):
    problems = find_problems("train", [override], multirun=False)
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    assert override.split("=")[0].lstrip("+") in problems[0]
    for part in parts:
        assert part in problems[0]


def test_all_mistakes_are_reported_at_once():
    wrong = [
        "training.lrr=1",
        "training.lr=abc",
        "training.epochs=-1",
        "model=minlm",
        "training.schedule=x",
        "data=files",
    ]
    problems = find_problems("train", wrong, multirun=False)
    assert len(problems) == len(wrong)
    missing = [
        line for line in problems if line.startswith("data.train_path is missing")
    ]
    assert missing


def test_every_value_of_a_sweep_is_checked():
    problems = find_problems(
        "train", ["seed=1,2,-3", "training.lr=1e-5,oops"], multirun=True
    )
    assert len(problems) == 2
    assert "seed=-3" in problems[0]
    assert "oops" in problems[1]


@pytest.mark.parametrize(
    "good",
    [
        ["training.lr=3e-5"],
        ["training.seed=7"],
        ["seed=0"],
        ["experiment=debug", "training.epochs=5"],
        ["data=files", "data.train_path=a.csv", "data.val_path=b.csv"],
        ["tracker=jsonl"],
        ["tracker=[jsonl,tensorboard]"],
        [
            "model=bert_base",
            "model.pretrained=false",
            "+model.architecture.hidden_size=128",
        ],
        ["hydra.run.dir=/tmp/x"],
        ["training.early_stopping.patience=3", "training.max_grad_norm=null"],
    ],
)
def test_valid_overrides_have_no_problems(good):
    assert find_problems("train", good, multirun=False) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "group",
    ["model", "data", "training", "training/optimizer", "experiment", "tracker"],
)
def test_every_preset_composes(group):
    required = {"files": ["data.train_path=my.csv"], "hub": ["data.name=org/set"]}
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        option = "files" if "/data: files" in path.read_text() else path.stem
        overrides = [f"{group}={path.stem}", *required.get(option, [])]
        assert find_problems("train", overrides, multirun=False) == [], path


@pytest.mark.slow
def test_a_mistake_gives_exit_code_2_without_a_traceback_or_a_folder(tmp_path):
    done = run("train", "training.lrr=1", "training.lr=abc", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_command_reports_a_run_that_is_missing(tmp_path):
    done = run("evaluate", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("run is missing")
    done = run("evaluate", "run=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "run=nowhere: no such folder"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", SCHEMAS)
def test_help_documents_every_key(command, tmp_path):
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    for key, _, documentation in reference(command):
        assert key in done.stdout
        assert documentation in done.stdout
        assert documentation, key


def test_help_and_mistakes_do_not_import_torch():
    code = (
        "import sys; from ostinato.cli import composition, mistakes;"
        "composition.register_schemas();"
        "mistakes.find_problems('train', ['a=1'], False);"
        "print({'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_printed_configs_and_errors_show_references_instead_of_secrets(tmp_path):
    done = run(
        "train",
        "--cfg",
        "job",
        "--resolve",
        "model.revision=${oc.env:TOKEN}",
        "name=${model.revision}",
        cwd=tmp_path,
        TOKEN="s3cret",
    )
    assert done.returncode == 0
    assert "s3cret" not in done.stdout + done.stderr
    assert "${oc.env:TOKEN}" in done.stdout
    wrong = run(
        "train", "training.epochs=${oc.env:TOKEN}", cwd=tmp_path, TOKEN="s3cret"
    )
    assert wrong.returncode == 2
    assert "s3cret" not in wrong.stdout + wrong.stderr


@pytest.mark.slow
def test_the_env_file_of_the_project_is_read_and_never_printed(tmp_path):
    for part in ("src", "conf", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / part)
    command = [
        python(),
        tmp_path / "scripts" / "train.py",
        "name=${oc.env:OSTINATO_SECRET}",
    ]

    def output_of(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    missing = "Environment variable 'OSTINATO_SECRET' not found"
    assert missing in output_of("training.epochs=-1")
    (tmp_path / ".env").write_text("OSTINATO_SECRET=s3cret\n")
    assert output_of("training.epochs=-1").splitlines() == [
        "training.epochs=-1.0: must be greater than 0 (Number of epochs; fractions are allowed)",
        "name=${oc.env:OSTINATO_SECRET}: is part of the name of the run's folder, "
        "which others can see; write it without oc.env",
    ]
    shown = output_of("--cfg", "job", "--resolve")
    assert "name: ${oc.env:OSTINATO_SECRET}" in shown
    assert "s3cret" not in shown


def test_defaults_of_every_group_are_valid():
    config.TrainingConfig()
    with pytest.raises(ValueError, match=r"data\.name is missing"):
        config.DataConfig(source=config.Source.hub)
