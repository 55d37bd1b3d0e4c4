"""All trackers in one run; and each tracker with a broken library."""

import logging
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from runs import fingerprint, train_in
from tracked import (
    empty_mlflow_database,
    from_dvclive,
    from_jsonl,
    from_mlflow,
    from_results,
    from_tensorboard,
    from_wandb,
    mlflow_run,
    wandb_files,
    wandb_records,
)

from ostinato.run_dir import read_json

OPTIONS = ("training.log_every=1",)
VENDORS = ("mlflow", "wandb", "dvclive")
missing = [name for name in VENDORS if find_spec(name) is None]
together = pytest.mark.skipif(
    bool(missing), reason=f"needs the extras {', '.join(missing)}"
)


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """A run without trackers."""
    return train_in(tmp_path_factory.mktemp("none"), "tracker=[]", *OPTIONS)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run with all five trackers."""
    folder = tmp_path_factory.mktemp("five")
    chosen = "tracker=[jsonl,tensorboard,mlflow,wandb,dvclive]"
    return train_in(folder, chosen, *OPTIONS)


def skip_without(name):
    """Skips a test if the package of a tracker is not installed."""
    if name in VENDORS:
        pytest.importorskip(name, reason=f"needs the extra {name}")


@pytest.mark.slow
@together
def test_every_tracker_has_the_same_scalars(tracked):
    values = from_jsonl(tracked)
    assert {name.split("/")[0] for name, _ in values} == {"train", "val", "test"}
    assert len(values) > 50
    assert from_mlflow(tracked) == values
    assert from_wandb(tracked) == values
    assert from_dvclive(tracked) == values
    assert from_results(tracked) == values
    # The files of TensorBoard hold single precision.
    in_single_precision = {}
    for at, logged in values.items():
        in_single_precision[at] = [float(np.float32(value)) for value in logged]
    assert from_tensorboard(tracked) == in_single_precision


@together
def test_final_metrics_belong_to_the_best_weights(tracked):
    results = read_json(tracked.results)
    in_mlflow = mlflow_run(tracked)[1].data.metrics
    in_wandb = wandb_final_metrics(tracked)
    in_dvclive = read_json(tracked.dvclive / "metrics.json")["final"]
    for split in ("val", "test"):
        for name in ("loss", "macro_f1"):
            value = results[split][name]
            assert in_mlflow[f"final/{split}/{name}"] == value
            assert in_wandb[f"final/{split}/{name}"] == value
            assert in_dvclive[split][name] == value


def wandb_final_metrics(run):
    (file,) = wandb_files(run)
    final = {}
    for record in wandb_records(file):
        for item in record.summary.update:
            if "final" in str(item):
                name = item.key or "/".join(item.nested_key)
                final[name] = float(item.value_json)
    return final


@pytest.mark.slow
@together
def test_trackers_do_not_change_a_run(untracked, tracked):
    assert fingerprint(tracked) == fingerprint(untracked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", *VENDORS])
def test_an_output_that_cannot_be_written_is_one_warning(
    untracked, tmp_path, caplog, name
):
    skip_without(name)
    if name in ("jsonl", "mlflow"):
        file = {"jsonl": "metrics.jsonl", "mlflow": "mlflow.db"}[name]
        (tmp_path / file).mkdir()  # a folder instead of a file
    else:
        (tmp_path / name).touch()  # a file instead of a folder
    run = train_in(tmp_path, f"tracker=[{name}]", *OPTIONS)
    assert_finished_with_one_warning(run, untracked, caplog, name)


class Broken:
    """A library whose attributes raise an error, or hang, when they are called."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs

    def __call__(self, *args, **kwargs):
        if self.hangs:
            threading.Event().wait()
        raise RuntimeError("library is out of order")

    def __getattr__(self, name):
        return self


# The name by which the module of each tracker uses its library.
ENTRY_POINTS = {
    "tensorboard": "SummaryWriter",
    "mlflow": "MlflowClient",
    "wandb": "wandb",
    "dvclive": "_Files",
}


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [False, True], ids=["raises", "hangs"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if name in ("mlflow", "tensorboard") else pytest.mark.proof
        )
        for name in ENTRY_POINTS
    ],
)
def test_a_library_that_is_broken_from_the_start_is_one_warning(
    untracked, tmp_path, caplog, monkeypatch, name, hangs
):
    skip_without(name)
    entry_point = f"ostinato.trackers.{name}.{ENTRY_POINTS[name]}"
    monkeypatch.setattr(entry_point, Broken(hangs))
    run = train_in(tmp_path, f"tracker=[{name}]", "tracker.timeout=1", *OPTIONS)
    reason = "no answer within 1 s" if hangs else "out of order"
    assert_finished_with_one_warning(run, untracked, caplog, name, reason)


METHODS = [
    ("mlflow", "mlflow.MlflowClient.log_batch"),
    ("mlflow", "mlflow.MlflowClient.set_terminated"),
    ("wandb", "wandb.Run.log"),
    ("wandb", "wandb.Run.log_artifact"),
    ("dvclive", "dvclive.Live.log_metric"),
    ("dvclive", "dvclive.Live.log_image"),
    ("dvclive", "dvclive.Live.end"),
]
SHORT = "set_terminated"  # `make proof` runs the other methods.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(
            *case,
            id=case[1],
            marks=() if case[1].endswith(SHORT) else pytest.mark.proof,
        )
        for case in METHODS
    ],
)
def test_a_library_that_fails_during_the_run_is_one_warning(
    untracked, tmp_path, caplog, monkeypatch, name, method
):
    skip_without(name)
    if name == "mlflow":
        empty_mlflow_database(tmp_path)
    monkeypatch.setattr(method, Broken(hangs=False))
    run = train_in(tmp_path, f"tracker=[{name}]", *OPTIONS)
    assert_finished_with_one_warning(run, untracked, caplog, name, "out of order")


def assert_finished_with_one_warning(run, untracked, caplog, name, reason=""):
    assert fingerprint(run) == fingerprint(untracked)
    assert read_json(run.results)["status"] == "finished"
    warnings = []
    for record in caplog.records:
        message = record.getMessage()
        if record.levelno >= logging.WARNING and "tracker" in message:
            warnings.append(message)
    (warning,) = warnings
    assert f"tracker {name} failed" in warning
    assert reason in warning
    assert "\n" not in warning
