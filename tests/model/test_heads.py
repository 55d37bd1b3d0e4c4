"""A checkpoint's own head is kept where its labels are those of the data, and replaced elsewhere."""

import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ostinato.config import Head, ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model.build import build_classifier, load_tokenizer, save_classifier

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
    """A checkpoint of a classifier of "a" and "b"."""
    folder = tmp_path_factory.mktemp("trained") / "ab"
    cfg = ModelConfig(name="tiny", pretrained=False, architecture=TINY, max_length=16)
    tokenizer = load_tokenizer(cfg, TEXTS)
    save_classifier(
        build_classifier(cfg, tokenizer, ["a", "b"], Task.single_label, 99),
        tokenizer,
        folder,
    )
    return folder


def build(folder, labels, seed=1, head=Head.auto, task=Task.single_label):
    cfg = ModelConfig(name=str(folder), max_length=16, head=head)
    return build_classifier(cfg, load_tokenizer(cfg, TEXTS), labels, task, seed)


def own_head(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder).classifier.weight


def test_the_head_is_kept_where_its_labels_are_those_of_the_data(trained, caplog):
    with caplog.at_level(logging.INFO):
        model = build(trained, ["a", "b"])
    assert torch.equal(model.classifier.weight, own_head(trained))
    assert "model.head=auto: " in caplog.text


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
    first, again, other = (
        build(trained, labels, seed, head, task) for seed in (1, 1, 2)
    )
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.classifier.weight.shape == (len(labels) or 1, 16)
    assert all(
        torch.equal(p, q)
        for p, q in zip(
            first.base_model.parameters(), other.base_model.parameters(), strict=True
        )
    )
    if first.classifier.weight.shape == own_head(trained).shape:
        assert not torch.equal(first.classifier.weight, own_head(trained))


def test_the_new_head_is_the_one_that_a_checkpoint_without_a_head_gets(
    trained, tmp_path
):
    plain = AutoModelForSequenceClassification.from_pretrained(trained)
    plain.base_model.save_pretrained(tmp_path / "encoder")
    cfg = ModelConfig(name=str(trained), max_length=16)
    load_tokenizer(cfg, TEXTS).save_pretrained(tmp_path / "encoder")
    assert torch.equal(
        build(tmp_path / "encoder", ["x", "y"]).classifier.weight,
        build(trained, ["x", "y"]).classifier.weight,
    )


def test_keep_is_refused_where_the_head_cannot_be_kept(trained, tmp_path):
    assert torch.equal(
        build(trained, ["a", "b"], head=Head.keep).classifier.weight, own_head(trained)
    )
    with pytest.raises(
        ConfigError,
        match=r"model\.head=keep: .* other labels \(a, b\) than b, a; use model.head=new",
    ):
        build(trained, ["b", "a"], head=Head.keep)
    plain = AutoModelForSequenceClassification.from_pretrained(trained)
    plain.base_model.save_pretrained(tmp_path / "encoder")
    load_tokenizer(
        ModelConfig(name=str(trained), max_length=16), TEXTS
    ).save_pretrained(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="has no trained head"):
        build(tmp_path / "encoder", ["a", "b"], head=Head.keep)


def test_a_checkpoint_without_a_head_gets_a_new_one_even_if_its_labels_are_those_of_the_data(
    trained, tmp_path
):
    plain = AutoModelForSequenceClassification.from_pretrained(trained)
    plain.base_model.save_pretrained(tmp_path / "encoder")
    load_tokenizer(
        ModelConfig(name=str(trained), max_length=16), TEXTS
    ).save_pretrained(tmp_path / "encoder")
    heads = [
        build(tmp_path / "encoder", ["a", "b"], seed).classifier.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
