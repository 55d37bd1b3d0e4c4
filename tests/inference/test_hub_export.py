"""Pushing a run to a hub: the real client, against a loopback stand-in that keeps what it is sent."""

import base64
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from preloaded import python
from runs import train_in

from ostinato.cli import composition
from ostinato.cli.validation import to_config
from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.inference import hub_export

ROOT = Path(__file__).parents[2]
TOKEN = "hf_made_up_for_this_test"

pytestmark = pytest.mark.slow


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories by name: whether private, and the files of the last commit; large files come by Git LFS."""

    repositories: ClassVar[dict[str, dict]] = {}
    objects: ClassVar[dict[str, bytes]] = {}
    tokens: ClassVar[set[str]] = set()
    refusing = False

    def do_GET(self):
        name = self.path.removeprefix("/api/models/").split("?")[0]
        repository = self.repositories.get(name)
        if repository is None:
            return self.reply({}, 404)
        return self.reply(
            {"id": name, "private": repository["private"], "siblings": []}
        )

    def do_POST(self):
        body = self.body()
        self.tokens.add(self.headers.get("Authorization", ""))
        if self.refusing:
            return self.reply({"error": "no write access"}, 403)
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self.reply(
                {
                    "objects": [
                        self.place(entry) for entry in json.loads(body)["objects"]
                    ]
                }
            )
        name, _, action = (
            self.path.removeprefix("/api/models/").partition("/main")[0].rpartition("/")
        )
        if action == "preupload":
            return self.reply(
                {"files": [self.mode(entry) for entry in json.loads(body)["files"]]}
            )
        assert action == "commit", self.path
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self):
        self.objects[self.path.rpartition("/")[2]] = self.body()
        self.reply({})

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        status = 409 if name in self.repositories else 200
        self.repositories.setdefault(
            name, {"private": asked.get("visibility") == "private", "files": {}}
        )
        self.reply({"url": f"{self.address()}/{name}", "name": name}, status)

    def mode(self, entry):
        lfs = entry["path"].endswith(".safetensors")
        return {
            "path": entry["path"],
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": False,
        }

    def place(self, entry):
        return entry | {
            "actions": {"upload": {"href": f"{self.address()}/objects/{entry['oid']}"}}
        }

    def commit(self, name, lines):
        files = self.repositories[name]["files"]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        commit = f"{self.address()}/{name}/commit/{'0' * 40}"
        self.reply({"success": True, "commitUrl": commit, "commitOid": "0" * 40})

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Requests are no news."""


@pytest.fixture
def hub(monkeypatch):
    """The address of an empty hub, which is this process's."""
    monkeypatch.setattr(Hub, "repositories", {})
    monkeypatch.setattr(Hub, "tokens", set())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": address,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
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
        config = to_config(
            composition.compose_command("export", overrides), ExportConfig
        )
    return hub_export.push(config, run)


@pytest.mark.slow
def test_the_hub_holds_best_as_it_is_and_privately(run, hub):
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "*",
    }
    command = [
        python(environment),
        str(ROOT / "scripts" / "export.py"),
        f"run={run.path}",
        "format=hub",
        "repo=org/reuters",
    ]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub}/org/reuters/commit/{'0' * 40}"
    repository = Hub.repositories["org/reuters"]
    assert repository["private"] is True
    assert repository["files"] == {
        path.name: path.read_bytes() for path in run.best.iterdir()
    }
    assert {"README.md", "model.safetensors", "calibration.json"} <= set(
        repository["files"]
    )
    assert Hub.tokens <= {f"Bearer {TOKEN}", ""}
    push(run, "repo=org/reuters")  # once more is no error


def test_a_public_repository_takes_a_run_only_when_told(run, hub):
    Hub.repositories["org/open"] = {"private": False, "files": {}}
    with pytest.raises(
        ConfigError,
        match="repo=org/open: is there and public; private=false pushes to it",
    ):
        push(run, "repo=org/open")
    assert not Hub.repositories["org/open"]["files"]
    push(run, "repo=org/open", "private=false")
    assert "model.safetensors" in Hub.repositories["org/open"]["files"]


@pytest.mark.parametrize("repo", ["org/reuters", "org/a/b"])
def test_what_a_hub_refuses_is_one_line_without_the_token(run, hub, monkeypatch, repo):
    monkeypatch.setattr(Hub, "refusing", True)
    with pytest.raises(
        ConfigError, match=f"repo={repo}: could not be pushed to {hub}"
    ) as refused:
        push(run, f"repo={repo}")
    (line,) = refused.value.problems
    assert len(line.splitlines()) == 1
    assert TOKEN not in line


def test_a_hub_that_is_away_is_one_line(run, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ConfigError, match=r"could not be pushed to http://127\.0\.0\.1:9"
    ):
        push(run, "repo=org/reuters")


def test_nothing_is_sent_without_a_repository_and_a_token(run, hub, monkeypatch):
    with pytest.raises(ConfigError, match="repo is missing"):
        push(run)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        push(run, "repo=org/reuters")
    assert not Hub.repositories
