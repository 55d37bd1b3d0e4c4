"""Pushing a run to a hub: the real client, against a loopback stand-in that keeps what it is sent."""

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from runs import train_in

ROOT = Path(__file__).parents[1]
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
        return self.reply({"id": name, "private": repository["private"], "siblings": []})

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
            return self.reply({"objects": [self.place(entry) for entry in json.loads(body)["objects"]]})
        name, _, action = self.path.removeprefix("/api/models/").partition("/main")[0].rpartition("/")
        if action == "preupload":
            return self.reply({"files": [self.mode(entry) for entry in json.loads(body)["files"]]})
        assert action == "commit", self.path
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self):
        self.objects[self.path.rpartition("/")[2]] = self.body()
        self.reply({})

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        status = 409 if name in self.repositories else 200
        self.repositories.setdefault(name, {"private": asked.get("visibility") == "private", "files": {}})
        self.reply({"url": f"{self.address()}/{name}", "name": name}, status)

    def mode(self, entry):
        lfs = entry["path"].endswith(".safetensors")
        return {"path": entry["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}

    def place(self, entry):
        return entry | {"actions": {"upload": {"href": f"{self.address()}/objects/{entry['oid']}"}}}

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
    """The address of an empty hub."""
    monkeypatch.setattr(Hub, "repositories", {})
    monkeypatch.setattr(Hub, "tokens", set())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train_in(tmp_path_factory.mktemp("run"))


def push(run, address, *options, token=TOKEN):
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"no_proxy": "*", "HF_HOME": str(run.path / "home")} | ({"HF_TOKEN": token} if token else {})
    command = [sys.executable, str(ROOT / "scripts" / "export.py"), f"run={run.path}", "format=hub", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def assert_refused(done, said):
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert said in line
    assert TOKEN not in line


def test_the_hub_holds_best_as_it_is_and_privately(run, hub):
    done = push(run, hub, "repo=org/reuters")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub}/org/reuters/commit/{'0' * 40}"
    repository = Hub.repositories["org/reuters"]
    assert repository["private"] is True
    assert repository["files"] == {path.name: path.read_bytes() for path in run.best.iterdir()}
    assert {"README.md", "model.safetensors", "calibration.json"} <= set(repository["files"])
    assert Hub.tokens <= {f"Bearer {TOKEN}", ""}
    assert push(run, hub, "repo=org/reuters").returncode == 0  # once more is no error


def test_a_public_repository_takes_a_run_only_when_told(run, hub):
    Hub.repositories["org/open"] = {"private": False, "files": {}}
    assert_refused(push(run, hub, "repo=org/open"), "repo=org/open: is there and public; private=false pushes to it")
    assert not Hub.repositories["org/open"]["files"]
    assert push(run, hub, "repo=org/open", "private=false").returncode == 0
    assert "model.safetensors" in Hub.repositories["org/open"]["files"]


def test_what_a_hub_refuses_is_one_line(run, hub, monkeypatch):
    monkeypatch.setattr(Hub, "refusing", True)
    assert_refused(push(run, hub, "repo=org/reuters"), f"repo=org/reuters: could not be pushed to {hub} (")
    assert_refused(push(run, "http://127.0.0.1:9", "repo=org/reuters"), "could not be pushed")
    assert_refused(push(run, hub, "repo=org/a/b"), "repo=org/a/b: could not be pushed")


def test_nothing_is_sent_without_a_repository_and_a_token(run, hub):
    assert_refused(push(run, hub), "repo is missing")
    assert_refused(push(run, hub, "repo=org/reuters", token=None), "HF_TOKEN is not set")
    assert not Hub.repositories
