"""Rows of several windows: one loss per row, the same numbers in every form."""

import shutil

import pytest
import torch
from closeness import assert_close
from runs import configure, fingerprint, resume, train_in
from windows_by_hand import logits_by_hand

from ostinato.config import EvaluateConfig, WindowPooling
from ostinato.errors import ConfigError
from ostinato.inference.classifier import TextClassifier
from ostinato.model.packing import unpack
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring.predictions import load_predictions, load_windows

WINDOWS = ("data.long_text=windows", "model.max_length=8", "data.stride=2")
TEXTS = ["the soup simmers " * 9, "a striker", "", "fresh bread needs butter " * 3]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("run"), *WINDOWS, report=True)


def test_a_run_records_windows_and_repeats(run, tmp_path):
    results = read_json(run.results)
    counts = load_windows(run.predictions("test"))
    assert results["data"]["windows"]["test"] == {
        "mean": float(counts.mean()),
        "most": int(counts.max()),
    }
    assert counts.max() > 2
    assert results["data"]["truncated"]["test"] == 0
    again = train_in(tmp_path / "again", *WINDOWS, "data.num_workers=2")
    assert fingerprint(again) == fingerprint(run)
    assert load_predictions(again.predictions("val"))[0].shape == (30, 3)


def test_a_run_resumes_with_the_same_bits(run, tmp_path):
    options = (*WINDOWS, "training.checkpoint_every=1")
    part = train_in(tmp_path / "run", *options, until_step=3)
    assert fingerprint(resume(part, *options)) == fingerprint(run)


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.accumulate=3"],
        pytest.param(
            ["training.accumulate=3", "training.tokens_per_batch=100"],
            marks=pytest.mark.proof,
        ),
    ],
)
@pytest.mark.slow
@pytest.mark.usefixtures("preloaded_fork_server")
def test_three_processes_compute_what_one_computes(overrides, tmp_path):
    found = []
    for processes in (1, 3):
        number = f"training.processes={processes}"
        folder = tmp_path / str(processes)
        found.append(fingerprint(train_in(folder, *WINDOWS, number, *overrides)))
    assert found[0] == found[1]


def test_packed_and_bucketed_trainings_agree(run, tmp_path):
    options = (*WINDOWS, "model.dropout=0", "model.attention_dropout=0")
    losses = []
    for batching in ("packed", "bucketed"):
        batches = (f"training.batching={batching}", "training.max_steps=3")
        # Both make the same batches.
        whole = ("training.batch_size=60",)
        made = train_in(tmp_path / batching, *options, *batches, *whole)
        losses.append([step["loss"] for step in fingerprint(made)["steps"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_evaluation_gives_the_recorded_metrics_in_any_batch_size(run):
    config, _ = configure(*WINDOWS)
    recorded = read_json(run.results)["test"]
    for batch_size in (None, 1, 7):
        cfg = EvaluateConfig(run=str(run.path), batch_size=batch_size)
        found = evaluate(cfg, run, config)
        if batch_size is None:
            assert found["loss"] == recorded["loss"]
        assert found["loss"] == pytest.approx(recorded["loss"], rel=1e-5)
        assert found["accuracy"] == recorded["accuracy"]


@pytest.mark.slow
@pytest.mark.usefixtures("preloaded_fork_server")
def test_evaluation_in_two_processes_gives_the_same_metrics(run):
    config, _ = configure(*WINDOWS)
    cfg = EvaluateConfig(run=str(run.path), batch_size=5, processes=2)
    alone = EvaluateConfig(run=str(run.path), batch_size=5)
    assert evaluate(cfg, run, config) == evaluate(alone, run, config)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_prediction_reads_all_windows(run, batch_size, tmp_path):
    # A copy of best/ has no config of a run.
    shutil.copytree(run.best, tmp_path / "copy")
    classifier = TextClassifier.load(tmp_path / "copy", calibrated=True)
    assert classifier.long_texts.stride == 2
    logits = classifier.logits([(text, None) for text in TEXTS], batch_size)

    plain = TextClassifier.load(run.path)
    model, tokenizer = plain.model, plain.tokenizer
    unpack(model)
    with torch.no_grad():
        expected = logits_by_hand(model, tokenizer, TEXTS, WindowPooling.mean, 8, 2)
    assert_close(torch.from_numpy(logits), expected)


def test_the_report_shows_metrics_by_windows(run):
    shown = run.report.read_text()
    counts = load_windows(run.predictions("test"))
    assert "Metrics by number of windows (test)" in shown
    assert f"{counts.mean():.2f} (at most {counts.max()})" in shown
    assert "windows" in run.model_card.read_text()


@pytest.mark.proof
def test_an_exported_model_pools_windows_like_torch(run):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from ostinato.config import ExportConfig
    from ostinato.inference.onnx_classifier import OnnxClassifier
    from ostinato.inference.onnx_export import export_onnx

    config, _ = configure(*WINDOWS)
    export_onnx(ExportConfig(run=str(run.path)), run, config)
    pairs = [(text, None) for text in TEXTS]
    found = OnnxClassifier.load(run.path).logits(pairs)
    expected = TextClassifier.load(run.path).logits(pairs)
    assert_close(torch.from_numpy(found), torch.from_numpy(expected))


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.task=multi_label", "data.window_pooling=max"],
        ["data.task=regression", "data.max_windows=2"],
        ["data.text_pair_column=text_pair", "model.max_length=12", "data.stride=1"],
        ["model.architecture.model_type=llama", "data.window_pooling=max"],
        ["data.long_text=head_tail", "data.stride=0"],
        [
            *("data.long_text=head_tail", "data.stride=0"),
            "data.text_pair_column=text_pair",
        ],
    ],
)
def test_every_task_and_kind_of_text_trains_and_predicts(overrides, tmp_path):
    made = train_in(tmp_path / "run", *WINDOWS, "training.max_steps=2", *overrides)
    assert read_json(made.results)["status"] == "finished"
    config, _ = configure(*WINDOWS, "training.max_steps=2", *overrides)
    found = evaluate(EvaluateConfig(run=str(made.path)), made, config)
    assert found["loss"] == read_json(made.results)["test"]["loss"]


def test_the_first_window_is_the_truncated_text(tmp_path):
    short = ("model.max_length=8", "training.max_steps=3")
    first = ("data.long_text=windows", "data.window_pooling=first")
    pooled = train_in(tmp_path / "first", *short, *first)
    cut = train_in(tmp_path / "cut", *short)
    assert fingerprint(pooled)["predictions"] == fingerprint(cut)["predictions"]
    shares = [read_json(run.results)["data"]["truncated"] for run in (pooled, cut)]
    assert shares[0] == shares[1]


def test_truncating_leaves_no_trace_in_the_model(run, tmp_path):
    assert "long_texts" in read_json(run.best_config)
    options = ("model.max_length=8", f"model.name={run.best}", "training.max_steps=1")
    cut = train_in(
        *(tmp_path / "cut", *options),
        *("model.pretrained=true", "model.architecture=null"),
    )
    assert "long_texts" not in read_json(cut.best_config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.stride=8"],
            r"data\.stride=8: must be less than the tokens of a window",
        ),
        (["data.stride=7"], r"data\.stride=7: a window can have only 6 tokens"),
        (["training.compile=true"], r"training\.compile=true: is not possible with"),
        (
            ["training.tokens_per_batch=8"],
            r"training\.tokens_per_batch=8: the \d+ windows of row \d+ have \d+ tokens",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train_in(tmp_path, *WINDOWS, *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.stride=2"], r"data\.stride=2: only with data\.long_text=windows"),
        (
            ["data.long_text=head_tail", "data.max_windows=2"],
            r"data\.max_windows=2: only with data\.long_text=windows",
        ),
        (["data.window_pooling=max"], r"data\.window_pooling=max: only with"),
        (
            [WINDOWS[0], "data.window_pooling=first", "data.max_windows=2"],
            r"data\.max_windows=2: data\.window_pooling=first reads one window",
        ),
    ],
)
def test_an_option_without_effect_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        configure(*overrides)


def test_a_damaged_config_of_a_model_is_refused(run, tmp_path):
    copy = RunDir(shutil.copytree(run.best, tmp_path / "copy"))
    file = copy.path / "config.json"
    file.write_text(file.read_text().replace('"stride": 2', '"stride": "two"'))
    with pytest.raises(ConfigError, match=r"long_texts=.* is damaged"):
        TextClassifier.load(copy.path)
