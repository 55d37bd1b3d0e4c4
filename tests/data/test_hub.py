"""Models and data sets of the Hub are downloaded from a local server with tiny ones."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hub import COMMIT, TEXTS, Hub, serving, write_model, write_sentiment
from preloaded import python

ROOT = Path(__file__).parents[2]
PRESETS = [
    "bert_base",
    "distilbert",
    "roberta_base",
    "modernbert_base",
    "ettin_150m",
    "mmbert_base",
    "deberta_v3_small",
    "deberta_v3_base",
    "deberta_v3_large",
    "electra_base",
    "electra_large",
    "multilingual",
    "xlm_roberta_large",
    "albert_base",
    "camembert_base",
    "qwen3_0_6b",
    "llama3_2_1b",
    "smollm2_135m",
]
SHORT = ["bert_base", "modernbert_base", "deberta_v3_base", "qwen3_0_6b"]
QUICK = (
    "training.epochs=1",
    "training.threads=1",
    "training.device=cpu",
    "model.max_length=16",
)

pytestmark = pytest.mark.slow


def preset(name):
    return yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())[
        "model"
    ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The environment of a process that uses the local server as the Hub."""
    root = tmp_path_factory.mktemp("hub")
    for name in PRESETS:
        write_model(
            root / "models" / preset(name)["name"], preset(name)["architecture"]
        )
    write_sentiment(root / "datasets" / "stanfordnlp" / "sst2")
    with serving(root) as variables:
        yield {
            **os.environ,
            **variables,
            "HF_HOME": str(tmp_path_factory.mktemp("home")),
        }


def run_python(*arguments, environment, cwd):
    return subprocess.run(
        [python(environment), *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(*overrides, environment, cwd):
    return run_python(
        str(ROOT / "scripts" / "train.py"),
        *QUICK,
        *overrides,
        environment=environment,
        cwd=cwd,
    )


def assert_refused(done, cwd, *parts):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = (
        line for line in done.stdout.splitlines() if "could not be loaded" in line
    )
    assert all(part in line for part in parts)
    assert not list(cwd.glob("outputs/*/*/best"))


LOAD = """
import sys, torch
from ostinato.config import ModelConfig, Task
from ostinato.model.build import build_classifier, load_tokenizer
revision, *texts = sys.argv[1:4]
for argument in sys.argv[4:]:
    preset, name, attention = argument.split()
    cfg = ModelConfig(name=name, revision=revision, max_length=16, attention=attention)
    tokenizer = load_tokenizer(cfg, [])
    assert tokenizer.unk_token_id not in tokenizer(texts[0]).input_ids
    model = build_classifier(cfg, tokenizer, ["a", "b", "c"], Task.single_label, 7).eval()
    again = build_classifier(cfg, tokenizer, ["a", "b", "c"], Task.single_label, 7)
    assert all(torch.equal(p, q) and p.dtype is torch.float32 for p, q in zip(model.parameters(), again.parameters()))
    together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    assert (together - alone).abs().max() <= 1e-4 * alone.abs().max()  # padding is ignored
    print(preset, tuple(together.shape))
"""


@pytest.mark.parametrize(
    "names", [SHORT, pytest.param(PRESETS, marks=pytest.mark.proof)], ids=len
)
def test_every_hub_preset_is_downloaded_and_gets_a_head(names, hub, tmp_path):
    presets = [
        f"{name} {preset(name)['name']} {preset(name).get('attention', 'sdpa')}"
        for name in names
    ]
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    done = run_python(script, COMMIT, *TEXTS, *presets, environment=hub, cwd=tmp_path)
    assert done.stdout.splitlines() == [f"{name} (2, 3)" for name in names], done.stderr
    # For weights that are not safetensors, transformers can ask a third party to
    # convert them, and looks for its pull request. The program must prevent this.
    for request in Hub.requests:
        assert "/commits/" not in request
        assert "/discussions" not in request


@pytest.mark.slow
def test_a_hub_preset_trains_on_a_data_set_of_the_hub(hub, tmp_path):
    done = train("model=bert_base", "data=sst2", environment=hub, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "http" not in done.stdout + done.stderr  # requests are not logged
    (results,) = tmp_path.glob("outputs/*/*/results.json")
    results = yaml.safe_load(results.read_text())
    assert results["labels"] == ["negative", "positive"]
    assert results["val"]["num_rows"] == 12
    assert "test" not in results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("data=generated", "model.name=nobody/nothing"),
            "model.name=nobody/nothing: could not be loaded",
        ),
        (("data=generated", "model.revision=feature"), "feature"),
        (("data=sst2", "data.revision=feature"), "data.name=stanfordnlp/sst2: "),
    ],
)
def test_an_error_of_one_line_names_what_the_hub_lacks(
    hub, tmp_path, overrides, message
):
    done = train("model=bert_base", *overrides, environment=hub, cwd=tmp_path)
    assert_refused(done, tmp_path, message)


def test_an_adapter_on_the_hub_is_refused_before_its_base_is_loaded(hub, tmp_path):
    folder = Hub.root / "models" / "evil" / "adapter"
    write_model(folder, preset("bert_base")["architecture"])
    base = preset("distilbert")["name"]
    record = json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"})
    (folder / "adapter_config.json").write_text(record)
    Hub.requests.clear()
    options = ("model=bert_base", "model.name=evil/adapter", "data=generated")
    done = train(*options, environment=hub, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "evil/adapter:" in line)
    assert "contains an adapter, not a model" in line
    assert not [request for request in Hub.requests if base in request]


@pytest.mark.proof
def test_a_decoder_preset_trains_an_adapter_and_records_the_commit(hub, tmp_path):
    pytest.importorskip("peft", reason="needs the extra peft")
    folder = ("hydra.run.dir=run", "data=sst2", "tracker=jsonl")
    done = train("model=qwen3_0_6b", *folder, environment=hub, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    base = json.loads((tmp_path / "run" / "provenance.json").read_text())["base"]
    assert (base["name"], base["revision"]) == (preset("qwen3_0_6b")["name"], COMMIT)
    record = tmp_path / "run" / "best" / "adapter_config.json"
    assert json.loads(record.read_text())["revision"] == COMMIT
    script = str(ROOT / "scripts" / "evaluate.py")
    done = run_python(script, "run=run", "split=val", environment=hub, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert json.loads(done.stdout) == results["val"]
