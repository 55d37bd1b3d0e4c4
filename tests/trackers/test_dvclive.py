"""DVCLive's files: a resumed run continues them, and DVC can read them."""

import subprocess

import pytest
from runs import train_in, train_until_killed
from tracked import from_dvclive, from_jsonl, without_speeds

from ostinato.run_dir import RunDir, read_config, read_json

pytest.importorskip("dvclive", reason="needs the extra dvclive")
YAML = pytest.importorskip("ruamel.yaml").YAML
CHOSEN = ("tracker=[jsonl,dvclive]", "training.log_every=1")


@pytest.mark.slow
def test_a_resumed_run_has_the_tables_of_an_uninterrupted_run(tmp_path, monkeypatch):
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    assert from_dvclive(run) == from_jsonl(run)
    whole = train_in(tmp_path / "whole", *options)
    written, expected = from_dvclive(run), from_dvclive(whole)
    assert without_speeds(written) == without_speeds(expected)


@pytest.mark.proof
@pytest.mark.slow
def test_a_new_run_in_a_used_folder_starts_new_tables(tmp_path):
    train_in(tmp_path, *CHOSEN)
    # Otherwise the second run is refused, because the folder holds a run.
    RunDir(tmp_path).config.unlink()
    run = train_in(tmp_path, *CHOSEN)
    assert from_dvclive(run) == from_jsonl(run)


@pytest.mark.slow
def test_config_last_values_and_plots_are_files(tmp_path):
    run = train_in(tmp_path, *CHOSEN)
    # DVC reads YAML 1.2, in which 1e-08 is a number.
    params = YAML(typ="safe").load(run.dvclive / "params.yaml")
    assert params["training"] == read_config(run)["training"]
    last = read_json(run.dvclive / "metrics.json")
    values = from_jsonl(run)
    assert last["test"]["accuracy"] == values["test/accuracy", last["step"]][-1]
    plot = run.dvclive / "plots" / "images" / "val" / "confusion_matrix.png"
    assert plot.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_git_repository_of_the_user_stays_unchanged(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("outputs/\n")
    # DVCLive looks for a repository in the current folder, and would create one.
    monkeypatch.chdir(tmp_path)
    train_in(tmp_path / "outputs" / "run", *CHOSEN)
    status = subprocess.run(
        ["git", "status", "--short"], check=True, capture_output=True, text=True
    ).stdout
    assert status == "?? .gitignore\n"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".git", ".gitignore", "outputs"}
