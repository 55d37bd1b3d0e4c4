"""Runs with a report, trained once for all report tests."""

import numpy as np
import pytest
from report_pages import SCRIPT, write_rows
from runs import train_in

TASKS = ["single_label", "multi_label", "regression"]


@pytest.fixture(scope="session", params=TASKS)
def run(request, tmp_path_factory):
    """A finished run of each task."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return train_in(folder, f"data.task={request.param}", report=True)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A run whose texts, labels and slices look like markup.

    The labels are random, so that the predictions have many errors.
    """
    folder = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    names = [f"{SCRIPT} {i}" for i in range(3)]
    overrides = ["data=files", "report.slices=[source]", f"name='{SCRIPT}'"]
    for split, size in (("train", 60), ("val", 30), ("test", 40)):
        rows = []
        for i in range(size):
            image = f"<img src=https://evil.example/{split}/{i}>"
            text = f"{SCRIPT} \x07 {image} {i}"
            rows.append([text, names[random.integers(3)], f"<b>{i % 2}</b>"])
        file = write_rows(folder / f"{split}.csv", rows)
        overrides.append(f"data.{split}_path={file}")
    return train_in(folder / "run", *overrides, report=True)
