"""Frozen matrices in bf16 take half the memory and change no bit of a run in bf16."""

import json

import pytest
import torch
from model_folders import overrides, write_model
from runs import configure, fingerprint, train_in
from safetensors.torch import load_file, save_file

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.config import EvaluateConfig, ExportConfig, Precision
from ostinato.errors import ConfigError
from ostinato.inference.merged_export import export_merged
from ostinato.model.frozen_dtype import check_precision
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import read_json
from ostinato.training.prepare import prepare

pytest.importorskip("peft", reason="needs the extra peft")

pytestmark = pytest.mark.slow

BF16 = ("model/adapter=lora", "model.adapter.dropout=0.1", "training.precision=bf16")
STORED = "model.dtype=bf16"


def base_in_bf16(folder, name="bert"):
    """A base model whose weights are bf16 values, as of many decoders."""
    base = write_model(folder, name)
    weights = load_file(base / "model.safetensors")
    rounded = {key: tensor.bfloat16().float() for key, tensor in weights.items()}
    save_file(rounded, base / "model.safetensors", metadata={"format": "pt"})
    return base


def matrices(model):
    """Number formats of the frozen parameters with two dimensions."""
    return {
        parameter.dtype
        for parameter in model.parameters()
        if parameter.ndim == 2 and not parameter.requires_grad
    }


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        *(pytest.param(n, marks=pytest.mark.proof) for n in ("bert", "gpt2")),
        pytest.param("modernbert", marks=pytest.mark.proof),
    ],
)
def test_a_base_of_bf16_values_computes_the_same_bits(name, tmp_path):
    base = base_in_bf16(tmp_path / "base", name)
    options = (*overrides(base, name), *BF16)
    plain = fingerprint(train_in(tmp_path / "plain", *options))
    stored = fingerprint(train_in(tmp_path / "stored", *options, STORED))
    for part in ("steps", "evaluations", "predictions", "best_weights"):
        assert stored[part] == plain[part]


def test_every_frozen_matrix_is_stored_in_bf16(tmp_path):
    base = write_model(tmp_path / "base", "llama")
    options = (*overrides(base, "llama"), *BF16)
    model = prepare(configure(*options, STORED)[0]).model
    assert matrices(model) == {torch.bfloat16}
    trained = {p.dtype for p in model.parameters() if p.requires_grad}
    assert trained == {torch.float32}
    assert matrices(prepare(configure(*options)[0]).model) == {torch.float32}


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_commands_give_the_metrics_of_the_run(method, tmp_path):
    base = write_model(tmp_path / "base", "bert")
    options = (*overrides(base, "bert"), f"model/adapter={method}", *BF16[1:], STORED)
    run = train_in(tmp_path / "run", *options)
    _, config = load_run(str(run.path))
    found = evaluate(EvaluateConfig(run=str(run.path), split="val"), run, config)
    assert json.loads(json.dumps(found)) == read_json(run.results)["val"]
    cfg = EvaluateConfig(run=str(run.path), split="val", precision=Precision.fp32)
    assert evaluate(cfg, run, config)["accuracy"] >= 0
    folder = export_merged(ExportConfig(format="merged"), run, config)
    one, other = (
        TextClassifier.load(path, "cpu").predict(["rain"])[0]["scores"]
        for path in (run.path, folder)
    )
    assert one == pytest.approx(other, rel=1e-5)


def test_a_machine_without_bf16_is_refused_in_one_line():
    cfg = configure("model/adapter=lora", STORED)[0].model
    check_precision(cfg.dtype, Precision.bf16)
    message = (
        r"^model\.dtype=bf16: this machine's training\.precision=auto is fp32; use"
    )
    with pytest.raises(ConfigError, match=message):
        check_precision(cfg.dtype, Precision.fp32)
