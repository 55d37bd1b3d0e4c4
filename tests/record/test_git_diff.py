"""Provenance describes uncommitted changes and keeps their text only on request."""

import subprocess

import pytest
from planted import SECRET, files_with
from runs import train_in

from ostinato.record import provenance
from ostinato.run_dir import read_json


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The program's repository, with an uncommitted change that holds a secret."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments):
        author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        command = ["git", *author, "-C", str(folder), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init", "--quiet")
    (folder / "settings.py").write_text("password = None\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "x")
    (folder / "settings.py").write_text(f"password = '{SECRET}'\n")
    monkeypatch.setattr(provenance, "_GIT", (*provenance._GIT[:-1], str(folder)))
    return folder


def test_variables_and_settings_of_git_start_no_program(
    repository, monkeypatch, tmp_path
):
    marker = tmp_path / "marker"
    script = tmp_path / "program"
    script.write_text(f"#!/bin/sh\ntouch {marker}\n")
    script.chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(script))
    monkeypatch.setenv("GIT_CONFIG_KEY_1", "diff.external")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", str(script))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(script))
    with (repository / ".git" / "config").open("a") as config:
        config.write(f"[core]\nfsmonitor = {script}\n[diff]\nexternal = {script}\n")
    assert provenance._git()["diff"]["files"] == 1
    assert not marker.exists()


@pytest.mark.parametrize("changed", [True, False])
def test_the_digest_of_a_diff_depends_on_its_text(repository, changed):
    before = provenance._git()["diff"]
    if changed:
        (repository / "settings.py").write_text("other = 1\n")
    assert (provenance._git()["diff"] == before) != changed


def test_a_clean_repository_has_no_diff(repository):
    (repository / "settings.py").write_text("password = None\n")
    found = provenance._git(with_text=True)
    assert found["diff"] is None
    assert len(found["commit"]) == 40


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_a_run_keeps_the_text_of_uncommitted_changes_only_on_request(
    keep, repository, tmp_path, monkeypatch
):
    token = "hf_" + "a" * 40
    monkeypatch.setenv("HF_TOKEN", token)
    with (repository / "settings.py").open("a") as file:
        file.write(f"token = '{token}'\n")
    run = train_in(
        tmp_path / "run",
        f"provenance.diff={str(keep).lower()}",
        "training.epochs=1",
        "tracker=[jsonl,tensorboard]",
    )
    diff = read_json(run.provenance)["git"]["diff"]
    assert diff["files"] == 1
    assert diff.keys() == {"sha256", "files", *(["text"] if keep else [])}
    assert not keep or f"+password = '{SECRET}'" in diff["text"]
    assert (files_with(SECRET, run.path) != []) == keep
    assert files_with(token, run.path) == []
