"""The classifier: its head is a function of its seed, its dropout is what the user says, its folder is whole."""

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from ostinato.config import ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model.build import (
    build_classifier,
    load_tokenizer,
    locate,
    save_classifier,
)

ROOT = Path(__file__).parents[2]
TINY = yaml.safe_load((ROOT / "conf" / "model" / "tiny.yaml").read_text())["model"]
TEXTS = ["rain rain rain snow snow goal", "rain goal a b c"]


def build(seed=1, task=Task.single_label, labels=("a", "b"), **changes):
    cfg = ModelConfig(**{**TINY, **changes})
    return build_classifier(cfg, load_tokenizer(cfg, TEXTS), labels, task, seed)


def equal(first, second):
    return all(
        torch.equal(p, q)
        for p, q in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_weights_are_a_function_of_their_seed_whatever_was_drawn_before():
    first = build(seed=0)
    torch.rand(7)
    before = torch.get_rng_state()
    assert equal(first, build(seed=0))
    assert torch.equal(before, torch.get_rng_state())
    assert not equal(first, build(seed=1))


def test_a_pretrained_encoder_gets_a_head_from_its_own_seed(tmp_path):
    cfg = ModelConfig(**TINY)
    save_classifier(
        build(labels=("x", "y", "z", "w")),
        load_tokenizer(cfg, TEXTS),
        tmp_path / "encoder",
    )
    weights = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "encoder"
    ).base_model
    weights.save_pretrained(tmp_path / "encoder")
    heads = {}
    for seed in (0, 0, 1):
        loaded = build(seed, name=str(tmp_path / "encoder"), pretrained=True)
        assert equal(loaded.base_model, weights)
        heads.setdefault(seed, []).append(loaded.classifier.weight)
    assert torch.equal(*heads[0])
    assert not torch.equal(heads[0][0], heads[1][0])


def test_dropout_is_the_models_own_unless_it_is_set():
    own, changed = build(), build(dropout=0.3, attention_dropout=0.0)
    assert (
        own.config.hidden_dropout_prob,
        own.config.attention_probs_dropout_prob,
    ) == (0.1, 0.1)
    assert {m.p for m in changed.modules() if isinstance(m, torch.nn.Dropout)} == {
        0.3,
        0.0,
    }


@pytest.mark.parametrize("task", Task)
def test_labels_and_task_are_stored_with_the_model(task):
    model = build(task=task, labels=() if task is Task.regression else ("2", "10", "b"))
    expected = {0: "value"} if task is Task.regression else {0: "2", 1: "10", 2: "b"}
    assert model.config.id2label == expected
    assert model.config.problem_type.startswith(task.value)


def test_words_are_numbered_by_frequency_and_then_by_alphabet():
    cfg = ModelConfig(**TINY)
    words = sorted(
        (number, word)
        for word, number in load_tokenizer(cfg, TEXTS).get_vocab().items()
    )
    assert [word for _, word in words][5:] == ["rain", "goal", "snow", "a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_length": 65}, r"model\.max_length=65: the model has 64 positions"),
        ({"architecture": {"model_type": "nonsense"}}, "model_type=nonsense"),
        (
            {"attention": "flash_attention_2"},
            r"model\.attention=flash_attention_2: .*; use sdpa or eager$",
        ),
        (
            {"architecture": {"model_type": "deberta-v2"}},
            r"model\.attention=sdpa: .*; use eager$",
        ),
        (
            {"pretrained": True, "name": "./nowhere"},
            r"model\.name=\./nowhere: no such folder",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(changes, said):
    with pytest.raises(ConfigError, match=said) as error:
        build(**changes)
    assert "\n" not in str(error.value)


def test_a_folder_is_found_before_a_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert locate("org/model") == str(Path("org/model"))
    assert locate("org/other") == "org/other"


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path):
    tokenizer = load_tokenizer(ModelConfig(**TINY), TEXTS)
    for seed in (0, 1):
        save_classifier(build(seed), tokenizer, tmp_path / "best")
    assert equal(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "best"), build(1)
    )
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
