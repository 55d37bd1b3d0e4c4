"""Export to ONNX: an exported model predicts like torch; a different one is refused."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
from families import family
from runs import configure, train_in
from transformers import AutoModelForSequenceClassification

from ostinato.config import ExportConfig, Task
from ostinato.errors import ConfigError, DataError
from ostinato.inference.classifier import TextClassifier
from ostinato.run_dir import RunDir, read_json, write_record

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

import onnx

from ostinato.inference import onnx_export
from ostinato.inference.onnx_classifier import OnnxClassifier
from ostinato.inference.onnx_comparison import check_agreement, compare_logits
from ostinato.inference.onnx_conversion import PaddedClassifier, write_onnx_model

pytestmark = pytest.mark.slow

TEXTS = ["a", "ship and wheat and oil", "the bank " * 40]


def export(run, *overrides, **options):
    config, _ = configure(*overrides)
    return onnx_export.export_onnx(
        ExportConfig(run=str(run.path), **options), run, config
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with an exported model, also with 8-bit weights."""
    run = train_in(tmp_path_factory.mktemp("run"))
    export(run, int8=True)
    return run


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run, for tests that damage it."""
    return RunDir(shutil.copytree(run.path, tmp_path / "copy"))


@pytest.mark.slow
def test_the_record_holds_agreement_and_speed(run):
    record = json.loads((run.onnx / "export.json").read_text())
    compared = record["compared"]["model.onnx"]
    assert compared["max_difference"] <= 1e-5 * compared["largest"]
    assert compared["same_labels"] == 1
    assert record["texts"] == {"splits": ["test", "val"], "number": 60}  # all rows
    assert set(record["seconds"]) == {"torch", "model.onnx", "model_quantized.onnx"}
    for measured in record["seconds"].values():
        assert all(seconds > 0 for seconds in measured.values())
    fp32_size = (run.onnx / "model.onnx").stat().st_size
    int8_size = (run.onnx / "model_quantized.onnx").stat().st_size
    assert int8_size < fp32_size
    assert (run.onnx / "tokenizer.json").is_file()


@pytest.mark.parametrize("where", ["run folder", "exported folder"])
def test_predictions_equal_those_of_torch_for_any_batch_size(run, where):
    folder = run.path if where == "run folder" else run.onnx
    exported = OnnxClassifier.load(folder, calibrated=True)
    expected = TextClassifier.load(run.path, calibrated=True).predict(TEXTS)
    for batch_size in (1, 2, 64):
        found = exported.predict(TEXTS, batch_size=batch_size)
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        assert_same_predictions(found, expected, "scores")


def assert_same_predictions(found, expected, key):
    """Requires values that differ by at most 1e-5 of the largest one."""
    found, expected = numbers_of(found, key), numbers_of(expected, key)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def numbers_of(rows, key):
    values = [row[key] for row in rows]
    if key == "scores":
        values = [list(scores.values()) for scores in values]
    return np.array(values)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_the_allowed_difference_is_relative_to_the_logits(scale):
    logits = scale * np.array([[1, -2], [3, 0]], np.float32)
    for difference, allowed in ((1e-6, True), (1e-3, False), (np.nan, False)):
        agreement = compare_logits(
            Fixed(logits), Fixed(logits * (1 + difference)), [1, 2]
        )
        with nullcontext() if allowed else pytest.raises(ConfigError):
            check_agreement(agreement)


class Fixed:
    """A classifier with fixed logits."""

    task = Task.single_label

    def __init__(self, logits):
        self.logits = logits

    def encode(self, pairs):
        return pairs

    def forward(self, rows):
        return self.logits


@pytest.mark.proof
def test_padding_that_changes_logits_is_not_exported(tmp_path):
    """A training with packed batches ignores the padding side of the tokenizer."""
    trained = train_in(tmp_path / "trained")
    model = tmp_path / "left"
    shutil.copytree(trained.best, model)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["padding_side"] = "left"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    overrides = ("model=minilm", f"model.name={model}", "model.max_length=32")
    run = train_in(tmp_path / "run", *overrides)
    assert TextClassifier.load(run.path).tokenizer.padding_side == "left"
    export(run, *overrides)
    found = OnnxClassifier.load(run.path).predict(TEXTS)
    expected = TextClassifier.load(run.path).predict(TEXTS)
    assert_same_predictions(found, expected, "scores")


def test_a_row_that_the_classifier_cannot_pool_is_refused(run):
    tokenizer = TextClassifier.load(run.path).tokenizer
    config = family("gpt2", pad_token_id=tokenizer.pad_token_id)
    classifier = OnnxClassifier(run.onnx / "model.onnx", tokenizer, config)
    rows = classifier.encode([("a", None), ("b", None)])
    assert classifier.forward(rows).shape == (2, 3)
    rows["input_ids"][1][-1] = tokenizer.pad_token_id
    with pytest.raises(DataError, match="row 1 ends with the pad token"):
        classifier.forward(rows)


@pytest.mark.proof
def test_an_architecture_that_torch_cannot_convert_is_refused_in_one_line(
    run, tmp_path
):
    tokenizer = TextClassifier.load(run.path).tokenizer
    config = family("gpt2", vocab_size=len(tokenizer))
    model = AutoModelForSequenceClassification.from_config(config)
    reference = PaddedClassifier(model, tokenizer)
    pairs = [(text, None) for text in TEXTS]
    with pytest.raises(ConfigError, match="torch cannot convert gpt2") as error:
        write_onnx_model(reference, pairs, 18, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.proof
@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_other_tasks_are_exported_too(task, tmp_path):
    run = train_in(tmp_path / "run", f"data.task={task}")
    export(run, f"data.task={task}", output=str(tmp_path / "exported"))
    found = OnnxClassifier.load(tmp_path / "exported").predict(TEXTS)
    expected = TextClassifier.load(run.path).predict(TEXTS)
    key = "value" if task == "regression" else "scores"
    assert_same_predictions(found, expected, key)
    found_labels = [row.get("labels") for row in found]
    assert found_labels == [row.get("labels") for row in expected]


@pytest.mark.proof
@pytest.mark.parametrize(
    "family", ["distilbert", "electra", "roberta", "modernbert", "deberta-v2"]
)
def test_every_family_is_exported(family, tmp_path):
    overrides = [f"model.architecture.model_type={family}"]
    if family == "deberta-v2":
        overrides.append("model.attention=eager")
    run = train_in(tmp_path, *overrides)
    export(run, *overrides)
    found = OnnxClassifier.load(run.path).predict(TEXTS)
    expected = TextClassifier.load(run.path).predict(TEXTS)
    assert_same_predictions(found, expected, "scores")


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["weight", "not a number"])
def test_a_model_that_differs_is_not_written(wrong, copy, monkeypatch):
    def write_wrong_model(reference, pairs, opset, path):
        model = onnx.load(copy.onnx / "model.onnx")
        weights = model.graph.initializer
        (bias,) = (weight for weight in weights if weight.name == "classifier.bias")
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] = values[0] + 1e-3 if wrong == "weight" else np.nan
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(model, path)

    monkeypatch.setattr(onnx_export, "write_onnx_model", write_wrong_model)
    before = {path: path.read_bytes() for path in copy.onnx.iterdir()}
    message = r"not written, ONNX Runtime differs from torch by (1\.0e-03|nan)"
    with pytest.raises(ConfigError, match=message):
        export(copy)
    assert before == {path: path.read_bytes() for path in copy.onnx.iterdir()}
    folders = {path.name for path in copy.path.iterdir() if "onnx" in path.name}
    assert folders == {"onnx"}


def test_a_folder_that_is_not_an_export_is_not_replaced(run, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="exists and is not an earlier export"):
        export(run, output=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "calibration.json",
    ],
)
def test_a_damaged_export_is_not_loaded(copy, name):
    file = copy.onnx / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name}: missing, damaged or changed"):
        OnnxClassifier.load(copy.path)


def test_an_export_of_other_weights_is_not_loaded(copy):
    changed = read_json(copy.fingerprint) | {"best_weights": "0" * 64}
    write_record(copy.fingerprint, changed)
    with pytest.raises(ConfigError, match="exported from other weights"):
        OnnxClassifier.load(copy.path)


def test_the_error_for_a_missing_export_names_the_command(tmp_path):
    message = (
        r"holds no model_quantized\.onnx; "
        r"export it with: python .*export\.py run=.* int8=true"
    )
    with pytest.raises(ConfigError, match=message):
        OnnxClassifier.load(tmp_path, int8=True)


def test_8_bit_logits_are_close_to_fp32(run):
    int8 = OnnxClassifier.load(run.path, int8=True)
    fp32 = OnnxClassifier.load(run.path, int8=False)
    pairs = [(text, None) for text in TEXTS]
    difference = int8.forward(int8.encode(pairs)) - fp32.forward(fp32.encode(pairs))
    assert 0 < np.abs(difference).max() < 0.5
