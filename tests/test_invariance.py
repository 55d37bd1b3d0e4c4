"""Code that only observes never changes a weight."""

import os
import random

import pytest
import torch
from runs import fingerprint, resume, train_in, train_until_killed

from ostinato.run_dir import RunDir

COMBINATIONS = 30
SHORT = 2  # Of them in every run of the tests; `make proof` runs the others.


def draw(rng):
    """A random choice of everything that only observes."""
    trackers = rng.choice(["[jsonl]", "[tensorboard]", "[tensorboard,jsonl]"])
    return {
        "options": [
            f"tracker={trackers}",
            f"training.log_every={rng.choice([1, 3, 100])}",
            f"training.eval_every={rng.choice([1, 2, 5, 7, 'null'])}",
            f"training.checkpoint_every={rng.choice([1, 2, 5, 'null'])}",
            f"training.keep_checkpoints={rng.choice([1, 3])}",
            f"training.eval_batch_size={rng.choice([1, 7, 64])}",
            f"name={rng.choice(['a', 'another name'])}",
        ],
        "parallel_tokenizer": rng.choice(["true", "false"]),
        "cold_cache": rng.random() < 0.5,
        "elsewhere": rng.random() < 0.5,
        "draws": rng.randrange(50),
        "killed_at": rng.choice([None, None, 1, 4, 6]),
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return fingerprint(train_in(tmp_path_factory.mktemp("plain") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        *range(SHORT),
        *(pytest.param(n, marks=pytest.mark.proof) for n in range(SHORT, COMBINATIONS)),
    ],
)
def test_observers_do_not_change_a_weight(number, plain, tmp_path, monkeypatch):
    chosen = draw(random.Random(number))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", chosen["parallel_tokenizer"])
    if chosen["cold_cache"]:
        monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    if chosen["elsewhere"]:
        monkeypatch.chdir(tmp_path)
    random.seed(os.urandom(8))
    torch.rand(chosen["draws"])
    run = RunDir(tmp_path / "run")
    options = chosen["options"]

    if chosen["killed_at"]:
        train_until_killed(monkeypatch, chosen["killed_at"], run.path, *options)
        resume(run, *options)
    else:
        train_in(run.path, *options)

    found = fingerprint(run)
    assert found["weights"] == plain["weights"], chosen
    assert found["steps"] == plain["steps"], chosen


DROPOUT = ("model.dropout=0.1", "model.attention_dropout=0.1")
DECODER = (
    *("model.architecture.model_type=llama", "model.attention_dropout=0.1"),
    "+model.architecture.num_key_value_heads=1",
)
RECOMPUTED = {
    "bert": DROPOUT,
    "bert padded": (*DROPOUT, "training.batching=bucketed"),
    "bert in bf16": (*DROPOUT, "training.precision=bf16"),
    "micro-batches": (*DROPOUT, "training.accumulate=3"),
    "decoder": DECODER,
    "decoder padded": (*DECODER, "training.batching=bucketed"),
    "decoder in bf16": (*DECODER, "training.precision=bf16"),
    "gpt2": ("model.architecture.model_type=gpt2", *DROPOUT),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "decoder" else pytest.mark.proof)
        for name in RECOMPUTED
    ],
)
def test_computing_activations_twice_changes_no_bit(name, tmp_path):
    options = (*RECOMPUTED[name], "training.epochs=1")
    expected = fingerprint(train_in(tmp_path / "once", *options))
    twice = (*options, "training.gradient_checkpointing=true")
    assert fingerprint(train_in(tmp_path / "twice", *twice)) == expected


@pytest.mark.slow
def test_tokenising_in_several_processes_does_not_change_a_weight(
    plain, tmp_path, monkeypatch
):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))

    run = train_in(tmp_path / "run", "data.num_workers=2")

    assert fingerprint(run)["weights"] == plain["weights"]
