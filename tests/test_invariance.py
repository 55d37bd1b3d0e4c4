"""Observers don't disturb: nothing that only looks can move a weight."""

import os
import random

import pytest
from runs import fingerprint, train_in
from test_resume import train_until_killed

COMBINATIONS = 30
SHORT = 10  # of them in every run of the tests; `make proof` takes the others


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
def test_no_observer_moves_a_weight(number, plain, tmp_path, monkeypatch):
    import torch

    chosen = draw(random.Random(number))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", chosen["parallel_tokenizer"])
    if chosen["cold_cache"]:
        monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    if chosen["elsewhere"]:
        monkeypatch.chdir(tmp_path)
    random.seed(os.urandom(8))
    torch.rand(chosen["draws"])
    options = chosen["options"]
    if chosen["killed_at"]:
        train_until_killed(monkeypatch, chosen["killed_at"], tmp_path / "run", *options)
        options = [*options, f"resume.run={tmp_path / 'run'}"]
    seen = fingerprint(train_in(tmp_path / "run", *options))
    assert seen["weights"] == plain["weights"], chosen
    assert seen["steps"] == plain["steps"], chosen


def test_tokenising_in_several_processes_moves_no_weight(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    assert (
        fingerprint(train_in(tmp_path / "run", "data.num_workers=2"))["weights"]
        == plain["weights"]
    )
