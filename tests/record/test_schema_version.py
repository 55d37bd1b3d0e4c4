"""Each record of a run holds the version of its schema; a newer one is refused."""

import json

import pytest
from runs import train_in

from ostinato.errors import ConfigError
from ostinato.record.difference import first_difference
from ostinato.record.files import (
    SCHEMA_VERSION,
    read_fingerprint,
    read_finished_results,
    read_provenance,
    read_results,
    write_fingerprint,
    write_provenance,
    write_results,
)
from ostinato.record.results import finished_metric, has_ended
from ostinato.run_dir import RunDir, read_json, write_record

STEP = {"step": 1, "order": "o", "loss": 0.5, "grad_norm": None}
RESULTS = {
    "status": "finished",
    "monitor": "accuracy",
    "best_step": 1,
    "validation": [{"step": 1, "accuracy": 0.5}],
}
PROVENANCE = {"packages": {}, "data": {"train": "d"}, "code": "c", "threads": 1}
FINGERPRINT = {
    "data": {"train": "d"},
    "initial_weights": "i",
    "steps": [STEP],
    "evaluations": {},
    "weights": "w",
    "best_weights": "b",
    "predictions": {},
}
RECORDS = {
    "results": (RESULTS, read_results, write_results),
    "provenance": (PROVENANCE, read_provenance, write_provenance),
    "fingerprint": (FINGERPRINT, read_fingerprint, write_fingerprint),
}


@pytest.fixture(params=RECORDS)
def record(request, tmp_path):
    """A run folder with one record: the folder, the file, content, reader, writer."""
    run = RunDir(tmp_path)
    return run, getattr(run, request.param), *RECORDS[request.param]


def test_a_record_is_written_with_its_version_and_read_without(record):
    run, path, content, read, write = record
    write(run, content)
    stored = json.loads(path.read_text())
    assert stored["schema_version"] == SCHEMA_VERSION == 1
    assert read(run) == content


def test_a_record_without_a_version_is_read(record):
    run, path, content, read, _ = record
    write_record(path, content)
    assert "schema_version" not in read_json(path)
    assert read(run) == content


def test_a_record_of_a_newer_version_is_refused_in_one_line(record):
    run, path, _, read, _ = record
    # Its other keys may have changed, so the version is checked first.
    write_record(path, {"schema_version": 2})
    with pytest.raises(ConfigError) as error:
        read(run)
    newer = "schema_version=2 is newer than this program reads (1); update ostinato"
    assert error.value.problems == [f"{path}: {newer}"]


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None, []])
def test_a_version_that_is_not_a_positive_integer_is_damage(record, version):
    run, path, content, read, _ = record
    write_record(path, content | {"schema_version": version})
    with pytest.raises(ConfigError, match=r"damaged \(schema_version=") as error:
        read(run)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"steps": [STEP, STEP | {"order": 3}]}, r"steps\.1\.order"),
        ({"steps": [{"step": 1}]}, r"steps\.0\.order"),
        ({"weights": None}, "weights"),
        ({"best_files": {"a": 1}}, r"best_files\.a"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_key(tmp_path, change, key):
    run = RunDir(tmp_path)
    write_fingerprint(run, FINGERPRINT | change)
    with pytest.raises(ConfigError, match=rf"json: damaged \({key}: "):
        read_fingerprint(run)


def test_two_fingerprints_that_differ_in_the_version_only_are_identical():
    newer = FINGERPRINT | {"schema_version": 1}
    assert first_difference(FINGERPRINT, newer) is None
    assert first_difference(newer, FINGERPRINT) is None


def test_newer_results_count_as_ended_so_that_they_are_not_overwritten(tmp_path):
    run = RunDir(tmp_path)
    write_record(run.results, RESULTS | {"schema_version": 2})
    assert has_ended(run)
    assert finished_metric(run) is None


@pytest.mark.slow
def test_a_training_writes_the_version_into_all_three_records(tmp_path):
    run = train_in(tmp_path, "training.epochs=1")
    for path in (run.results, run.provenance, run.fingerprint):
        assert read_json(path)["schema_version"] == SCHEMA_VERSION
    assert read_finished_results(run)["status"] == "finished"
