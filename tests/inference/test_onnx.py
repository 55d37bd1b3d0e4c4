"""Export to ONNX: what is written computes as torch does, what does not is refused, and predictions agree."""

import json
import shutil

import numpy as np
import pytest
import torch
from runs import configure, train_in

from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.inference.classifier import TextClassifier
from ostinato.run_dir import RunDir, read_json, write_record

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from ostinato.inference import onnx_export
from ostinato.inference.onnx_classifier import OnnxClassifier

pytestmark = pytest.mark.slow

TEXTS = ["a", "ship and wheat and oil", "the bank " * 40]


def export(run, *overrides, **options):
    return onnx_export.export_onnx(
        ExportConfig(run=str(run.path), **options), run, configure(*overrides)[0]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the debug preset with its model exported beside it, 8 bits too."""
    run = train_in(tmp_path_factory.mktemp("run"))
    export(run, int8=True)
    return run


@pytest.fixture
def copy(run, tmp_path):
    """The same, to be damaged."""
    return RunDir(shutil.copytree(run.path, tmp_path / "copy"))


@pytest.mark.slow
def test_the_record_says_how_well_it_agrees_and_how_fast_it_is(run):
    record = json.loads((run.onnx / "export.json").read_text())
    assert record["compared"]["model.onnx"]["max_difference"] < 1e-5
    assert record["compared"]["model.onnx"]["same_labels"] == 1
    assert record["texts"] == {"splits": ["test", "val"], "number": 60}  # all there are
    assert set(record["seconds"]) == {"torch", "model.onnx", "model_quantized.onnx"}
    assert all(
        seconds > 0
        for metrics in record["seconds"].values()
        for seconds in metrics.values()
    )
    assert (run.onnx / "model_quantized.onnx").stat().st_size < (
        run.onnx / "model.onnx"
    ).stat().st_size
    assert (run.onnx / "tokenizer.json").is_file()


@pytest.mark.parametrize("where", ["run folder", "exported folder"])
def test_predictions_are_those_of_torch_for_any_batch(run, where):
    exported = OnnxClassifier.load(
        run.path if where == "run folder" else run.onnx, calibrated=True
    )
    expected = TextClassifier.load(run.path, calibrated=True).predict(TEXTS)
    for batch_size in (1, 2, 64):
        found = exported.predict(TEXTS, batch_size=batch_size)
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        for row, other in zip(found, expected, strict=True):
            assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_other_tasks_are_exported_too(task, tmp_path):
    run = train_in(tmp_path / "run", f"data.task={task}")
    export(run, f"data.task={task}", output=str(tmp_path / "exported"))
    found = OnnxClassifier.load(tmp_path / "exported").predict(TEXTS)
    expected = TextClassifier.load(run.path).predict(TEXTS)
    key = "value" if task == "regression" else "scores"
    assert [row[key] for row in found] == [
        pytest.approx(row[key], abs=1e-5) for row in expected
    ]
    assert [row.get("labels") for row in found] == [
        row.get("labels") for row in expected
    ]


@pytest.mark.proof
@pytest.mark.parametrize(
    "family", ["distilbert", "electra", "roberta", "modernbert", "deberta-v2"]
)
def test_every_family_is_exported(family, tmp_path):
    overrides = [f"model.architecture.model_type={family}"]
    overrides += ["model.attention=eager"] if family == "deberta-v2" else []
    run = train_in(tmp_path, *overrides)
    export(run, *overrides)
    found, expected = (
        kind.load(run.path).predict(TEXTS) for kind in (OnnxClassifier, TextClassifier)
    )
    assert [row["scores"] for row in found] == [
        pytest.approx(row["scores"], abs=1e-5) for row in expected
    ]


@pytest.mark.slow
@pytest.mark.parametrize("spoiled", ["weight", "not a number"])
def test_a_model_that_differs_is_not_written(spoiled, copy, monkeypatch):
    write = onnx_export._write_model

    def write_another(reference, *arguments):
        with torch.no_grad():
            bias = reference.model.classifier.bias
            true = bias.clone()
            bias[0] = bias[0] + 1e-3 if spoiled == "weight" else torch.nan
            write(reference, *arguments)
            bias.copy_(true)

    monkeypatch.setattr(onnx_export, "_write_model", write_another)
    before = {path: path.read_bytes() for path in copy.onnx.iterdir()}
    with pytest.raises(
        ConfigError,
        match=r"not written, ONNX Runtime differs from torch by (1\.0e-03|nan)",
    ):
        export(copy)
    assert before == {
        path: path.read_bytes() for path in copy.onnx.iterdir()
    }  # what was there stays
    assert {path.name for path in copy.path.iterdir() if "onnx" in path.name} == {
        "onnx"
    }


def test_a_folder_that_is_no_export_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is there and no earlier export"):
        export(run, output=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_was_damaged_is_not_loaded(copy):
    model = copy.onnx / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.onnx: missing, damaged or changed"):
        OnnxClassifier.load(copy.path)


def test_an_export_of_other_weights_is_not_taken_for_the_runs(copy):
    write_record(
        copy.fingerprint, read_json(copy.fingerprint) | {"best_weights": "0" * 64}
    )
    with pytest.raises(ConfigError, match="exported from other weights"):
        OnnxClassifier.load(copy.path)


def test_a_run_without_an_export_says_how_to_make_one(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"holds no model_quantized\.onnx; python .*export\.py run=.* int8=true",
    ):
        OnnxClassifier.load(tmp_path, int8=True)


def test_eight_bits_label_nearly_as_fp32(run):
    int8, fp32 = (OnnxClassifier.load(run.path, int8=int8) for int8 in (True, False))
    pairs = [(text, None) for text in TEXTS]
    difference = np.abs(
        int8.forward(int8.encode(pairs)) - fp32.forward(fp32.encode(pairs))
    ).max()
    assert 0 < difference < 0.5
