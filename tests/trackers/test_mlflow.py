"""MLflow, read back through its own client: database, server, resumed runs, sweeps."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import DEBUG, train_in, train_until_killed
from tracked import empty_mlflow_database, from_jsonl, from_mlflow, mlflow_run

from ostinato.run_dir import RunDir, read_config, read_json

mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
ROOT = Path(__file__).parents[2]
CHOSEN = ("tracker=[jsonl,mlflow]", "training.log_every=1")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """Address of an MLflow server on this machine."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db"]
    command += ["--artifacts-destination", str(home / "artefacts")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    log = home / "log"
    address = f"http://127.0.0.1:{port}"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=home, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            wait_until_healthy(address, process, log)
            yield address
        finally:
            process.terminate()


def wait_until_healthy(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return


def artefacts(client, run_id: str, folder: str | None = None) -> set[str]:
    """Paths of all artefacts of an MLflow run."""
    paths = set()
    for found in client.list_artifacts(run_id, folder):
        if found.is_dir:
            paths |= artefacts(client, run_id, found.path)
        else:
            paths.add(found.path)
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["database", pytest.param("server", marks=pytest.mark.proof)]
)
def test_mlflow_holds_the_whole_run(tmp_path, request, where):
    uri = request.getfixturevalue("server") if where == "server" else None
    run = train_in(
        tmp_path / "a b",
        *CHOSEN,
        f"tracker.mlflow.uri={uri or 'null'}",
        "tracker.mlflow.experiment=trial",
        report=True,
    )
    client, recorded = mlflow_run(run, uri)
    assert from_mlflow(run, uri) == from_jsonl(run)
    assert client.get_experiment(recorded.info.experiment_id).name == "trial"
    assert (recorded.info.status, recorded.info.run_name) == ("FINISHED", "a b")
    config = read_config(run)
    assert recorded.data.params["training.lr"] == str(config["training"]["lr"])
    assert recorded.data.params["seed"] == "42"

    run_id = recorded.info.run_id
    files = artefacts(client, run_id)
    assert {"config.yaml", "provenance.json", "report.html"} <= files
    assert {"best/model.safetensors", "plots/val/confusion_matrix.png"} <= files
    model = "best/model.safetensors"
    fetched = Path(client.download_artifacts(run_id, model, str(tmp_path)))
    assert fetched.read_bytes() == run.best_weights.read_bytes()
    assert (run.path / "mlflow.db").exists() == (where == "database")


@pytest.mark.proof
@pytest.mark.slow
def test_a_resumed_run_continues_its_mlflow_run(tmp_path, monkeypatch):
    empty_mlflow_database(tmp_path)
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    _, failed = mlflow_run(RunDir(tmp_path))
    assert failed.info.status == "FAILED"

    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    client, recorded = mlflow_run(run)
    assert recorded.info.run_id == failed.info.run_id
    assert recorded.info.status == "FINISHED"
    (experiment,) = client.search_experiments(filter_string="name = 'ostinato'")
    assert len(client.search_runs([experiment.experiment_id])) == 1

    written = from_mlflow(run)
    last_values = {at: values[-1:] for at, values in written.items()}
    assert last_values == from_jsonl(run)
    twice = {at for at, values in written.items() if len(values) > 1}
    last_step = max(step for _, step in written)
    assert {step for _, step in twice} == {5, 6} - {last_step + 1}
    for name, step in twice:
        if not name.endswith("_per_s"):
            assert len(set(written[name, step])) == 1


@pytest.mark.proof
@pytest.mark.slow
def test_a_new_run_in_a_used_folder_is_a_new_mlflow_run(tmp_path):
    empty_mlflow_database(tmp_path)
    _, first = mlflow_run(train_in(tmp_path, *CHOSEN))
    # Otherwise the second run is refused, because the folder holds a run.
    RunDir(tmp_path).config.unlink()
    second_run = train_in(tmp_path, *CHOSEN, "tracker.mlflow.artefacts=false")
    client, second = mlflow_run(second_run)
    assert first.info.run_id != second.info.run_id
    assert "best/config.json" in artefacts(client, first.info.run_id)
    assert "best/config.json" not in artefacts(client, second.info.run_id)


@pytest.mark.proof
@pytest.mark.slow
def test_a_sweep_is_a_parent_run_and_its_jobs_are_children(tmp_path):
    command = [sys.executable, "scripts/train.py", "-m", *DEBUG, *CHOSEN]
    command += ["training.epochs=1", "seed=1,2"]
    command += [f"hydra.sweep.dir={tmp_path}/sweep", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tracker mlflow failed" not in done.stderr

    results = sorted((tmp_path / "sweep").glob("*/results.json"))
    jobs = [RunDir(path.parent) for path in results]
    client, _ = mlflow_run(jobs[0])
    (experiment,) = client.search_experiments(filter_string="name = 'ostinato'")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert set(runs) == {"sweep", *(job.path.name for job in jobs)}
    assert len(jobs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs["sweep"].info.run_id
    for job in jobs:
        tags = runs[job.path.name].data.tags
        assert tags["mlflow.parentRunId"] == parent
        assert from_mlflow(job) == from_jsonl(job)
        assert not (job.path / "mlflow.db").exists()


@pytest.mark.slow
def test_an_unreachable_server_is_one_warning_without_the_password(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}"  # pragma: allowlist secret
        run = train_in(tmp_path, *CHOSEN, f"tracker.mlflow.uri={uri}")
    messages = [record.getMessage() for record in caplog.records]
    (message,) = [text for text in messages if "tracker mlflow" in text]
    assert "secret" not in message
    assert "Connection refused" in message
    assert read_json(run.results)["status"] == "finished"


@pytest.mark.slow
def test_a_value_of_an_environment_variable_stays_a_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow writes artefacts to the current folder
    address = f"sqlite:///{empty_mlflow_database(tmp_path / 'mine')}"
    monkeypatch.setenv("OSTINATO_TEST_URI", address)
    run = train_in(
        tmp_path / "run", *CHOSEN, "tracker.mlflow.uri=${oc.env:OSTINATO_TEST_URI}"
    )
    client, recorded = mlflow_run(run, address)
    assert recorded.data.params["tracker.mlflow.uri"] == "${oc.env:OSTINATO_TEST_URI}"
    run_id = recorded.info.run_id
    file = client.download_artifacts(run_id, "config.yaml", str(tmp_path))
    assert address not in Path(file).read_text()
