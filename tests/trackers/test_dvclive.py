"""DVCLive's files: continued by a resumed run, readable by DVC, and nothing done to the user's git."""

import subprocess

import pytest
from runs import train_in, train_until_killed
from tracked import from_dvclive, from_jsonl

from ostinato.run_dir import read_config, read_json

pytest.importorskip("dvclive", reason="needs the extra dvclive")
YAML = pytest.importorskip("ruamel.yaml").YAML
CHOSEN = ("tracker=[jsonl,dvclive]", "training.log_every=1")


@pytest.mark.slow
def test_a_resumed_run_leaves_the_tables_of_one_that_never_stopped(
    tmp_path, monkeypatch
):
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    assert from_dvclive(run) == from_jsonl(run)
    whole = train_in(tmp_path / "whole", *options)
    written, expected = from_dvclive(run), from_dvclive(whole)
    assert {at: v for at, v in written.items() if not at[0].endswith("_per_s")} == {
        at: v for at, v in expected.items() if not at[0].endswith("_per_s")
    }


@pytest.mark.slow
def test_a_new_run_in_a_used_folder_starts_new_tables(tmp_path):
    train_in(tmp_path, *CHOSEN)
    (
        tmp_path / "config.yaml"
    ).unlink()  # else the second run is refused in a folder that holds a run
    run = train_in(tmp_path, *CHOSEN)
    assert from_dvclive(run) == from_jsonl(run)


@pytest.mark.slow
def test_config_last_values_and_pictures_are_files(tmp_path):
    run = train_in(tmp_path, *CHOSEN)
    params = YAML(typ="safe").load(
        run.dvclive / "params.yaml"
    )  # YAML 1.2, as DVC reads it: 1e-08 is a number
    assert params["training"] == read_config(run)["training"]
    last = read_json(run.dvclive / "metrics.json")
    values = from_jsonl(run)
    assert last["test"]["accuracy"] == values["test/accuracy", last["step"]][-1]
    assert (
        run.dvclive / "plots" / "images" / "val" / "confusion_matrix.png"
    ).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_users_git_is_left_alone(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("outputs/\n")
    monkeypatch.chdir(
        tmp_path
    )  # DVCLive looks for a repository here, and would make one
    train_in(tmp_path / "outputs" / "run", *CHOSEN)
    status = subprocess.run(
        ["git", "status", "--short"], check=True, capture_output=True, text=True
    ).stdout
    assert status == "?? .gitignore\n"
    assert {path.name for path in tmp_path.iterdir()} == {
        ".git",
        ".gitignore",
        "outputs",
    }
