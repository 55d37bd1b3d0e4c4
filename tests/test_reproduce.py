"""`reproduce`: the verdict is identical only if everything is; else it names causes."""

import json
import shutil

import numpy as np
import pytest
import torch
from runs import fingerprint, train_in
from safetensors.numpy import load_file, save_file

from ostinato.cli.command import load_run
from ostinato.config import ReproduceConfig
from ostinato.model.device import available_cores
from ostinato.proof.reproduce import reproduce
from ostinato.record import provenance
from ostinato.record.difference import first_difference
from ostinato.run_dir import RunDir, read_json, write_record
from ostinato.storage.atomic import write_json

ROWS = [
    {"text": f"{'rain tomorrow' if n % 2 else 'the goal'} {n}", "label": "ab"[n % 2]}
    for n in range(60)
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("reproduce")
    write_rows(place / "train.jsonl", ROWS)
    options = ["data.source=files", f"data.train_path={place}/train.jsonl"]
    return train_in(place / "run", *options), options


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run and its data, which a test can change."""
    copy = RunDir(tmp_path / "run")
    shutil.copytree(finished[0].path, copy.path)
    data = finished[0].path.parent / "train.jsonl"
    shutil.copy(data, tmp_path / "train.jsonl")

    def with_new_path(text):
        return text.replace(str(data), str(tmp_path / "train.jsonl"))

    copy.config.write_text(with_new_path(copy.config.read_text()))
    results = with_new_path(json.dumps(read_json(copy.results)))
    write_record(copy.results, json.loads(results))
    return copy


def prove(run, tmp_path, **options):
    folder, config = load_run(str(run.path))
    return reproduce(
        ReproduceConfig(run=str(run.path), output=str(tmp_path / "again"), **options),
        folder,
        config,
    )


@pytest.mark.slow
def test_a_run_that_is_trained_again_is_identical(run, tmp_path):
    verdict = prove(run, tmp_path)
    assert verdict.identical, verdict.lines
    assert verdict.lines[0].startswith("identical: ")


def test_until_step_stops_the_second_run_at_that_step(run, tmp_path):
    verdict = prove(run, tmp_path, until_step=3)
    assert verdict.identical
    again = next((tmp_path / "again").iterdir())
    assert len(RunDir(again).steps.read_text().splitlines()) == 3


def test_one_changed_label_is_named_before_the_training(run, tmp_path):
    write_rows(tmp_path / "train.jsonl", [*ROWS[:-1], {**ROWS[-1], "label": "a"}])
    verdict = prove(run, tmp_path)
    assert not verdict.identical
    assert verdict.lines[0] == "not identical: data.train differs before the first step"
    assert not (tmp_path / "again").exists()


def test_another_learning_rate_is_named(run, tmp_path):
    run.config.write_text(run.config.read_text().replace("lr: 0.01", "lr: 0.02"))
    verdict = prove(run, tmp_path)
    assert not verdict.identical
    assert verdict.lines[1] == "config.yaml: training.lr: 0.01 -> 0.02"


@pytest.mark.proof
def test_another_thread_count_is_named(run, tmp_path):
    record = read_json(run.provenance)
    write_json(run.provenance, record | {"threads": 64})
    verdict = prove(run, tmp_path)
    assert not verdict.identical
    assert verdict.lines[1] == "threads: 64 -> 1"


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
@pytest.mark.usefixtures("preloaded_fork_server")
def test_a_run_of_several_processes_is_repeated_with_its_threads(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    options = ("training.processes=3", "training.accumulate=3", "training.threads=null")
    with monkeypatch.context() as larger:
        larger.setattr("ostinato.model.device._DEFAULT_THREADS", 6)
        run = train_in(tmp_path / "run", *options)
    try:
        verdict = prove(run, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert read_json(run.provenance)["threads"] == 2
    assert verdict.identical, verdict.lines


@pytest.mark.slow
def test_another_version_of_a_library_is_named(run, tmp_path, monkeypatch):
    real = provenance.environment

    def faked(*a):
        return real(*a) | {"packages": real()["packages"] | {"transformers": "0.0.1"}}

    monkeypatch.setattr("ostinato.run.identity.environment", faked)
    verdict = prove(run, tmp_path)
    assert not verdict.identical
    assert verdict.lines[1].startswith("packages.transformers: ")
    assert verdict.lines[1].endswith(" -> 0.0.1")


def test_one_changed_weight_is_named(run, tmp_path):
    weights = load_file(run.best_weights)
    weights["classifier.bias"][0] = np.nextafter(
        weights["classifier.bias"][0], np.float32(1)
    )
    save_file(weights, run.best_weights, metadata={"format": "pt"})
    verdict = prove(run, tmp_path)
    assert not verdict.identical
    assert "model.safetensors: damaged or changed" in verdict.lines[1]


@pytest.mark.slow
def test_two_finished_runs_are_compared_without_training(run, finished, tmp_path):
    twin = train_in(tmp_path / "twin", *finished[1])
    other = train_in(tmp_path / "other", *finished[1], "training.seeds.dropout=5")
    assert prove(finished[0], tmp_path, against=str(twin.path)).identical
    verdict = prove(finished[0], tmp_path, against=str(other.path))
    assert verdict.lines[0].startswith(
        "not identical: first difference in loss at step 1: "
    )
    assert verdict.lines[1] == "training.seeds.dropout: None -> 5"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("purpose", "first_stream"),
    [
        ("head", "initial_weights"),
        pytest.param("order", "order", marks=pytest.mark.proof),
        pytest.param("dropout", "loss", marks=pytest.mark.proof),
        pytest.param("split", "data", marks=pytest.mark.proof),
        pytest.param("subsample", "data", marks=pytest.mark.proof),
    ],
)
def test_each_seed_changes_its_own_stream_and_no_earlier_one(
    finished, tmp_path, purpose, first_stream
):
    options = [*finished[1], "data.limit_train=40"]
    plain = fingerprint(train_in(tmp_path / "a", *options))
    moved = fingerprint(
        train_in(tmp_path / "b", *options, f"training.seeds.{purpose}=0")
    )
    assert first_difference(plain, moved).stream == first_stream
