"""A command replaces only its own files, and prints metrics before it writes them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from preloaded import python
from runs import configure, train_in

from ostinato.comparison.page import check_folder
from ostinato.config import CrashTestConfig, ReportConfig, ReproduceConfig
from ostinato.errors import ConfigError
from ostinato.proof.crash_test import crash_test
from ostinato.proof.reproduce import reproduce
from ostinato.report.page import report
from ostinato.run_dir import RunDir
from ostinato.storage.outputs import check_output, holds
from ostinato.sweep import search

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("run"))


def refused(output, function, *arguments):
    """Checks that an error of one line names the output, and that nothing changed."""
    before = {
        path: path.read_bytes()
        for path in [output, *output.rglob("*")]
        if path.is_file()
    }
    with pytest.raises(ConfigError) as error:
        function(*arguments)
    assert len(error.value.problems) == 1
    assert str(output) in str(error.value)
    assert {
        path: path.read_bytes()
        for path in [output, *output.rglob("*")]
        if path.is_file()
    } == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["notes.txt", "notes.html"])
def test_a_report_replaces_only_a_report(run, tmp_path, name):
    (tmp_path / name).write_text("<html>mine</html>")
    output = tmp_path / name
    refused(
        output,
        report,
        ReportConfig(run=str(run.path), output=str(output)),
        run,
        configure()[0],
    )


@pytest.mark.slow
def test_a_report_replaces_an_earlier_report(run, tmp_path):
    cfg = ReportConfig(run=str(run.path), output=str(tmp_path / "r.html"))
    assert (
        report(cfg, run, configure()[0])
        == report(cfg, run, configure()[0])
        == tmp_path / "r.html"
    )


def test_a_crash_test_refuses_a_folder_that_it_did_not_make(tmp_path):
    folder = tmp_path / "thesis"
    (folder / "undisturbed").mkdir(parents=True)
    (folder / "undisturbed" / "chapter.tex").write_text("years of work")
    cfg = CrashTestConfig(output=str(folder))
    refused(folder, next, crash_test(cfg, ROOT / "scripts" / "train.py"))


def test_a_crash_test_keeps_other_files_in_its_own_folder(tmp_path):
    fails = tmp_path / "fails.py"
    fails.write_text("raise SystemExit(1)")
    folder = tmp_path / "crash"
    for _ in range(2):  # the second time, the command owns the folder
        with pytest.raises(ConfigError, match="training ended with exit code 1"):
            next(crash_test(CrashTestConfig(output=str(folder)), fails))
        (folder / "notes.txt").write_text("mine")
        (folder / "undisturbed").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match="training ended"):
        next(crash_test(CrashTestConfig(output=str(folder)), fails))
    assert not (folder / "undisturbed").exists()
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["mine", "[]", '{"name": "package", "version": "1"}']
)
def test_metrics_replace_only_metrics(tmp_path, content):
    output = tmp_path / "package.json"
    output.write_text(content)
    refused(output, check_output, output, ".json", holds("num_rows", "majority"))
    refused(
        tmp_path / "f.txt", check_output, tmp_path / "f.txt", ".json", holds("num_rows")
    )
    (tmp_path / "folder.json").mkdir()
    refused(
        tmp_path / "folder.json",
        check_output,
        tmp_path / "folder.json",
        ".json",
        holds("num_rows"),
    )
    output.write_text('{"num_rows": 3, "majority": {}}')
    check_output(output, ".json", holds("num_rows", "majority"))
    check_output(tmp_path / "new.json", ".json", holds("num_rows"))


@pytest.mark.parametrize("name", ["compare.md", "compare.html", "compare.json"])
def test_a_comparison_replaces_only_a_comparison(tmp_path, name):
    (tmp_path / name).write_text("mine")
    refused(tmp_path, check_folder, tmp_path)
    refused(tmp_path / name, check_folder, tmp_path / name)


def test_the_output_of_a_second_run_must_be_a_folder(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    cfg = ReproduceConfig(run=str(run.path), output=str(tmp_path / "file"))
    refused(tmp_path / "file", reproduce, cfg, run, configure()[0])


def test_a_search_replaces_only_its_own_preset(tmp_path, monkeypatch, capsys):
    preset = tmp_path / "best_experiment.yaml"
    preset.write_text("mine: true\n")
    monkeypatch.setattr(search, "best_trial", lambda *arguments: object())
    search.report_best(tmp_path, 1)
    assert preset.read_text() == "mine: true\n"
    assert f"{preset}: was not written by a search" in capsys.readouterr().err


@pytest.mark.slow
def test_metrics_are_printed_if_the_output_cannot_be_written(run, tmp_path):
    script, output = (
        ROOT / "scripts" / "evaluate.py",
        tmp_path / "missing" / "metrics.json",
    )
    command = [python(), script, f"run={run.path}", f"output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["num_rows"] == 30
    assert "Traceback" not in done.stderr
    assert (
        f"output={output}: cannot be written (No such file or directory)" in done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "output", ["folder.json", pytest.param("metrics.txt", marks=pytest.mark.proof)]
)
def test_a_wrong_output_is_refused_before_anything_is_computed(run, tmp_path, output):
    """The folder has no weights, which an evaluation would report."""
    shutil.copy(run.config, tmp_path)
    (tmp_path / "folder.json").mkdir()
    script = ROOT / "scripts" / "evaluate.py"
    command = [python(), script, f"run={tmp_path}", f"output={tmp_path / output}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"output={tmp_path / output}: " in line


def test_an_export_replaces_only_an_export(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from ostinato.config import ExportConfig
    from ostinato.inference.onnx_export import export_onnx

    folder = tmp_path / "model"
    shutil.copytree(run.best, folder)
    (folder / "model.safetensors").unlink()
    (folder / "export.json").write_text("{}")
    (folder / "README.md").write_text("mine")
    cfg = ExportConfig(run=str(run.path), output=str(folder))
    refused(folder, export_onnx, cfg, RunDir(run.path), configure()[0])
