"""MLflow, read back through its own client: a database in the run folder, a real server, resumed runs, sweeps."""

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
from tracked import from_jsonl, from_mlflow, mlflow_run

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
    places = [
        "--backend-store-uri",
        f"sqlite:///{home}/mlflow.db",
        "--artifacts-destination",
        home / "artefacts",
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    log = (home / "log").open("w")
    with subprocess.Popen(
        [*command, *places], cwd=home, env=environment, stdout=log, stderr=log
    ) as process:
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(
                        f"http://127.0.0.1:{port}/health", timeout=5
                    ).close()
                    break
                except OSError:
                    assert process.poll() is None, (home / "log").read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def artefacts(client, run_id: str, folder: str | None = None) -> set[str]:
    found = client.list_artifacts(run_id, folder)
    return {f.path for f in found if not f.is_dir}.union(
        *(artefacts(client, run_id, f.path) for f in found if f.is_dir)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["database", pytest.param("server", marks=pytest.mark.proof)]
)
def test_all_of_a_run_comes_back(tmp_path, request, where):
    uri = request.getfixturevalue("server") if where == "server" else None
    where_to = (
        f"tracker.mlflow.uri={uri or 'null'}",
        "tracker.mlflow.experiment=trial",
    )
    run = train_in(tmp_path / "a b", *CHOSEN, *where_to, report=True)
    client, kept = mlflow_run(run, uri)
    assert from_mlflow(run, uri) == from_jsonl(run)
    assert client.get_experiment(kept.info.experiment_id).name == "trial"
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "a b")
    config = read_config(run)
    assert kept.data.params["training.lr"] == str(config["training"]["lr"])
    assert kept.data.params["seed"] == "42"
    files = artefacts(client, kept.info.run_id)
    assert {
        "config.yaml",
        "provenance.json",
        "best/model.safetensors",
        "report.html",
    } <= files
    assert "metrics/val/confusion_matrix.png" in files
    fetched = Path(
        client.download_artifacts(
            kept.info.run_id, "best/model.safetensors", str(tmp_path)
        )
    )
    assert fetched.read_bytes() == run.best_weights.read_bytes()
    assert (run.path / "mlflow.db").exists() == (where == "database")


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_the_same_mlflow_run(tmp_path, monkeypatch):
    options = (*CHOSEN, "training.checkpoint_every=4")
    train_until_killed(monkeypatch, 6, tmp_path, *options)
    _, failed = mlflow_run(RunDir(tmp_path))
    assert failed.info.status == "FAILED"
    run = train_in(tmp_path, *options, f"resume.run={tmp_path}")
    client, kept = mlflow_run(run)
    assert kept.info.run_id == failed.info.run_id
    assert kept.info.status == "FINISHED"
    (experiment,) = client.search_experiments(filter_string="name = 'ostinato'")
    assert len(client.search_runs([experiment.experiment_id])) == 1
    written = from_mlflow(run)
    assert {at: values[-1:] for at, values in written.items()} == from_jsonl(run)
    twice = {at for at, values in written.items() if len(values) > 1}
    assert {step for _, step in twice} == {5, 6} - {
        max(step for _, step in written) + 1
    }
    assert all(
        len(set(written[name, step])) == 1
        for name, step in twice
        if not name.endswith("_per_s")
    )


@pytest.mark.slow
def test_a_new_run_in_a_used_folder_is_a_new_mlflow_run_and_copies_no_model_if_told_so(
    tmp_path,
):
    _, first = mlflow_run(train_in(tmp_path, *CHOSEN))
    RunDir(
        tmp_path
    ).config.unlink()  # else the second run is refused in a folder that holds a run
    client, second = mlflow_run(
        train_in(tmp_path, *CHOSEN, "tracker.mlflow.artefacts=false")
    )
    assert first.info.run_id != second.info.run_id
    assert "best/config.json" in artefacts(client, first.info.run_id)
    assert "best/config.json" not in artefacts(client, second.info.run_id)


@pytest.mark.proof
@pytest.mark.slow
def test_a_sweep_is_a_parent_with_its_jobs_as_children(tmp_path):
    command = [
        sys.executable,
        "scripts/train.py",
        "-m",
        *DEBUG,
        *CHOSEN,
        "training.epochs=1",
        "seed=1,2",
    ]
    command += [f"hydra.sweep.dir={tmp_path}/sweep", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tracker mlflow failed" not in done.stderr
    jobs = [
        RunDir(path.parent)
        for path in sorted((tmp_path / "sweep").glob("*/results.json"))
    ]
    client, _ = mlflow_run(jobs[0])
    (experiment,) = client.search_experiments(filter_string="name = 'ostinato'")
    runs = {
        run.info.run_name: run for run in client.search_runs([experiment.experiment_id])
    }
    assert set(runs) == {"sweep", *(job.path.name for job in jobs)}
    assert len(jobs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for job in jobs:
        assert (
            runs[job.path.name].data.tags["mlflow.parentRunId"]
            == runs["sweep"].info.run_id
        )
        assert from_mlflow(job) == from_jsonl(job)
        assert not (job.path / "mlflow.db").exists()


def test_a_server_that_is_away_costs_one_line_that_keeps_the_password(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}"  # pragma: allowlist secret
        run = train_in(tmp_path, *CHOSEN, f"tracker.mlflow.uri={uri}")
    (line,) = [
        r.getMessage() for r in caplog.records if "tracker mlflow" in r.getMessage()
    ]
    assert "secret" not in line
    assert "Connection refused" in line
    assert read_json(run.results)["status"] == "finished"


@pytest.mark.slow
def test_a_secret_stays_a_reference(tmp_path, monkeypatch, server):
    monkeypatch.setenv("OSTINATO_TEST_URI", server)
    run = train_in(tmp_path, *CHOSEN, "tracker.mlflow.uri=${oc.env:OSTINATO_TEST_URI}")
    client, kept = mlflow_run(run, server)
    assert kept.data.params["tracker.mlflow.uri"] == "${oc.env:OSTINATO_TEST_URI}"
    config = Path(
        client.download_artifacts(kept.info.run_id, "config.yaml", str(tmp_path))
    ).read_text()
    assert server not in config
