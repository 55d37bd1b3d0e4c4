"""Dropout reaches every part of a model or is refused, and texts are as long as the positions reach."""

import pytest
import torch
from families import FAMILIES, family
from torch import nn
from transformers import AutoModelForSequenceClassification

from ostinato.config import ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model.architecture import num_positions, skeleton, wanted_dropout
from ostinato.model.build import build_classifier, load_tokenizer

WITHOUT_HIDDEN_DROPOUT = {"llama", "qwen2", "qwen3"}
WITHOUT_ATTENTION_DROPOUT = {"xlnet", "t5"}

NEEDED = {"t5": {"decoder_start_token_id": 0}}


def build(name, max_length=16, **changes):
    architecture = {
        "model_type": name,
        "vocab_size": 60,
        **FAMILIES[name],
        **NEEDED.get(name, {}),
        **changes.pop("architecture", {}),
    }
    attention = (
        "eager"
        if name in ("deberta-v2", "xlnet", "t5", "funnel", "albert", "mpnet")
        else "sdpa"
    )
    cfg = ModelConfig(
        name=name,
        pretrained=False,
        architecture=architecture,
        max_length=max_length,
        attention=attention,
        **changes,
    )
    return build_classifier(
        cfg, load_tokenizer(cfg, ["a b c"]), ["x", "y"], Task.single_label, 1
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_is_what_the_user_asks_for_everywhere_or_is_refused(name):
    if name in WITHOUT_HIDDEN_DROPOUT:
        with pytest.raises(
            ConfigError,
            match=rf"model\.dropout=0\.3: {name} has no such dropout; use model\.dropout=null",
        ):
            build(name, dropout=0.3)
        return
    model = build(name, dropout=0.3)
    hidden = {
        module.p
        for path, module in model.named_modules()
        if isinstance(module, nn.Dropout) and "att" not in path
    }
    assert 0.3 in hidden | {
        getattr(module, "dropout", None) for module in model.modules()
    }
    assert hidden <= {0.3, 0.1}
    silent = build(
        name,
        dropout=0.0,
        **({} if name in WITHOUT_ATTENTION_DROPOUT else {"attention_dropout": 0.0}),
    ).train()
    ids = torch.tensor(
        [[5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, silent.config.eos_token_id]]
    )
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    torch.manual_seed(0)
    first = silent(**inputs).logits
    torch.manual_seed(1)
    assert torch.equal(
        first, silent(**inputs).logits
    )  # nothing is dropped in training mode


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_dropout_is_set_or_refused(name):
    if name in WITHOUT_ATTENTION_DROPOUT:
        with pytest.raises(
            ConfigError,
            match=rf"model\.attention_dropout=0\.3: {name} has no such dropout",
        ):
            build(name, attention_dropout=0.3)
    else:
        assert set(wanted_dropout(family(name), None, 0.3).values()) == {0.3}


def test_a_dropout_that_ignores_the_config_is_named(monkeypatch):
    from ostinato.model import architecture

    def with_fixed_dropout(config):
        model = skeleton(config)
        model.dropout = nn.Dropout(0.25)
        return model

    monkeypatch.setattr(architecture, "skeleton", with_fixed_dropout)
    with pytest.raises(
        ConfigError, match=r"model\.dropout=0\.3: dropout of bert ignores it"
    ):
        wanted_dropout(family("bert"), 0.3, None)


# Positions that the config names, and how many of them a text can use.
LIMITS = {
    "bert": (20, 20),
    "roberta": (20, 18),
    "mpnet": (20, 18),
    "electra": (20, 20),
    "albert": (20, 20),
}
LIMITS |= {"distilbert": (20, 20), "bart": (20, 20), "gpt2": (20, 20)}


@pytest.mark.parametrize("name", LIMITS)
def test_texts_reach_as_far_as_the_positions_and_no_further(name):
    named, usable = LIMITS[name]
    config = family(name, max_position_embeddings=named)
    if name == "mpnet":
        config.pad_token_id = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert num_positions(model) == usable
    ids = torch.full((1, usable), 5)
    ids[0, -1] = 2
    assert torch.isfinite(model(input_ids=ids).logits).all()
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.cat([torch.full((1, 1), 5), ids], dim=1))
    sizes = {"max_position_embeddings": named}
    with pytest.raises(
        ConfigError,
        match=r"model\.max_length=21: the model has \d+ positions; take at most",
    ):
        build(name, max_length=21, architecture=sizes)


@pytest.mark.parametrize("name", ["xlnet", "t5", "funnel"])
def test_relative_positions_have_no_limit(name):
    assert num_positions(skeleton(family(name))) is None


@pytest.mark.parametrize(
    "architecture",
    [
        {"vocab_size": 2},
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"hidden_size": -1},
        {"hidden_size": "many"},
        {"num_hidden_layers": -1},
        {"hidden_act": "nonsense"},
        {"max_position_embeddings": 0},
        {"vocab_size": 0},
        {"model_type": "not-an-architecture"},
        {"model_type": "clip"},
    ],
    ids=str,
)
def test_values_that_do_not_fit_together_are_refused_in_one_line(architecture):
    with pytest.raises(ConfigError) as error:
        build("bert", architecture=architecture)
    assert str(error.value).startswith("model.")
    assert "\n" not in str(error.value)
