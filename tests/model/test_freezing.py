"""Frozen layers keep their weights; all others train as before."""

import pytest
import torch
from runs import fingerprint, train_in, train_until_killed
from safetensors.torch import load_file
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

from ostinato.errors import ConfigError
from ostinato.model.freezing import freeze

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def bert():
    return BertForSequenceClassification(BertConfig(num_hidden_layers=3, **SIZES))


def trained_parts(model):
    return {
        name.split(".encoder.layer.")[-1].split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize(
    ("num_layers", "parts"),
    [
        (0, {"0", "1", "2", "bert", "classifier"}),
        (2, {"2", "bert", "classifier"}),
        (3, {"bert", "classifier"}),
    ],
)
def test_embeddings_and_the_first_layers_are_frozen(num_layers, parts):
    model = bert()
    freeze(model, num_layers)
    assert trained_parts(model) == parts
    assert not any(p.requires_grad for p in model.bert.embeddings.parameters())
    assert all(p.requires_grad for p in model.bert.pooler.parameters())


def test_without_a_number_all_weights_train():
    model = bert()
    freeze(model, None)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_more_layers_than_the_model_has_are_refused():
    with pytest.raises(ConfigError, match=r"model.freeze=4: the model has 3 layers"):
        freeze(bert(), 4)


def test_layers_that_share_their_weights_are_refused():
    sizes = {**SIZES, "embedding_size": 16, "num_hidden_groups": 2}
    model = AlbertForSequenceClassification(AlbertConfig(num_hidden_layers=4, **sizes))
    with pytest.raises(ConfigError, match=r"model.freeze=1: albert is not one list"):
        freeze(model, 1)


@pytest.mark.slow
def test_a_run_changes_no_frozen_weight_and_resumes_to_the_same_bits(
    tmp_path, monkeypatch
):
    options = ("model.freeze=1", "training.weight_decay=0.5", "training.head_lr=1e-2")
    start = train_in(tmp_path / "start", *options, "training.max_steps=1")
    whole = train_in(tmp_path / "whole", *options)
    before, after = (load_file(run.best_weights) for run in (start, whole))
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    frozen = {
        name for name in after if "embeddings" in name or "encoder.layer.0." in name
    }
    assert frozen
    assert not changed & frozen
    assert changed

    killed = tmp_path / "killed"
    train_until_killed(monkeypatch, 5, killed, *options, "training.checkpoint_every=2")
    resumed = train_in(
        killed, *options, "training.checkpoint_every=2", "resume.run=auto"
    )
    assert fingerprint(resumed) == fingerprint(whole)
