"""A model folder gives its weights and nothing else: its code never runs, its faults are one line each."""

import json
import os
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from families import family
from test_model import TEXTS, TINY
from transformers import BertForSequenceClassification, RobertaForSequenceClassification

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.inference.classifier import TextClassifier
from ostinato.model.build import build_classifier, load_tokenizer, save_classifier

LABELS = ("rain", "goal")


def build(folder, labels=LABELS, seed=7, **changes):
    """The classifier that a run with these labels starts from."""
    cfg = ModelConfig(name=str(folder), max_length=32, **changes)
    return build_classifier(
        cfg, load_tokenizer(cfg, TEXTS), labels, Task.single_label, seed
    )


@pytest.fixture
def folder(tmp_path):
    """A trained classifier of two labels."""
    cfg = ModelConfig(**TINY)
    tokenizer = load_tokenizer(cfg, TEXTS)
    save_classifier(
        build_classifier(cfg, tokenizer, LABELS, Task.single_label, 1),
        tokenizer,
        tmp_path / "model",
    )
    return tmp_path / "model"


def saved_head(folder):
    return BertForSequenceClassification.from_pretrained(folder).classifier.weight


def test_a_head_of_the_same_labels_is_kept(folder):
    for head in (Head.auto, Head.keep):
        assert torch.equal(
            build(folder, head=head).classifier.weight, saved_head(folder)
        )


@pytest.mark.parametrize(
    "labels", [("goal", "rain"), ("x", "y"), ("rain", "goal", "snow")]
)
def test_a_head_of_other_labels_is_new_and_a_function_of_the_head_seed_alone(
    folder, labels
):
    bare = folder.parent / "bare"
    shutil.copytree(folder, bare)
    BertForSequenceClassification.from_pretrained(folder).base_model.save_pretrained(
        bare
    )
    first, again, other = (
        build(folder, labels),
        build(folder, labels),
        build(folder, labels, seed=8),
    )
    without = build(bare, labels)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        assert torch.equal(parameter, without.get_parameter(name)), name
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(
        first.base_model.pooler.dense.weight, other.base_model.pooler.dense.weight
    )
    with pytest.raises(ConfigError, match=r"^model\.head=keep: .* other labels"):
        build(folder, labels, head=Head.keep)


def test_a_new_head_replaces_a_head_of_the_same_labels(folder):
    assert not torch.equal(
        build(folder, head=Head.new).classifier.weight, saved_head(folder)
    )


def test_default_label_names_are_not_the_labels_of_a_run(folder):
    config = json.loads((folder / "config.json").read_text())
    names = ("LABEL_0", "LABEL_1")
    config |= {
        "id2label": dict(enumerate(names)),
        "label2id": {n: i for i, n in enumerate(names)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert not torch.equal(build(folder, names).classifier.weight, saved_head(folder))


HOSTILE = (
    "import pathlib\npathlib.Path({marker!r}).write_text('ran')\nclass Mine: pass\n"
)
AUTO_MAP = {
    "AutoConfig": "mine.Mine",
    "AutoModelForSequenceClassification": "mine.Mine",
    "AutoTokenizer": ["mine.Mine", None],
}


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("known_type", [True, False])
def test_code_of_a_folder_never_runs(folder, file, known_type, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    marker = folder / "marker"
    (folder / "mine.py").write_text(HOSTILE.format(marker=str(marker)))
    content = json.loads((folder / file).read_text()) | {"auto_map": AUTO_MAP}
    if not known_type:
        content |= (
            {"model_type": "mine"}
            if file == "config.json"
            else {"tokenizer_class": "Mine"}
        )
    (folder / file).write_text(json.dumps(content))
    for attempt in (lambda: build(folder), lambda: TextClassifier.load(folder, "cpu")):
        with suppress(ConfigError):  # a known type loads without the code
            attempt()
    assert not marker.exists()


class _Runs:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def test_a_pickle_runs_no_code(folder):
    (folder / "model.safetensors").unlink()
    marker = folder / "marker"
    torch.save(
        {"classifier.weight": _Runs(marker)},
        folder / "pytorch_model.bin",
        pickle_module=pickle,
    )
    with pytest.raises(
        ConfigError, match=r"^model\.name=.*could not be loaded"
    ) as error:
        build(folder)
    assert "\n" not in str(error.value)
    assert not marker.exists()


DAMAGE = {
    "config that is no JSON": ("config.json", b"{"),
    "config that is a list": ("config.json", b"[]"),
    "config without a type": ("config.json", b"{}"),
    "garbage weights": ("model.safetensors", b"garbage" * 99),
    "empty weights": ("model.safetensors", b""),
    "no weights": ("model.safetensors", None),
    "garbage tokenizer": ("tokenizer.json", b"garbage"),
    "tokenizer that is a list": ("tokenizer.json", b"[]"),
    "no config": ("config.json", None),
    "an adapter": (
        "adapter_config.json",
        b'{"base_model_name_or_path": "other/model", "peft_type": "LORA"}',
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_one_line(folder, damage):
    name, content = DAMAGE[damage]
    path: Path = folder / name
    path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    for attempt in (lambda: build(folder), lambda: TextClassifier.load(folder, "cpu")):
        with pytest.raises(ConfigError) as error:
            attempt()
        assert "\n" not in str(error.value)


def test_weights_of_another_encoder_are_refused(folder):
    RobertaForSequenceClassification(family("roberta")).save_pretrained(
        folder.parent / "other"
    )
    shutil.copy(folder.parent / "other" / "model.safetensors", folder)
    with pytest.raises(
        ConfigError, match=r"^model\.name=.*weights are missing or have another shape"
    ):
        build(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 2},
        {"num_attention_heads": 0},
        {"hidden_size": 33},
        {"hidden_size": -32},
        {"num_hiden_layers": 2},
        {"intermediate_size": "many"},
    ],
)
def test_an_impossible_architecture_is_one_line(changes):
    cfg = ModelConfig(**TINY | {"architecture": TINY["architecture"] | changes})
    with pytest.raises(ConfigError, match=r"^model\.architecture") as error:
        build_classifier(cfg, load_tokenizer(cfg, TEXTS), LABELS, Task.single_label, 1)
    assert "\n" not in str(error.value)


def test_a_head_cannot_be_kept_from_random_weights():
    cfg = ModelConfig(**TINY, head=Head.keep)
    with pytest.raises(
        ConfigError,
        match=r"^model\.head=keep: model\.pretrained=false has no trained head",
    ):
        build_classifier(cfg, load_tokenizer(cfg, TEXTS), LABELS, Task.single_label, 1)
