"""Records of a run: damage is refused in one line, and large label sets stay small."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from nested_texts import NESTED, REPEATED
from runs import fingerprint, resume, train_in, train_until_killed

from ostinato.cli.command import load_run
from ostinato.comparison.runs import find_runs
from ostinato.config import (
    Device,
    EvaluateConfig,
    Precision,
    ReportConfig,
    ReproduceConfig,
    Task,
)
from ostinato.errors import ConfigError, UserError
from ostinato.proof.reproduce import reproduce
from ostinato.record.overrides import for_run, for_sweep
from ostinato.record.results import finished_metric
from ostinato.report import class_tables
from ostinato.report.page import report
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir, read_config, read_json, write_config, write_record
from ostinato.scoring import plots
from ostinato.scoring.evaluation import Evaluated, describe
from ostinato.scoring.scores import score
from ostinato.storage.atomic import write_json
from ostinato.storage.outputs import check_output, holds
from ostinato.storage.parsing import parse_json

DAMAGES = [
    "{}",
    "[]",
    '{"steps": 3, "packages": [], "config": 1, "status": {}}',
    "",
    '{"status": "finished"}',
    '{"steps": ' * 50_000,
    '{"steps": ' + "[" * 40 + "]" * 40 + "}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(finished, tmp_path):
    return RunDir(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("record", ["provenance", "fingerprint", "results"])
def test_a_damaged_record_is_refused_in_one_line(
    run, finished, tmp_path, monkeypatch, record, damage
):
    getattr(run, record).write_text(damage)
    cfg = ReproduceConfig(run=str(run.path), output=str(tmp_path / "again"))
    with pytest.raises(UserError) as error:
        reproduce(cfg, *load_run(str(run.path)))
    assert "\n" not in str(error.value)
    assert str(getattr(run, record)) in str(error.value)
    assert not (tmp_path / "again").exists()
    if record != "results":
        with pytest.raises(UserError, match=record):
            reproduce(
                replace(cfg, run=str(finished.path), against=str(run.path)),
                *load_run(str(finished.path)),
            )


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_readers_of_many_runs_continue_after_a_damaged_record(run, damage):
    for path in (run.provenance, run.results):
        path.write_text(damage)
    (found,) = find_runs([str(run.path)])
    assert found.status == "failed"
    assert "damaged" in found.reason
    assert finished_metric(run) is None
    assert report(ReportConfig(run=str(run.path)), *load_run(str(run.path))).is_file()


@pytest.mark.parametrize(
    "damage",
    ["{}", '{"files": [], "weights": "a"}', '{"files": {"a": 1}, "weights": "a"}'],
)
def test_a_damaged_export_record_is_refused_in_one_line(tmp_path, damage):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from ostinato.inference.onnx_classifier import OnnxClassifier

    (tmp_path / "model.onnx").touch()
    (tmp_path / "export.json").write_text(damage)
    with pytest.raises(
        ConfigError, match=r"export\.json: damaged \((files|weights)"
    ) as error:
        OnnxClassifier.load(tmp_path)
    assert "\n" not in str(error.value)


def rewrite_precision(run, precision):
    """Rewrites the folder as that of a run with this `training.precision`."""
    config, results = read_config(run), read_json(run.results)
    config["training"]["precision"] = precision
    write_config(run, config)
    write_record(run.results, results | {"config": config})


def test_an_fp16_run_can_be_scored_on_a_cpu_in_another_precision(run):
    rewrite_precision(run, "fp16")
    folder, config = load_run(str(run.path))
    assert config.training.precision is Precision.fp16
    cfg = EvaluateConfig(run=str(run.path), device=Device.cpu)
    with pytest.raises(ConfigError) as error:
        evaluate(cfg, folder, config)
    assert error.value.problems == [
        "precision=fp16: needs a CUDA GPU, not cpu; use precision=fp32"
    ]
    assert (
        evaluate(replace(cfg, precision=Precision.fp32), folder, config)["num_rows"]
        == 30
    )


@pytest.mark.slow
def test_evaluate_uses_the_precision_of_the_run(tmp_path, monkeypatch):
    run = train_in(tmp_path / "run", "training.precision=bf16")
    rewrite_precision(run, "auto")
    folder, config = load_run(str(run.path))
    assert config.training.precision is Precision.auto
    recorded = read_json(run.results)["test"]["loss"]
    found = {
        p: evaluate(EvaluateConfig(run=str(run.path), precision=p), folder, config)[
            "loss"
        ]
        for p in Precision
        if p != "fp16"
    }
    assert found[Precision.auto] == found[Precision.bf16] == recorded
    assert found[Precision.fp32] != recorded


@pytest.mark.slow
def test_two_thousand_labels_give_small_results(tmp_path):
    names = [f"label {number:04d}" for number in range(2000)]
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2000, 500)
    logits = draw.normal(size=(500, 2000)).astype(np.float32)
    scores = score(Task.single_label, logits, labels, names)
    split = describe(Evaluated(logits, scores))
    write_json(tmp_path / "results.json", {"val": split, "test": split})
    assert (tmp_path / "results.json").stat().st_size < 1_000_000
    cells = split["confusion"]
    again = np.zeros((2000, 2000), dtype=np.int64)
    again[cells["true"], cells["predicted"]] = cells["counts"]
    assert np.array_equal(again, scores.confusion)


@pytest.mark.proof
def test_many_labels_give_a_list_of_confusions_without_a_plot(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "MAX_CLASSES", 20)
    monkeypatch.setattr(class_tables, "MAX_CLASSES", 20)
    count = plots.MAX_CLASSES + 1
    rows = "".join(
        json.dumps({"text": f"text {n} of {n % count}", "label": f"label {n % count}"})
        + "\n"
        for n in range(2 * count)
    )
    (tmp_path / "rows.jsonl").write_text(rows)
    paths = [
        f"data.{split}_path={tmp_path}/rows.jsonl" for split in ("train", "val", "test")
    ]
    limits = [f"data.limit_{split}=null" for split in ("train", "val", "test")]
    drawn = []
    monkeypatch.setattr(
        plots, "confusion_matrix", lambda *arguments: drawn.append(arguments)
    )
    run = train_in(
        tmp_path / "run",
        "tracker=tensorboard",  # it records plots
        "data.source=files",
        *paths,
        *limits,
        "training.epochs=1",
        "training.eval_every=null",
        report=True,
    )
    assert not drawn
    page = run.report.read_text()
    assert "Most frequent confusions" in page
    assert "<h2>Confusion matrix" not in page


@pytest.mark.parametrize("text", [*NESTED, *REPEATED])
def test_a_nested_config_is_refused_in_one_line(run, text):
    run.config.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_run(str(run.path))
    (problem,) = error.value.problems
    assert problem.startswith(f"{run.config}: damaged")
    assert "\n" not in problem


def test_an_architecture_of_any_depth_that_is_read_can_be_used(run):
    resolved = read_config(run)
    resolved["model"]["architecture"] = parse_json('{"a": ' * 28 + "1" + "}" * 28)
    write_config(run, resolved)
    _, config = load_run(str(run.path))
    assert config.model.architecture == resolved["model"]["architecture"]


@pytest.mark.parametrize("text", NESTED)
def test_nested_records_of_hydra_are_refused_or_ignored(run, text):
    record = run.hydra_record
    record.folder.mkdir()
    (record.folder / "hydra.yaml").write_text(text)
    assert not record.is_sweep_job
    assert record.choices == {}
    (record.folder / "overrides.yaml").write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        for_run(str(run.path), [])
    (run.path / "multirun.yaml").write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        for_sweep(run.path / "multirun.yaml")


@pytest.mark.parametrize("text", NESTED)
def test_a_nested_file_is_not_replaced_as_an_earlier_output(tmp_path, text):
    output = tmp_path / "metrics.json"
    output.write_text(text)
    with pytest.raises(ConfigError, match="was not written by this command"):
        check_output(output, ".json", holds("split"))


def test_a_checkpoint_with_a_nested_state_is_skipped(tmp_path, monkeypatch, finished):
    options = ["training.checkpoint_every=2", "training.keep_checkpoints=2"]
    train_until_killed(monkeypatch, 5, tmp_path / "killed", *options)
    run = RunDir(tmp_path / "killed")
    newest, older = run.all_checkpoints()
    newest.state.write_text(NESTED[0])
    run.steps.write_bytes(run.steps.read_bytes() + NESTED[0].encode() + b"\n")
    with run.metrics.open("a") as file:
        file.write(f"{NESTED[0]}\n")
    resume(run, *options)
    assert older.step == 2
    assert fingerprint(run)["steps"] == fingerprint(finished)["steps"]
