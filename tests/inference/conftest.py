"""A trained run and a folder with input rows, for the prediction tests."""

from pathlib import Path

import pytest
from files import write
from prediction import ROWS
from runs import train_in


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished run of one epoch."""
    folder = tmp_path_factory.mktemp("predicting_run")
    return str(train_in(folder, "training.epochs=1").path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which contains in.csv."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "in.csv", ROWS)
    return tmp_path
