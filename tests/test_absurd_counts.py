"""Counts that are too large for any machine are refused in one line."""

import os

import pytest
from runs import train_in

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.errors import ConfigError


@pytest.mark.parametrize(
    "override",
    [
        "training.threads=1000000",
        "data.num_workers=100000",
        "training.batch_size=1000000000000000000000",
    ],
)
def test_absurd_counts_are_config_errors(override):
    register_schemas()
    problems = find_problems("train", [override], multirun=False)
    assert len(problems) == 1
    assert override.split("=")[0] in problems[0]


@pytest.mark.parametrize("key", ["training.threads", "data.num_workers"])
def test_more_than_four_per_core_are_refused_before_any_file_is_read(
    key, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    with pytest.raises(
        ConfigError, match=f"{key}=13: this machine has 3 cores; use at most 12"
    ):
        train_in(tmp_path / "run", f"{key}=13")
