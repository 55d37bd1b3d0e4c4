"""A record with a missing key or another type is refused in one line; what cannot move a number is no drift."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from runs import train_in

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
from ostinato.record.drift import environment_drift
from ostinato.record.results import finished_metric
from ostinato.report.page import report
from ostinato.run import train as run_module
from ostinato.run.train import evaluate
from ostinato.run_dir import RunDir, read_config, read_json, write_config, write_record
from ostinato.scoring import plots
from ostinato.scoring.evaluation import Evaluated, describe
from ostinato.scoring.scores import score
from ostinato.storage.atomic import write_json

DAMAGES = [
    "{}",
    "[]",
    '{"steps": 3, "packages": [], "config": 1, "status": {}}',
    "",
    '{"status": "finished"}',
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


@pytest.mark.parametrize("damage", DAMAGES)
def test_readers_of_many_runs_go_on_after_a_damaged_record(run, damage):
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
def test_a_damaged_record_of_an_export_is_refused_in_one_line(tmp_path, damage):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from ostinato.inference.onnx_classifier import OnnxClassifier

    (tmp_path / "model.onnx").touch()
    (tmp_path / "export.json").write_text(damage)
    with pytest.raises(
        ConfigError, match=r"export\.json: damaged \((files|weights)"
    ) as error:
        OnnxClassifier.load(tmp_path)
    assert "\n" not in str(error.value)


GPU = {
    "name": "H100",
    "capability": [9, 0],
    "count": 1,
    "cuda": "13.0",
    "cudnn": 91,
    "driver": "580.1\n",
}
HERE = {
    "packages": {"torch": "2.13.0"},
    "device": "cuda",
    "gpu": GPU,
    "threads": 4,
    "environment": {
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "4",
        "MKL_CBWR": "AVX2",
    },
}


@pytest.mark.parametrize(
    "change",
    [
        {"environment": HERE["environment"] | {"CUDA_VISIBLE_DEVICES": "3"}},
        {"environment": {"MKL_CBWR": "AVX2"}},
        {
            "environment": HERE["environment"]
            | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "x", "PYTHONHASHSEED": "1"}
        },
        {
            "environment": HERE["environment"]
            | {"TOKENIZERS_PARALLELISM": "false", "MKL_NUM_THREADS": "4"}
        },
        {"gpu": GPU | {"count": 8, "driver": "580.1\n580.1\n"}},
        {"device": "cuda:0"},
    ],
)
def test_another_equal_gpu_and_settings_without_effect_are_no_drift(change):
    assert (
        environment_drift(HERE, HERE | change)
        == environment_drift(HERE | change, HERE)
        == []
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gpu": GPU | {"name": "A100"}}, "gpu.name: H100 -> A100"),
        ({"gpu": GPU | {"driver": "590.0\n"}}, "gpu.driver: 580.1 -> 590.0"),
        ({"gpu": None}, "gpu: {"),
        ({"device": "cpu"}, "device: cuda -> cpu"),
        ({"threads": 2}, "threads: 4 -> 2"),
        (
            {"environment": {"MKL_CBWR": "COMPATIBLE"}},
            "environment.MKL_CBWR: AVX2 -> COMPATIBLE",
        ),
        ({"packages": {"torch": "2.14.0"}}, "packages.torch: 2.13.0 -> 2.14.0"),
    ],
)
def test_what_can_move_a_number_is_drift(change, named):
    (found,) = environment_drift(HERE, HERE | change)
    assert found.startswith(named)


def test_a_record_from_before_the_capability_was_recorded_is_no_drift():
    before = {name: value for name, value in GPU.items() if name != "capability"}
    assert environment_drift(HERE | {"gpu": before}, HERE) == []


def rewrite_precision(run, precision):
    """Makes the folder that of a run with this `training.precision`."""
    config, results = read_config(run), read_json(run.results)
    config["training"]["precision"] = precision
    write_config(run, config)
    write_record(run.results, results | {"config": config})


def test_a_run_in_fp16_is_scored_on_a_cpu_in_another_precision(run):
    rewrite_precision(run, "fp16")
    folder, config = load_run(str(run.path))
    assert config.training.precision is Precision.fp16
    cfg = EvaluateConfig(run=str(run.path), device=Device.cpu)
    with pytest.raises(ConfigError) as error:
        evaluate(cfg, folder, config)
    assert error.value.problems == [
        "precision=fp16: needs a CUDA GPU, not cpu; take precision=fp32"
    ]
    assert (
        evaluate(replace(cfg, precision=Precision.fp32), folder, config)["num_rows"]
        == 30
    )


@pytest.mark.slow
def test_evaluate_takes_the_precision_that_the_run_computed_in(tmp_path, monkeypatch):
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
def test_two_thousand_labels_make_small_results(tmp_path):
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


@pytest.mark.slow
def test_many_labels_make_a_report_of_confusions_without_a_picture(
    tmp_path, monkeypatch
):
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
        run_module.plots, "confusion_matrix", lambda *arguments: drawn.append(arguments)
    )
    run = train_in(
        tmp_path / "run",
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
