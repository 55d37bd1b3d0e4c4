"""A path that no file can have is refused in one line, by whichever key it was typed."""

import subprocess
from pathlib import Path

import pytest
from preloaded import python
from runs import configure, train_in

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.comparison.page import check_folder
from ostinato.comparison.runs import find_runs
from ostinato.config import CrashTestConfig, ReproduceConfig
from ostinato.errors import ConfigError
from ostinato.inference.onnx_classifier import OnnxClassifier
from ostinato.proof.crash_test import crash_test
from ostinato.proof.reproduce import reproduce
from ostinato.record.overrides import for_run
from ostinato.run_dir import RunDir
from ostinato.storage.outputs import check_output

SCRIPTS = Path(__file__).parents[2] / "scripts"
LONG = "a" * 300
# Linux allows paths of 4,095 bytes, made of names of at most 255.
IMPOSSIBLE = [LONG, "a/" * 2_500 + "a", "nul\0character", "FILE/below"]


def crash(path):
    next(crash_test(CrashTestConfig(output=path), Path("train.py")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("run"), "training.epochs=1")


@pytest.mark.parametrize("path", IMPOSSIBLE)
@pytest.mark.parametrize(
    ("key", "function"),
    [
        ("run", load_run),
        ("run", RunDir.given),
        ("run", TextClassifier.load),
        ("run", OnnxClassifier.load),
        ("runs", lambda path: find_runs([path])),
        ("resume", lambda path: for_run(path, [])),
        ("output", lambda path: check_folder(Path(path))),
        ("output", lambda path: check_output(Path(f"{path}.json"), ".json", bool)),
        ("output", crash),
    ],
)
def test_an_impossible_path_is_refused_in_one_line(
    key, function, path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    with pytest.raises(ConfigError) as error:
        function(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{key}={path}")
    assert "is not a valid path" in problem
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize("path", IMPOSSIBLE)
def test_an_impossible_second_run_of_reproduce_is_refused(
    path, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    cfg = ReproduceConfig(run=str(run.path), against=path)
    with pytest.raises(ConfigError, match="is not a valid path"):
        reproduce(cfg, run, configure()[0])


def test_an_export_to_an_impossible_path_is_refused(run):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from ostinato.config import ExportConfig
    from ostinato.inference.onnx_export import export_onnx

    with pytest.raises(ConfigError, match="is not a valid path"):
        export_onnx(ExportConfig(output=LONG), run, configure()[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", f"run={LONG}"],
        pytest.param(["report", f"run={LONG}"], marks=pytest.mark.proof),
        pytest.param(
            ["predict", f"run={LONG}", "input=x.csv"], marks=pytest.mark.proof
        ),
        pytest.param(["compare", f"runs=[{LONG}]"], marks=pytest.mark.proof),
        ["train", "experiment=debug", f"hydra.run.dir={LONG}"],
        ["train", f"resume={LONG}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_with_a_long_path_prints_one_line(arguments, tmp_path):
    script, *overrides = arguments
    done = subprocess.run(
        [python(), str(SCRIPTS / f"{script}.py"), *overrides],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert LONG in done.stderr
    assert len(done.stderr.splitlines()) == 1
