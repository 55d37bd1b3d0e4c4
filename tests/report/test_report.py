"""The report is one whole file that asks nobody for anything, runs nothing, and says what it does not know."""

import csv
import html
import logging
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from runs import configure, train_in

from ostinato.config import ReportConfig, Task
from ostinato.errors import DataError
from ostinato.record.digests import digest_file
from ostinato.report import drawings, run_end
from ostinato.report.matrix import matrix
from ostinato.report.page import report
from ostinato.report.slices import slice_values
from ostinato.run_dir import RunDir, read_json
from ostinato.scoring import bootstrap
from ostinato.scoring.bootstrap import estimate
from ostinato.scoring.scores import score

SCRIPT = "<script>alert(1)</script>"
TASKS = ["single_label", "multi_label", "regression"]


class Page(HTMLParser):
    """Elements, attributes, ids and shown text of a page; nesting is checked."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.shown, self.open = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.shown += data


def page(run):
    return Page(run.report.read_text(encoding="utf-8"))


def write_rows(file, rows):
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text", "label", "source"], *rows])
    return file


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run on texts, labels and slices that would like to be markup; the labels are noise, so errors abound."""
    folder = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    names = [f"{SCRIPT} {i}" for i in range(3)]
    for split, size in (("train", 60), ("val", 30), ("test", 40)):
        rows = [
            [
                f"{SCRIPT} \x07 <img src=https://evil.example/{split}/{i}> {i}",
                names[random.integers(3)],
                f"<b>{i % 2}</b>",
            ]
            for i in range(size)
        ]
        write_rows(folder / f"{split}.csv", rows)
    paths = [
        f"data.{split}_path={folder}/{split}.csv" for split in ("train", "val", "test")
    ]
    return train_in(
        folder / "run",
        "data=files",
        *paths,
        "report.slices=[source]",
        f"name='{SCRIPT}'",
        report=True,
    )


@pytest.fixture(scope="module", params=TASKS)
def run(request, tmp_path_factory):
    return train_in(
        tmp_path_factory.mktemp(request.param) / "run",
        f"data.task={request.param}",
        report=True,
    )


def anew(run, **options):
    resolved = read_json(run.results)["config"] if run.results.is_file() else {}
    config, _ = configure(
        f"data.task={resolved.get('data', {}).get('task', 'single_label')}"
    )
    report(ReportConfig(run=str(run.path), **options), run, config)
    return page(run)


def copy(run, folder):
    shutil.copytree(run.path, folder)
    return RunDir(folder)


def test_markup_in_the_data_is_shown_and_not_run(hostile):
    found = page(hostile)
    assert not {"script", "img", "b"} & {tag for tag in found.tags if tag != "b"}
    assert found.tags.count("b") == 3  # the tiles
    assert f"{SCRIPT} \ufffd <img src=https://evil.example/test/" in found.shown
    assert f"{SCRIPT} 1" in found.shown
    assert "<b>0</b>" in found.shown
    assert found.shown.count(SCRIPT) > 30


@pytest.mark.slow
def test_no_request_leaves_the_page(hostile, run):
    assert_asks_nobody(hostile)
    assert_asks_nobody(run)


def assert_asks_nobody(run):
    text, found = run.report.read_text(), page(run)
    for name, value in found.attributes:
        if name in ("src", "srcset", "data", "action", "poster", "background"):
            pytest.fail(f"{name}={value}")
        if name in ("href", "xlink:href"):
            assert value.startswith("#"), value
        if name == "style" or "url(" in (value or ""):
            assert all(
                url.startswith("#") for url in re.findall(r"url\(['\"]?([^)]*)", value)
            )
        assert not name.startswith("on"), name
    style = "".join(re.findall(r"<style.*?</style>", text, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(
        found.tags
    )
    assert "default-src 'none'" in text


def test_ids_are_unique_and_all_links_within_the_page_lead_somewhere(run):
    found = page(run)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 100
    inside = [value[1:] for name, value in found.attributes if name == "href"]
    inside += re.findall(r"url\(#([^)]*)\)", run.report.read_text())
    assert set(inside) <= set(ids)


def test_colours_are_the_pages_own(run):
    pictures = "".join(re.findall(r"<svg.*?</svg>", run.report.read_text(), re.DOTALL))
    assert pictures.count("var(--a)") > 3
    assert not re.search(r"#[0-9a-f]{6}\b", pictures)


def test_the_report_says_what_the_run_found(run):
    results, shown = read_json(run.results), page(run).shown
    for split in ("val", "test"):
        for name, value in results[split].items():
            assert not isinstance(value, float) or f"{value:.4f}" in shown, name
        assert results["data"]["used"][split]["sha256"] in shown
    for value in results["test"]["majority"].values():
        assert f"{value:.4f}" in shown
    assert read_json(run.fingerprint)["best_weights"] in shown
    assert f"scripts/reproduce.py run={run.path}" in shown
    assert "batch_size: 16" in shown


def test_the_report_changes_nothing_else(run):
    before = {
        path: digest_file(path)
        for path in run.path.rglob("*")
        if path.is_file() and path != run.report
    }
    anew(run)
    assert {
        path: digest_file(path)
        for path in run.path.rglob("*")
        if path.is_file() and path != run.report
    } == before
    assert digest_file(run.best_weights) == read_json(run.fingerprint)["best_weights"]


@pytest.mark.slow
def test_a_run_without_predictions_is_scored_again_and_says_so(run, tmp_path):
    old, whole = copy(run, tmp_path / "old"), page(run)
    shutil.rmtree(old.path / "predictions")
    old.calibration.unlink(missing_ok=True)
    shown = anew(old).shown
    assert (
        "test: no predictions were kept; for this report its rows were scored again\n"
        in shown
    )
    metrics = whole.shown[
        whole.shown.index("Final metrics") : whole.shown.index("Curves")
    ]
    assert metrics in shown


@pytest.mark.slow
def test_an_unfinished_run_is_shown_and_not_scored(run, tmp_path):
    young = copy(run, tmp_path / "young")
    for path in (young.results, young.fingerprint, young.report):
        path.unlink()
    shutil.rmtree(young.path / "predictions")
    shown = anew(young).shown
    assert "not finished" in shown
    assert "results.json is missing; the run is not over, or was killed" in shown
    assert "Curves" in shown
    assert "Final metrics" not in shown
    for path in (young.metrics, young.provenance):
        path.unlink()
    shutil.rmtree(young.best)
    assert "provenance.json is missing" in anew(young).shown


@pytest.mark.slow
def test_texts_of_changed_or_lost_data_are_not_shown(hostile, tmp_path):
    run = copy(hostile, tmp_path / "run")
    paths = {
        f"{split}_path": str(hostile.path.parent / f"{split}.csv")
        for split in ("train", "val")
    }
    changed = write_rows(tmp_path / "other.csv", [["another text", f"{SCRIPT} 0", "x"]])
    for path, told in (
        (changed, "the data has changed since the run (test)"),
        ("lost.csv", "lost.csv: no such file"),
    ):
        overrides = [
            f"data.{key}={value}"
            for key, value in (paths | {"test_path": str(path)}).items()
        ]
        config, _ = configure("data=files", *overrides)
        report(ReportConfig(run=str(run.path)), run, config)
        shown = page(run).shown
        assert told in shown
        assert "Most confident errors" not in shown
        assert "Final metrics" in shown


@pytest.mark.slow
def test_a_failing_report_leaves_the_run_finished_with_one_warning(
    tmp_path, monkeypatch, caplog
):
    def broken(*arguments):
        raise RuntimeError("no\nink")

    monkeypatch.setattr(run_end, "write_report", broken)
    with caplog.at_level(logging.WARNING):
        run = train_in(tmp_path / "run", "training.epochs=1", report=True)
    assert [record.message for record in caplog.records] == [
        "the report could not be written: RuntimeError: no ink"
    ]
    assert read_json(run.results)["status"] == "finished"
    assert run.fingerprint.is_file()
    assert not run.report.exists()


@pytest.mark.slow
def test_a_misspelt_slice_is_told_with_the_metrics(hostile, tmp_path):
    run = copy(hostile, tmp_path / "run")
    config, _ = configure(
        "data=files",
        *(
            f"data.{s}_path={hostile.path.parent}/{s}.csv"
            for s in ("train", "val", "test")
        ),
    )
    report(ReportConfig(run=str(run.path), slices=["sorce"]), run, config)
    assert "no column 'sorce' (report.slices)" in html.unescape(page(run).shown)


def test_a_misspelt_slice_stops_the_run_before_it_trains(tmp_path):
    file = write_rows(
        tmp_path / "all.csv", [[f"text {i}", "ab"[i % 2], "s"] for i in range(20)]
    )
    with pytest.raises(DataError, match=r"no column 'sorce' \(report.slices\)"):
        train_in(
            tmp_path / "run",
            "data=files",
            f"data.train_path={file}",
            "report.slices=[sorce]",
        )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    with pytest.raises(
        DataError,
        match=r"report.slices=\[source\]: data.source=generated has no further columns",
    ):
        train_in(tmp_path / "run", "report.slices=[source]")


def test_slices_follow_their_rows_and_admit_what_cannot_be_told(tmp_path):
    from files import load

    rows = [[f"text {i}", "ab"[i % 2], f"s{i % 3}"] for i in range(60)]
    rows += [
        ["twice", "a", "s0"],
        ["twice", "a", "s1"],
        ["double", "b", "s2"],
        ["double", "b", "s2"],
    ]
    file = write_rows(tmp_path / "all.csv", rows)
    other = write_rows(tmp_path / "test.csv", rows)
    data = load(train_path=str(file), test_path=str(other), limit_test=50)
    config, _ = configure(
        "data=files", f"data.train_path={file}", f"data.test_path={other}"
    )
    truth = {text: source for text, _, source in rows} | {"twice": None}
    for split in (data.val, data.test):  # one cut from train, one a random subset
        assert slice_values(config.data, split, "source") == [
            truth[text] for text in split.rows["text"]
        ]


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("num_rows", [1, 7, 300])
def test_estimates_are_the_metrics_and_lie_within_their_intervals(task, num_rows):
    random = np.random.default_rng(num_rows)
    logits = random.normal(size=(num_rows, 1 if task is Task.regression else 4)).astype(
        np.float32
    )
    labels = {
        Task.single_label: random.integers(0, 3, num_rows),
        Task.multi_label: (random.random((num_rows, 4)) < 0.4).astype(np.float32),
        Task.regression: (logits[:, 0] + random.normal(size=num_rows)).astype(
            np.float32
        ),
    }[task]
    metrics, found = (
        score(task, logits, labels, list("abcd")).metrics,
        estimate(task, logits, labels),
    )
    assert {name: e.value for name, e in found.items()} == pytest.approx(
        {name: metrics[name] for name in found}
    )
    assert set(metrics) - set(found) <= {"auroc", "map", "spearman"}
    assert found == estimate(task, logits, labels)
    if num_rows == 300:
        for name, e in found.items():
            assert e.low < e.value < e.high or name == "ece"


def test_intervals_agree_with_the_formula_where_there_is_one():
    labels, logits = (
        np.repeat([0, 1], [700, 300]),
        np.tile(np.array([[1, 0]], np.float32), (1000, 1)),
    )
    accuracy = estimate(Task.single_label, logits, labels)["accuracy"]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert (accuracy.low, accuracy.high) == pytest.approx(
        (0.7 - half, 0.7 + half), abs=0.004
    )


def test_large_splits_are_drawn_in_bounded_memory(monkeypatch):
    labels = np.random.default_rng(0).integers(0, 2, 500)
    logits = np.eye(2, dtype=np.float32)[labels] * np.float32(0.3)
    whole = estimate(Task.single_label, logits, labels)
    monkeypatch.setattr(bootstrap, "_CHUNK", 1000)  # two samples at a time
    assert estimate(Task.single_label, logits, labels) == whole


def test_a_matrix_of_77_classes_keeps_names_apart_and_draws_only_what_is_there():
    drawn = matrix(
        np.eye(77, dtype=np.int64) * 40,
        [f"a_rather_long_name_of_an_intent_{i}" for i in range(77)],
    )
    assert len(drawn.cells) == 77
    assert drawn.side >= drawn.font
    assert drawn.size < 1180  # fits a desktop without scrolling
    assert not drawn.numbered
    assert matrix(np.array([[5, 1], [0, 4]]), ["a", "b"]).numbered


def test_pictures_hold_no_markup_of_their_title():
    svg = drawings.curves(SCRIPT, {SCRIPT: [{"step": 1, "value": 1.0}]}, None)
    assert "<script" not in svg
