"""Tokenizer and config have one pad token; rows without a token to pool are refused."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from model_folders import TEXTS, load, overrides, together_and_alone, write_model
from runs import configure
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Tokenizer,
)

from ostinato import TextClassifier
from ostinato.data.collate import Collator
from ostinato.errors import ConfigError, DataError
from ostinato.model.padding import check_rows, settle_pad_token
from ostinato.training.prepare import prepare


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return load(tmp_path_factory.mktemp("gpt2"), "gpt2")


def test_without_a_pad_token_tokenizer_and_config_get_the_end_token(gpt2):
    model, tokenizer = gpt2
    assert tokenizer.pad_token == tokenizer.eos_token
    assert model.config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id


def test_the_pad_token_of_the_tokenizer_replaces_another_one_in_the_config(tmp_path):
    write_model(tmp_path, "gpt2", pad_token_id=9)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    classifier = TextClassifier.load(tmp_path)
    assert classifier.model.config.pad_token_id == tokenizer.eos_token_id
    rows = classifier.encode([(text, None) for text in TEXTS])
    together, alone = together_and_alone(classifier.model, classifier._collator, rows)
    assert_close(together, alone)


def test_the_config_keeps_its_pad_token_if_positions_depend_on_it(tmp_path):
    write_model(tmp_path, "roberta")
    config = AutoConfig.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    kept = config.pad_token_id
    tokenizer.pad_token = tokenizer.mask_token
    settle_pad_token(config, tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id == kept


@pytest.mark.parametrize("problem", ["no pad token and no end token", "embeddings"])
def test_an_unusable_pad_token_is_refused_in_one_line(problem):
    config = AutoConfig.for_model("gpt2", vocab_size=300)
    untrained = GPT2Tokenizer()
    tokenizer = untrained.train_new_from_iterator(TEXTS * 9, 300, show_progress=False)
    if problem == "embeddings":
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    else:
        tokenizer.eos_token = None
    with pytest.raises(ConfigError, match=problem) as error:
        settle_pad_token(config, tokenizer)
    assert "\n" not in str(error.value)


def test_a_text_without_tokens_is_refused(gpt2):
    with pytest.raises(DataError, match="no tokens"):
        Collator(0).inputs({"input_ids": [[1], []]})
    with pytest.raises(DataError, match="row 1 has no tokens"):
        check_rows(gpt2[0], np.array([1]), np.array([1, 0]), "train")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("gpt2", "rain<|endoftext|>", "ends with the pad token"),
        ("bart", "rain</s>", "number of end tokens"),
    ],
)
def test_a_text_that_the_classifier_cannot_pool_is_refused_in_one_line(
    name, text, problem, tmp_path
):
    model, tokenizer = load(tmp_path, name)
    classifier = TextClassifier(model, tokenizer, torch.device("cpu"))
    assert len(classifier.predict(TEXTS)) == 2
    with pytest.raises(DataError, match=problem) as error:
        classifier.predict([*TEXTS, text])
    assert "\n" not in str(error.value)


def test_a_text_that_the_classifier_cannot_pool_is_refused_before_the_first_step(
    tmp_path,
):
    folder = write_model(tmp_path / "model", "gpt2")
    lines = ["text,label"]
    for number in range(20):
        end = "<|endoftext|>" if number == 7 else ""
        lines.append(f"rain {number}{end},{number % 2}")
    file = tmp_path / "train.csv"
    file.write_text("\n".join(lines))
    options = [option for option in overrides(folder, "gpt2") if "limit" not in option]
    paths = [f"data.train_path={file}", f"data.val_path={file}"]
    config, _ = configure(*options, "data=files", *paths)
    with pytest.raises(DataError, match="row 7 ends with the pad token"):
        prepare(config)
