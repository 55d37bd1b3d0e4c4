"""All trackers at once: the same metrics in each, the same run as with none, and each broken in every way."""

import logging
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from runs import fingerprint, train_in
from tracked import (
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
def none(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("none"), "tracker=[]", *OPTIONS)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    return train_in(
        tmp_path_factory.mktemp("five"),
        "tracker=[jsonl,tensorboard,mlflow,wandb,dvclive]",
        *OPTIONS,
    )


@pytest.mark.slow
@together
def test_every_scalar_is_the_same_in_all_five(five):
    values = from_jsonl(five)
    assert {name.split("/")[0] for name, _ in values} == {"train", "val", "test"}
    assert len(values) > 50
    assert from_mlflow(five) == values
    assert from_wandb(five) == values
    assert from_dvclive(five) == values
    assert from_results(five) == values
    singles = {
        at: [float(np.float32(value)) for value in logged]
        for at, logged in values.items()
    }
    assert from_tensorboard(five) == singles  # its files hold single precision


@together
def test_final_metrics_are_the_best_weights(five):
    results = read_json(five.results)
    final = {
        f"{split}/{name}": results[split][name]
        for split in ("val", "test")
        for name in ("loss", "macro_f1")
    }
    (file,) = wandb_files(five)
    summary = [item for record in wandb_records(file) for item in record.summary.update]
    in_wandb = {
        item.key or "/".join(item.nested_key): float(item.value_json)
        for item in summary
        if "final" in str(item)
    }
    in_dvclive = read_json(five.dvclive / "metrics.json")["final"]
    in_mlflow = mlflow_run(five)[1].data.metrics
    for name, value in final.items():
        split, metric = name.split("/")
        assert (
            in_mlflow[f"final/{name}"]
            == in_wandb[f"final/{name}"]
            == in_dvclive[split][metric]
            == value
        )


@together
def test_five_trackers_leave_the_run_that_none_leaves(none, five):
    assert fingerprint(five) == fingerprint(none)


@pytest.mark.parametrize("name", ["jsonl", *VENDORS])
def test_a_place_that_cannot_be_written_costs_one_warning(none, tmp_path, caplog, name):
    if name in VENDORS:
        pytest.importorskip(name, reason=f"needs the extra {name}")
    in_the_way = tmp_path / {"jsonl": "metrics.jsonl", "mlflow": "mlflow.db"}.get(
        name, name
    )
    in_the_way.mkdir() if "." in in_the_way.name else in_the_way.touch()
    run = train_in(tmp_path, f"tracker=[{name}]", *OPTIONS)
    ends_well(run, none, caplog, name)


class Broken:
    """A vendor of which everything that is reached for and called raises, or never comes back."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs

    def __call__(self, *args, **kwargs):
        if self.hangs:
            threading.Event().wait()
        raise RuntimeError("vendor is out of order")

    def __getattr__(self, name):
        return self


ENTRANCES = {  # by what name a tracker's module knows its vendor
    "tensorboard": "SummaryWriter",
    "mlflow": "MlflowClient",
    "wandb": "wandb",
    "dvclive": "_Files",
}


@pytest.mark.parametrize("hangs", [False, True], ids=["raises", "hangs"])
@pytest.mark.parametrize("name", ENTRANCES)
def test_a_vendor_that_is_broken_from_the_start_costs_one_warning(
    none, tmp_path, caplog, monkeypatch, name, hangs
):
    if name in VENDORS:
        pytest.importorskip(name, reason=f"needs the extra {name}")
    monkeypatch.setattr(f"ostinato.trackers.{name}.{ENTRANCES[name]}", Broken(hangs))
    run = train_in(tmp_path, f"tracker=[{name}]", "tracker.timeout=1", *OPTIONS)
    ends_well(
        run, none, caplog, name, "no answer within 1 s" if hangs else "out of order"
    )


METHODS = [
    ("mlflow", "mlflow.MlflowClient.log_batch"),
    ("mlflow", "mlflow.MlflowClient.set_terminated"),
    ("wandb", "wandb.Run.log"),
    ("wandb", "wandb.Run.log_artifact"),
    ("dvclive", "dvclive.Live.log_metric"),
    ("dvclive", "dvclive.Live.log_image"),
    ("dvclive", "dvclive.Live.end"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"), METHODS, ids=[method for _, method in METHODS]
)
def test_a_vendor_that_fails_on_the_way_costs_one_warning(
    none, tmp_path, caplog, monkeypatch, name, method
):
    pytest.importorskip(name, reason=f"needs the extra {name}")
    monkeypatch.setattr(method, Broken(hangs=False))
    run = train_in(tmp_path, f"tracker=[{name}]", *OPTIONS)
    ends_well(run, none, caplog, name, "out of order")


def ends_well(run, none, caplog, name, reason=""):
    assert fingerprint(run) == fingerprint(none)
    assert read_json(run.results)["status"] == "finished"
    (warning,) = [
        r.getMessage()
        for r in caplog.records
        if r.levelno >= logging.WARNING and "tracker" in r.getMessage()
    ]
    assert f"tracker {name} failed" in warning
    assert reason in warning
    assert "\n" not in warning
