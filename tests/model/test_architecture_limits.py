"""Dropout reaches every part of a model or is refused; positions limit the texts."""

import pytest
import torch
from families import FAMILIES, family
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from ostinato.config import ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model import dropout_fields
from ostinato.model.architecture import num_positions, skeleton
from ostinato.model.build import build_classifier, load_tokenizer
from ostinato.model.dropout_fields import wanted_dropout

WITHOUT_HIDDEN_DROPOUT = {"llama", "qwen2", "qwen3"}
WITHOUT_ATTENTION_DROPOUT = {"xlnet", "t5"}
EAGER = ("deberta-v2", "xlnet", "t5", "funnel", "albert", "mpnet")

NEEDED = {"t5": {"decoder_start_token_id": 0}}


def build(name, max_length=16, **changes):
    """Builds a tiny classifier of an architecture with random weights."""
    architecture = {"model_type": name, "vocab_size": 60, **FAMILIES[name]}
    architecture |= NEEDED.get(name, {})
    architecture |= changes.pop("architecture", {})
    cfg = ModelConfig(
        name=name,
        pretrained=False,
        architecture=architecture,
        max_length=max_length,
        attention="eager" if name in EAGER else "sdpa",
        **changes,
    )
    tokenizer = load_tokenizer(cfg, ["a b c"])
    return build_classifier(cfg, tokenizer, ["x", "y"], Task.single_label, 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_has_the_wanted_value_everywhere_or_is_refused(name):
    if name in WITHOUT_HIDDEN_DROPOUT:
        message = (
            rf"model\.dropout=0\.3: {name} does not have this dropout; "
            r"use model\.dropout=null"
        )
        with pytest.raises(ConfigError, match=message):
            build(name, dropout=0.3)
        return
    model = build(name, dropout=0.3)
    of_modules = set()
    of_attributes = set()
    for path, module in model.named_modules():
        of_attributes.add(getattr(module, "dropout", None))
        if isinstance(module, nn.Dropout) and "att" not in path:
            of_modules.add(module.p)
    assert 0.3 in of_modules | of_attributes
    assert of_modules <= {0.3, 0.1}


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - WITHOUT_HIDDEN_DROPOUT))
def test_dropout_of_zero_drops_nothing_in_training_mode(name):
    changes = {"dropout": 0.0}
    if name not in WITHOUT_ATTENTION_DROPOUT:
        changes["attention_dropout"] = 0.0
    model = build(name, **changes).train()
    ids = torch.tensor([[5, 6, 7] * 5 + [model.config.eos_token_id]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    torch.manual_seed(0)
    first = model(**inputs).logits
    torch.manual_seed(1)
    assert torch.equal(first, model(**inputs).logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_dropout_is_set_or_refused(name):
    if name in WITHOUT_ATTENTION_DROPOUT:
        message = rf"model\.attention_dropout=0\.3: {name} does not have this dropout"
        with pytest.raises(ConfigError, match=message):
            build(name, attention_dropout=0.3)
    else:
        assert set(wanted_dropout(family(name), None, 0.3).values()) == {0.3}


def test_a_dropout_that_ignores_the_config_is_named(monkeypatch):
    def with_fixed_dropout(config):
        model = skeleton(config)
        model.dropout = nn.Dropout(0.25)
        return model

    monkeypatch.setattr(dropout_fields, "skeleton", with_fixed_dropout)
    message = r"model\.dropout=0\.3: dropout of bert ignores it"
    with pytest.raises(ConfigError, match=message):
        wanted_dropout(family("bert"), 0.3, None)


# Positions in the config, and positions that a text can use.
LIMITS = {
    "bert": (20, 20),
    "roberta": (20, 18),
    "mpnet": (20, 18),
    "electra": (20, 20),
    "albert": (20, 20),
    "distilbert": (20, 20),
    "bart": (20, 20),
    "gpt2": (20, 20),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_text_can_use_all_usable_positions_and_no_more(name):
    named, usable = LIMITS[name]
    config = family(name, max_position_embeddings=named)
    if name == "mpnet":
        config.pad_token_id = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert num_positions(model) == usable
    ids = torch.full((1, usable), 5)
    ids[0, -1] = 2
    assert torch.isfinite(model(input_ids=ids).logits).all()
    too_long = torch.cat([torch.full((1, 1), 5), ids], dim=1)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=too_long)
    message = r"model\.max_length=21: the model has \d+ positions; use at most"
    with pytest.raises(ConfigError, match=message):
        build(name, max_length=21, architecture={"max_position_embeddings": named})


def test_a_text_beyond_the_original_context_of_longrope_is_refused():
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
    }
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = AutoConfig.for_model(
        "phi3",
        **sizes,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=50,
        max_position_embeddings=80,
        original_max_position_embeddings=20,
        rope_parameters=rope,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert num_positions(model) == 20

    short, other = torch.arange(5, 25)[None], torch.arange(6, 27)[None]
    padding = torch.zeros(1, 1, dtype=torch.int64)
    batch = torch.cat([torch.cat([short, padding], dim=1), other])
    with torch.no_grad():
        alone = model(input_ids=short).logits[0]
        together = model(input_ids=batch, attention_mask=(batch > 0).long()).logits[0]
    assert not torch.allclose(alone, together)  # why longer texts are refused


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
