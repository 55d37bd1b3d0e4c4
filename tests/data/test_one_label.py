"""A multi-label classifier with one label works: training, scores, report, loading."""

import numpy as np
import pytest
from files import write
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import train_in
from sklearn.metrics import f1_score

from ostinato import TextClassifier
from ostinato.config import Task
from ostinato.run_dir import read_json
from ostinato.scoring.bootstrap import estimate
from ostinato.scoring.scores import score

MULTI = Task.multi_label


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from([-3, -0.5, 0, 0.25, 2]), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_metrics_of_one_label_equal_those_of_its_positive_class(rows):
    logits = np.array([[value] for value, _ in rows], np.float32)
    labels = np.array([[truth] for _, truth in rows], np.float32)
    scores = score(MULTI, logits, labels, ["spam"])
    expected = f1_score(labels[:, 0], logits[:, 0] > 0, zero_division=0)
    assert scores.metrics["micro_f1"] == scores.metrics["macro_f1"] == expected
    assert scores.per_class["spam"]["f1"] == expected
    assert scores.per_class["spam"]["support"] == labels.sum()
    assert scores.metrics["subset_accuracy"] == np.mean((logits > 0) == (labels > 0))
    estimates = estimate(MULTI, logits, labels)
    for name in ("loss", "micro_f1", "macro_f1", "subset_accuracy"):
        assert estimates[name].value == pytest.approx(scores.metrics[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one label")
    rows = [
        {"text": f"word{i % 7} word{i % 5}", "label": "spam" if i % 3 == 0 else ""}
        for i in range(120)
    ]
    path = write(folder, "train.csv", rows)
    overrides = [
        "data=files",
        f"data.train_path={path}",
        "data.task=multi_label",
        "data.limit_test=null",
    ]
    return train_in(folder / "run", *overrides, "data.test_path=null", report=True)


@pytest.mark.slow
def test_a_run_with_one_label_is_complete(run):
    results = read_json(run.results)
    assert results["labels"] == ["spam"]
    assert set(results["calibration"]["thresholds"]) == {"spam"}
    assert "spam" in run.report.read_text()
    assert "spam" in run.model_card.read_text()


def test_predictions_of_one_label_are_probabilities_not_values(run):
    for calibrated in (False, True):
        row = TextClassifier.load(run.path, calibrated=calibrated).predict(
            ["word1 word2"]
        )[0]
        assert set(row) == {"labels", "scores"}
        assert 0 < row["scores"]["spam"] < 1
