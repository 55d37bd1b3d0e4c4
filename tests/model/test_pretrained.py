"""A model folder is only data: its code never runs; damage is reported in one line."""

import json
import os
import pickle
import shutil
from contextlib import suppress

import pytest
import torch
from families import family
from test_model import TEXTS, TINY
from transformers import BertForSequenceClassification, RobertaForSequenceClassification

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.inference.classifier import TextClassifier
from ostinato.model.build import build_classifier, load_tokenizer
from ostinato.model.trained import save_classifier

LABELS = ("rain", "goal")


def build(folder, labels=LABELS, seed=7, **changes):
    """Builds the classifier that a run with these labels starts from."""
    cfg = ModelConfig(name=str(folder), max_length=32, **changes)
    tokenizer = load_tokenizer(cfg, TEXTS)
    return build_classifier(cfg, tokenizer, labels, Task.single_label, seed)


@pytest.fixture
def folder(tmp_path):
    """A folder with a trained classifier of two labels."""
    cfg = ModelConfig(**TINY)
    tokenizer = load_tokenizer(cfg, TEXTS)
    model = build_classifier(cfg, tokenizer, LABELS, Task.single_label, 1)
    save_classifier(model, tokenizer, tmp_path / "model")
    return tmp_path / "model"


def saved_head(folder):
    return BertForSequenceClassification.from_pretrained(folder).classifier.weight


def test_a_head_of_the_same_labels_is_kept(folder):
    for head in (Head.auto, Head.keep):
        kept = build(folder, head=head).classifier.weight
        assert torch.equal(kept, saved_head(folder))


@pytest.mark.parametrize(
    "labels", [("goal", "rain"), ("x", "y"), ("rain", "goal", "snow")]
)
def test_a_head_of_other_labels_is_new_and_a_function_of_the_head_seed_alone(
    folder, labels
):
    without_head = folder.parent / "without_head"
    shutil.copytree(folder, without_head)
    encoder = BertForSequenceClassification.from_pretrained(folder).base_model
    encoder.save_pretrained(without_head)
    first = build(folder, labels)
    again = build(folder, labels)
    other = build(folder, labels, seed=8)
    from_encoder = build(without_head, labels)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        assert torch.equal(parameter, from_encoder.get_parameter(name)), name
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    pooler = first.base_model.pooler.dense.weight
    assert torch.equal(pooler, other.base_model.pooler.dense.weight)
    with pytest.raises(ConfigError, match=r"^model\.head=keep: .* other labels"):
        build(folder, labels, head=Head.keep)


def test_a_new_head_replaces_a_head_of_the_same_labels(folder):
    new = build(folder, head=Head.new).classifier.weight
    assert not torch.equal(new, saved_head(folder))


def test_default_label_names_are_not_the_labels_of_a_run(folder):
    names = ("LABEL_0", "LABEL_1")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: number for number, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    assert not torch.equal(build(folder, names).classifier.weight, saved_head(folder))


def load_and_build(folder):
    """Returns the two ways in which a folder is loaded."""
    return (lambda: build(folder), lambda: TextClassifier.load(folder, "cpu"))


HOSTILE = """
import pathlib
pathlib.Path({marker!r}).write_text("ran")
class Mine: pass
"""
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
        key, value = (
            ("model_type", "mine")
            if file == "config.json"
            else ("tokenizer_class", "Mine")
        )
        content[key] = value
    (folder / file).write_text(json.dumps(content))
    for attempt in load_and_build(folder):
        with suppress(ConfigError):  # a known type loads without the code
            attempt()
    assert not marker.exists()


class _Runs:
    """Runs a command when it is unpickled."""

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
    message = r"^model\.name=.*could not be loaded"
    with pytest.raises(ConfigError, match=message) as error:
        build(folder)
    assert "\n" not in str(error.value)
    assert not marker.exists()


ADAPTER = b'{"base_model_name_or_path": "other/model", "peft_type": "LORA"}'
DAMAGE = {
    "config that is not JSON": ("config.json", b"{"),
    "config that is a list": ("config.json", b"[]"),
    "config without a type": ("config.json", b"{}"),
    "garbage weights": ("model.safetensors", b"garbage" * 99),
    "empty weights": ("model.safetensors", b""),
    "no weights": ("model.safetensors", None),
    "garbage tokenizer": ("tokenizer.json", b"garbage"),
    "tokenizer that is a list": ("tokenizer.json", b"[]"),
    "no config": ("config.json", None),
    "an adapter": ("adapter_config.json", ADAPTER),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(folder, damage):
    name, content = DAMAGE[damage]
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    for attempt in load_and_build(folder):
        with pytest.raises(ConfigError) as error:
            attempt()
        assert "\n" not in str(error.value)


def test_a_folder_without_a_head_is_not_a_trained_classifier(folder):
    encoder = BertForSequenceClassification.from_pretrained(folder).base_model
    encoder.save_pretrained(folder)
    message = r"not a trained classifier \(classifier\.bias is missing\)$"
    with pytest.raises(ConfigError, match=message):
        TextClassifier.load(folder, "cpu")


def test_weights_of_another_encoder_are_refused(folder):
    other = folder.parent / "other"
    RobertaForSequenceClassification(family("roberta")).save_pretrained(other)
    shutil.copy(other / "model.safetensors", folder)
    message = r"^model\.name=.*weights are missing or have another shape"
    with pytest.raises(ConfigError, match=message):
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
def test_an_impossible_architecture_is_refused_in_one_line(changes):
    cfg = ModelConfig(**TINY | {"architecture": TINY["architecture"] | changes})
    with pytest.raises(ConfigError, match=r"^model\.architecture") as error:
        build_classifier(cfg, load_tokenizer(cfg, TEXTS), LABELS, Task.single_label, 1)
    assert "\n" not in str(error.value)


def write_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize(
    "kernel", ["org/kernel", "kernels-community/flash-attn3", {"": "org/kernel"}]
)
def test_a_kernel_that_a_folder_names_is_refused_in_one_line(folder, key, kernel):
    write_config(folder, **{key: kernel})
    for load in (build, TextClassifier.load):
        with pytest.raises(ConfigError, match="attn_implementation=") as error:
            load(folder)
        (problem,) = error.value.problems
        assert problem.startswith(f"model.name={folder}: its config names")
        assert "\n" not in problem


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_in_an_architecture_is_refused_in_one_line(key):
    changes = {key: "org/kernel"}
    cfg = ModelConfig(**TINY | {"architecture": TINY["architecture"] | changes})
    with pytest.raises(ConfigError, match=r"^model\.architecture: its config names"):
        load_tokenizer(cfg, TEXTS)


def test_a_model_on_this_machine_is_not_replaced_by_an_architecture(folder):
    cfg = ModelConfig(**TINY | {"name": str(folder)})
    message = r"^model\.architecture: model\.name=.* has its own architecture"
    with pytest.raises(ConfigError, match=message):
        load_tokenizer(cfg, TEXTS)


def test_random_weights_have_no_head_to_keep():
    cfg = ModelConfig(**TINY, head=Head.keep)
    message = r"^model\.head=keep: model\.pretrained=false has no trained head"
    with pytest.raises(ConfigError, match=message):
        build_classifier(cfg, load_tokenizer(cfg, TEXTS), LABELS, Task.single_label, 1)
