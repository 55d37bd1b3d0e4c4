"""Export to ONNX: an exported model predicts like torch; a different one is refused."""

import json
import shutil

import numpy as np
import pytest
from runs import configure, train_in

from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.inference.classifier import TextClassifier
from ostinato.run_dir import RunDir, read_json, write_record

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

import onnx

from ostinato.inference import onnx_export
from ostinato.inference.onnx_classifier import OnnxClassifier

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
    assert record["compared"]["model.onnx"]["max_difference"] < 1e-5
    assert record["compared"]["model.onnx"]["same_labels"] == 1
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
        for row, other in zip(found, expected, strict=True):
            assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)


def assert_same_predictions(found, expected, key):
    for row, other in zip(found, expected, strict=True):
        assert row[key] == pytest.approx(other[key], abs=1e-5)


@pytest.mark.slow
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


def test_a_damaged_export_is_not_loaded(copy):
    model = copy.onnx / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.onnx: missing, damaged or changed"):
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
