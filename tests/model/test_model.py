"""The head is a function of its seed, and a saved folder is complete."""

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from ostinato.config import ModelConfig, Task
from ostinato.errors import ConfigError
from ostinato.model.build import build_classifier, load_tokenizer
from ostinato.model.pretrained import locate
from ostinato.model.trained import save_classifier

ROOT = Path(__file__).parents[2]
TINY = yaml.safe_load((ROOT / "conf" / "model" / "tiny.yaml").read_text())["model"]
TEXTS = ["rain rain rain snow snow goal", "rain goal a b c"]


def build(seed=1, task=Task.single_label, labels=("a", "b"), **changes):
    cfg = ModelConfig(**{**TINY, **changes})
    return build_classifier(cfg, load_tokenizer(cfg, TEXTS), labels, task, seed)


def load(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder)


def equal(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_weights_are_a_function_of_their_seed_and_not_of_earlier_draws():
    first = build(seed=0)
    torch.rand(7)
    before = torch.get_rng_state()
    assert equal(first, build(seed=0))
    assert torch.equal(before, torch.get_rng_state())
    assert not equal(first, build(seed=1))


def test_a_pretrained_encoder_gets_a_head_from_its_own_seed(tmp_path):
    folder = tmp_path / "encoder"
    tokenizer = load_tokenizer(ModelConfig(**TINY), TEXTS)
    save_classifier(build(labels=("x", "y", "z", "w")), tokenizer, folder)
    encoder = load(folder).base_model
    encoder.save_pretrained(folder)
    heads = []
    for seed in (0, 0, 1):
        loaded = build(seed, name=str(folder), pretrained=True)
        assert equal(loaded.base_model, encoder)
        heads.append(loaded.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_dropout_is_the_models_own_unless_it_is_set():
    config = build().config
    assert config.hidden_dropout_prob == 0.1
    assert config.attention_probs_dropout_prob == 0.1
    changed = build(dropout=0.3, attention_dropout=0.0)
    layers = [m for m in changed.modules() if isinstance(m, torch.nn.Dropout)]
    assert {layer.p for layer in layers} == {0.3, 0.0}


@pytest.mark.parametrize("task", Task)
def test_labels_and_task_are_stored_with_the_model(task):
    if task is Task.regression:
        labels, expected = (), {0: "value"}
    else:
        labels, expected = ("2", "10", "b"), {0: "2", 1: "10", 2: "b"}
    model = build(task=task, labels=labels)
    assert model.config.id2label == expected
    assert model.config.problem_type.startswith(task.value)


def test_words_are_numbered_by_frequency_and_then_by_alphabet():
    vocabulary = load_tokenizer(ModelConfig(**TINY), TEXTS).get_vocab()
    words = sorted(vocabulary, key=vocabulary.get)
    assert words[5:] == ["rain", "goal", "snow", "a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
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
            r"model\.name=\./nowhere: the folder does not exist",
        ),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(**changes)
    assert "\n" not in str(error.value)


def test_a_local_folder_has_priority_over_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert locate("org/model") == str(Path("org/model"))
    assert locate("org/other") == "org/other"


def test_saving_again_replaces_the_folder_and_adds_nothing_beside_it(tmp_path):
    tokenizer = load_tokenizer(ModelConfig(**TINY), TEXTS)
    for seed in (0, 1):
        save_classifier(build(seed), tokenizer, tmp_path / "best")
    assert equal(load(tmp_path / "best"), build(1))
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
