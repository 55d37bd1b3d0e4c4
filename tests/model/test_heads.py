"""A checkpoint keeps its head if the data has the same labels; otherwise it is new."""

import logging

import pytest
import torch
from families import family
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model.build import build_classifier, load_tokenizer
from ostinato.model.trained import save_classifier

TINY = {
    "model_type": "bert",
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
TEXTS = ["rain rain snow goal"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a classifier for the labels "a" and "b"."""
    folder = tmp_path_factory.mktemp("trained") / "ab"
    cfg = ModelConfig(name="tiny", pretrained=False, architecture=TINY, max_length=16)
    tokenizer = load_tokenizer(cfg, TEXTS)
    model = build_classifier(cfg, tokenizer, ["a", "b"], Task.single_label, 99)
    save_classifier(model, tokenizer, folder)
    return folder


@pytest.fixture
def encoder(trained, tmp_path):
    """A folder with the same encoder but without a head."""
    folder = tmp_path / "encoder"
    classifier = AutoModelForSequenceClassification.from_pretrained(trained)
    classifier.base_model.save_pretrained(folder)
    cfg = ModelConfig(name=str(trained), max_length=16)
    load_tokenizer(cfg, TEXTS).save_pretrained(folder)
    return folder


def build(folder, labels, seed=1, head=Head.auto, task=Task.single_label):
    cfg = ModelConfig(name=str(folder), max_length=16, head=head)
    return build_classifier(cfg, load_tokenizer(cfg, TEXTS), labels, task, seed)


def head_weight(folder, labels, **options):
    return build(folder, labels, **options).classifier.weight


def saved_head(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder).classifier.weight


def test_the_head_is_kept_if_the_data_has_the_same_labels(trained, caplog):
    with caplog.at_level(logging.INFO):
        head = head_weight(trained, ["a", "b"])
    assert torch.equal(head, saved_head(trained))
    assert "model.head=auto: " in caplog.text
    assert "keeps its head because the data has the same labels" in caplog.text


@pytest.mark.parametrize(
    ("labels", "head", "task"),
    [
        (["b", "a"], Head.auto, Task.single_label),
        (["x", "y"], Head.auto, Task.single_label),
        (["a", "b", "c"], Head.auto, Task.single_label),
        (["a", "b"], Head.new, Task.single_label),
        (["a", "b"], Head.auto, Task.multi_label),
        ([], Head.auto, Task.regression),
    ],
)
def test_another_head_is_a_function_of_its_seed_alone(trained, labels, head, task):
    first = build(trained, labels, 1, head, task)
    again = build(trained, labels, 1, head, task)
    other = build(trained, labels, 2, head, task)
    first_head = first.classifier.weight
    assert torch.equal(first_head, again.classifier.weight)
    assert not torch.equal(first_head, other.classifier.weight)
    assert first_head.shape == (len(labels) or 1, 16)
    encoders = zip(
        first.base_model.parameters(), other.base_model.parameters(), strict=True
    )
    assert all(torch.equal(p, q) for p, q in encoders)
    if first_head.shape == saved_head(trained).shape:
        assert not torch.equal(first_head, saved_head(trained))


@pytest.mark.parametrize(("head", "is_kept"), [(Head.auto, True), (Head.new, False)])
def test_a_part_of_a_head_is_kept_unless_a_new_head_is_wanted(head, is_kept, tmp_path):
    """A masked language model has the first layer of ModernBERT's head."""
    config = family("modernbert")
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    cfg = ModelConfig(name="tiny", pretrained=False, architecture=TINY, max_length=16)
    load_tokenizer(cfg, TEXTS).save_pretrained(tmp_path)
    saved = AutoModelForMaskedLM.from_pretrained(tmp_path).head.dense.weight
    first = build(tmp_path, ["a", "b"], 1, head)
    other = build(tmp_path, ["a", "b"], 2, head)
    assert torch.equal(first.head.dense.weight, saved) == is_kept
    assert torch.equal(first.head.dense.weight, other.head.dense.weight) == is_kept
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_a_new_head_does_not_depend_on_the_head_of_the_checkpoint(trained, encoder):
    labels = ["x", "y"]
    assert torch.equal(head_weight(encoder, labels), head_weight(trained, labels))


def test_keep_is_refused_if_the_head_cannot_be_kept(trained, encoder):
    kept = head_weight(trained, ["a", "b"], head=Head.keep)
    assert torch.equal(kept, saved_head(trained))
    message = (
        r"model\.head=keep: .* other labels \(a, b\) than b, a; use model.head=new"
    )
    with pytest.raises(ConfigError, match=message):
        build(trained, ["b", "a"], head=Head.keep)
    with pytest.raises(ConfigError, match="has no trained head"):
        build(encoder, ["a", "b"], head=Head.keep)


def test_a_checkpoint_without_a_head_gets_a_new_one_even_for_the_same_labels(encoder):
    first = head_weight(encoder, ["a", "b"], seed=1)
    again = head_weight(encoder, ["a", "b"], seed=1)
    other = head_weight(encoder, ["a", "b"], seed=2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
