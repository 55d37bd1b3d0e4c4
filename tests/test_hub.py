"""Models of the hub, through the real download path: a loopback stand-in serves a tiny one under each preset's name."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig, AutoModel

from ostinato.config import ModelConfig
from ostinato.model import load_tokenizer

ROOT = Path(__file__).parents[1]
PRESETS = ["bert_base", "distilbert", "roberta_base", "modernbert_base", "deberta_v3_base", "multilingual"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZES = {
    "vocab_size": 200,
    "hidden_size": 32,
    "dim": 32,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 2,
    "n_heads": 2,
    "intermediate_size": 64,
    "hidden_dim": 64,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
TEXTS = ["it will rain tomorrow", "they scored a goal"]

pytestmark = pytest.mark.slow


def preset(name):
    return yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())["model"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks for: files by name and revision, and lists of them."""

    root: Path

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.split("?")[0].strip("/")
        api = re.fullmatch(r"api/models/(.+?)(?:/(revision|tree)/(\w+)(/.+)?)?", path)
        match = re.fullmatch(r"(.+)/resolve/(\w+)/(.+)", path)
        repository, revision = (api[1], api[3] or "main") if api else (match[1], match[2]) if match else ("", "")
        folder = self.root / repository
        if not folder.is_dir() or not repository:
            return self.refuse("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.refuse("RevisionNotFound")
        if api and api[4]:
            return self.refuse("EntryNotFound")  # these repositories have no subfolders
        files = sorted(p.name for p in folder.iterdir())
        if api and api[2] == "tree":
            listing = [{"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": "0" * 40} for f in files]
            return self.send(json.dumps(listing).encode(), body)
        if api:
            siblings = [{"rfilename": f} for f in files]
            return self.send(json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode(), body)
        if match[3] not in files:
            return self.refuse("EntryNotFound")
        return self.send((folder / match[3]).read_bytes(), body)

    def send(self, content, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def refuse(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Requests are no news."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The environment of a process whose hub is the stand-in."""
    root = tmp_path_factory.mktemp("hub")
    for name in PRESETS:
        model = preset(name)
        kind = model["architecture"]["model_type"]
        known = AutoConfig.for_model(kind).to_dict()
        rest = {k: v for k, v in model["architecture"].items() if k not in SIZES and k != "model_type"}
        config = AutoConfig.for_model(kind, **rest, **{k: v for k, v in SIZES.items() if k in known})
        tokenizer_of = ModelConfig(name=name, pretrained=False, max_length=16, architecture={"model_type": "bert"})
        AutoModel.from_config(config).save_pretrained(root / model["name"])
        load_tokenizer(tokenizer_of, TEXTS).save_pretrained(root / model["name"])
    Hub.root = root
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
    }
    server.shutdown()


def python(*arguments, environment, cwd):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_hub_preset_is_downloaded_and_gets_a_head(hub, tmp_path):
    names = {name: (preset(name)["name"], preset(name).get("attention", "sdpa")) for name in PRESETS}
    code = f"""
import torch
from ostinato.config import ModelConfig, Task
from ostinato.model import build_classifier, load_tokenizer
for preset, (name, attention) in {names!r}.items():
    cfg = ModelConfig(name=name, revision={COMMIT!r}, max_length=16, attention=attention)
    tokenizer = load_tokenizer(cfg, [])
    model = build_classifier(cfg, tokenizer, ["a", "b", "c"], Task.single_label, 7)
    again = build_classifier(cfg, tokenizer, ["a", "b", "c"], Task.single_label, 7)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))
    print(preset, tuple(model(**tokenizer({TEXTS!r}, padding=True, return_tensors="pt")).logits.shape))
"""
    done = python("-c", code, environment=hub, cwd=tmp_path)
    assert done.stdout.split("\n")[:-1] == [f"{name} (2, 3)" for name in PRESETS], done.stderr


def test_a_hub_preset_trains_and_what_cannot_be_found_is_said_in_one_line(hub, tmp_path):
    options = [
        "data=generated",
        "data.limit_train=16",
        "training.epochs=1",
        "model.max_length=16",
        "training.threads=1",
    ]
    train = str(ROOT / "scripts" / "train.py")
    done = python(train, "model=bert_base", *options, environment=hub, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/best/model.safetensors"))) == 1
    for wrong in ("model.name=nobody/nothing", "model.revision=feature"):
        done = python(train, "model=bert_base", wrong, *options, environment=hub, cwd=tmp_path)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "model.name=" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
