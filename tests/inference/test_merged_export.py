"""A merged model is a plain folder that predicts like the base model with its adapter."""

import pytest
from model_folders import overrides, write_model
from runs import configure, train_in
from transformers import AutoModelForSequenceClassification

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.inference.merged_export import export_merged
from ostinato.run_dir import read_json

pytest.importorskip("peft", reason="needs the extra peft")

pytestmark = pytest.mark.slow

LORA = ("model/adapter=lora", "model.adapter.r=2", "model.adapter.dropout=0.1")
DORA = ("model/adapter=dora", *LORA[1:])
TEXTS = ["rain and wind", "they scored a goal in the second half", "a"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A base model and a run of it with an adapter."""
    place = tmp_path_factory.mktemp("adapter")
    base = write_model(place / "base", "bert")
    return train_in(place / "run", *overrides(base, "bert"), *LORA), base


def test_the_merged_model_predicts_the_same(finished, tmp_path):
    run, _ = finished
    _, config = load_run(str(run.path))
    cfg = ExportConfig(format="merged", output=str(tmp_path / "merged"))
    for _ in range(2):  # the second export replaces the first one
        folder = export_merged(cfg, run, config)
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    assert not hasattr(plain, "peft_config")
    assert not (folder / "adapter_config.json").exists()
    tokenizers = [path / "tokenizer.json" for path in (folder, run.best)]
    assert tokenizers[0].read_text() == tokenizers[1].read_text()
    expected = TextClassifier.load(run.path, "cpu").predict(TEXTS)
    found = TextClassifier.load(folder, "cpu").predict(TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-5)


def test_a_merged_model_replaces_no_other_folder(finished, tmp_path):
    run, base = finished
    _, config = load_run(str(run.path))
    before = sorted(base.iterdir())
    for output in (base, tmp_path):
        with pytest.raises(ConfigError, match="not an earlier merged model"):
            export_merged(
                ExportConfig(format="merged", output=str(output)), run, config
            )
    assert sorted(base.iterdir()) == before


def test_a_run_without_an_adapter_has_nothing_to_merge(tmp_path):
    run = train_in(tmp_path / "run", "training.max_steps=1")
    config, _ = configure()
    with pytest.raises(ConfigError, match=r"^format=merged: run=.* has no adapter"):
        export_merged(ExportConfig(format="merged"), run, config)
    assert "base" not in read_json(run.provenance)
    assert "base" not in read_json(run.fingerprint)


@pytest.mark.proof
@pytest.mark.parametrize("method", [LORA, DORA], ids=["lora", "dora"])
def test_an_exported_model_is_merged(method, tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    from ostinato.inference.onnx_classifier import OnnxClassifier
    from ostinato.inference.onnx_export import export_onnx

    run = train_in(tmp_path / "run", *method, "training.max_steps=3")
    config, _ = configure(*method, "training.max_steps=3")
    export_onnx(ExportConfig(run=str(run.path)), run, config)
    found = OnnxClassifier.load(run.path).predict(TEXTS)
    expected = TextClassifier.load(run.path, "cpu").predict(TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-4)
