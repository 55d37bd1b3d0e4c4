"""Every architecture trains, resumes to the same bits, and ignores neighbours.

A text gets the same logits alone and in a batch.
"""

import numpy as np
import pytest
import torch
from model_folders import ARCHITECTURES, TEXTS, overrides, write_model
from runs import fingerprint, resume, train_in, train_until_killed
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.config import EvaluateConfig
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir

# Other architectures cover the same properties.
COVERED = (
    *("bert", "roberta", "distilbert", "electra", "albert", "modernbert", "eurobert"),
    *("gpt2", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "smollm3"),
    *("phimoe", "gpt_oss"),
)


def assert_equal_to_rounding(actual, expected):
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proof if name in COVERED else ())
        for name in ARCHITECTURES
    ],
)
def test_an_architecture_trains_and_resumes_to_the_same_bits_and_ignores_its_neighbours(
    name, tmp_path, monkeypatch
):
    options = overrides(write_model(tmp_path / "model", name), name)
    options = (*options, "training.checkpoint_every=1")
    whole = train_in(tmp_path / "whole", *options)
    parts = RunDir(tmp_path / "parts")
    train_until_killed(monkeypatch, 2, parts.path, *options)
    resume(parts, *options)
    assert fingerprint(parts) == fingerprint(whole)

    classifier = TextClassifier.load(whole.path)
    texts = ["rain", "a goal in the second half", *TEXTS]
    encoded = classifier.encode([(text, None) for text in texts])
    together = classifier.forward(encoded)
    alone = []
    for number in range(len(texts)):
        row = {name: [column[number]] for name, column in encoded.items()}
        alone.append(classifier.forward(row)[0])
    assert_equal_to_rounding(np.stack(alone), together)

    plain = AutoModelForSequenceClassification.from_pretrained(whole.best).eval()
    tokenizer = AutoTokenizer.from_pretrained(whole.best)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = plain(**inputs).logits.numpy()
    assert_equal_to_rounding(together, expected)

    losses = []
    for batch_size in (1, 64):
        config = EvaluateConfig(run=str(whole.path), batch_size=batch_size)
        losses.append(evaluate(config, *load_run(str(whole.path)))["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
