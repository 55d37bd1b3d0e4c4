"""Pushing a run with the real client to a hub on this machine."""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from loopback_hub import TOKEN, Hub
from runs import train_in

from ostinato.cli import composition
from ostinato.cli.validation import to_config
from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.inference import hub_export

ROOT = Path(__file__).parents[2]
COMMIT = "0" * 40

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(monkeypatch):
    """Address of an empty hub that this process uses."""
    monkeypatch.setattr(Hub, "repositories", {})
    monkeypatch.setattr(Hub, "tokens", set())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", address)
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "*")
    composition.register_schemas()
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train_in(tmp_path_factory.mktemp("run"))


def push(run, *options):
    overrides = [f"run={run.path}", "format=hub", *options]
    with composition.hydra_composition():
        composed = composition.compose_command("export", overrides)
        config = to_config(composed, ExportConfig)
    return hub_export.push(config, run)


@pytest.mark.slow
def test_the_command_pushes_best_to_a_private_repository(run, hub):
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "*",
    }
    script = str(ROOT / "scripts" / "export.py")
    options = [f"run={run.path}", "format=hub", "repo=org/reuters"]
    done = subprocess.run(
        [sys.executable, script, *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub}/org/reuters/commit/{COMMIT}"
    repository = Hub.repositories["org/reuters"]
    assert repository["private"] is True
    files = {path.name: path.read_bytes() for path in run.best.iterdir()}
    assert repository["files"] == files
    assert {"README.md", "model.safetensors", "calibration.json"} <= set(files)
    assert Hub.tokens <= {f"Bearer {TOKEN}", ""}
    push(run, "repo=org/reuters")  # a second push raises no error


def test_a_public_repository_needs_private_false(run, hub):
    Hub.repositories["org/open"] = {"private": False, "files": {}}
    message = "repo=org/open: exists and is public; set private=false to push"
    with pytest.raises(ConfigError, match=message):
        push(run, "repo=org/open")
    assert not Hub.repositories["org/open"]["files"]
    push(run, "repo=org/open", "private=false")
    assert "model.safetensors" in Hub.repositories["org/open"]["files"]


@pytest.mark.parametrize("repo", ["org/reuters", "org/a/b"])
def test_a_refusal_of_the_hub_is_one_line_without_the_token(
    run, hub, monkeypatch, repo
):
    monkeypatch.setattr(Hub, "refusing", True)
    message = f"repo={repo}: could not be pushed to {hub}"
    with pytest.raises(ConfigError, match=message) as refused:
        push(run, f"repo={repo}")
    (line,) = refused.value.problems
    assert len(line.splitlines()) == 1
    assert TOKEN not in line


def test_an_unreachable_hub_is_one_line(run, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    message = r"could not be pushed to http://127\.0\.0\.1:9"
    with pytest.raises(ConfigError, match=message):
        push(run, "repo=org/reuters")


def test_nothing_is_sent_without_a_repository_or_a_token(run, hub, monkeypatch):
    with pytest.raises(ConfigError, match="repo is missing"):
        push(run)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        push(run, "repo=org/reuters")
    assert not Hub.repositories
