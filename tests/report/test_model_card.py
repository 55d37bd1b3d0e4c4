"""The card says what the run found, in the form that the Hub reads, and nothing of the machine that trained."""

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from runs import configure, train_in

from ostinato.record.digests import digest_file
from ostinato.report.model_card import model_card
from ostinato.run_dir import read_json


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("card")


@pytest.fixture(scope="module", params=["single_label", "multi_label", "regression"])
def run(request, place):
    return train_in(place / request.param, f"data.task={request.param}")


def facts(run):
    return read_json(run.results), read_json(run.provenance), read_json(run.fingerprint)


def test_the_hub_reads_every_metric_from_the_metadata(run):
    card = ModelCard.load(run.model_card)
    results = read_json(run.results)
    found = {}
    for entry in card.data.eval_results:
        split = {"validation": "val"}.get(entry.dataset_split, entry.dataset_split)
        found[split, entry.metric_type, json.dumps(entry.metric_args)] = (
            entry.metric_value
        )
    metrics = [
        value
        for split in ("val", "test")
        for value in results[split].values()
        if isinstance(value, float)
    ]
    assert sorted(found.values()) == sorted(metrics)
    macro = {
        "single_label": '{"average": "macro"}',
        "multi_label": '{"average": "macro"}',
        "regression": None,
    }
    key = macro[results["config"]["data"]["task"]]
    name, metric = ("macro_f1", "f1") if key else ("mse", "mse")
    assert found["test", metric, key or "null"] == results["test"][name]
    assert (card.data.library_name, card.data.pipeline_tag) == (
        "transformers",
        "text-classification",
    )
    name, entries = model_index_to_eval_results(
        yaml.safe_load(card.content.split("---")[1])["model-index"]
    )
    assert (name, len(entries)) == ("debug", len(metrics))


def test_the_card_names_data_seed_digests_and_the_way_back(run):
    results, _, fingerprint = facts(run)
    text = run.model_card.read_text()
    for part in (
        digest_file(run.best_weights),
        fingerprint["best_weights"],
        *(used["sha256"] for used in results["data"]["used"].values()),
        "| seed | 42 |",
        "scripts/reproduce.py run=",
        "## Intended use",
    ):
        assert part in text
    if results["config"]["data"]["task"] == "single_label":
        assert "Calibration error on test" in text


def test_tables_are_whole(run):
    for table in re.findall(r"(?:^\|.*\n)+", run.model_card.read_text(), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        assert set(table.splitlines()[1]) <= set("|- "), table


def test_nothing_of_this_machine_stands_in_the_card(run, place, tmp_path):
    record = run.path / ".hydra" / "overrides.yaml"
    record.parent.mkdir(exist_ok=True)
    folder = tmp_path / "private"
    typed = [
        "seed=1",
        f"data.train_path={folder}/train.csv",
        f"hydra.run.dir={run.path}",
        "tracker=mlflow",
    ]
    record.write_text(yaml.safe_dump(typed))
    config, _ = configure(
        f"data.train_path={folder}/train.csv",
        "data.source=files",
        f"model.name={folder}/bert",
    )
    text = model_card(run, config, *facts(run))
    assert "python scripts/train.py seed=1 data.train_path=.../train.csv\n" in text
    assert "tracker" not in text.split("## Do it again")[1]
    for private in (str(place), str(folder), str(Path.home())):
        assert private not in text
    record.unlink()


def test_labels_cannot_break_the_card(run):
    results, provenance, fingerprint = facts(run)
    if results["config"]["data"]["task"] == "regression":
        return
    odd = ["a|b", "<script>", "c`d"]
    rows = dict(zip(odd, results["test"]["per_class"].values(), strict=True))
    results = results | {"labels": odd, "test": results["test"] | {"per_class": rows}}
    config, _ = configure(
        f"data.task={results['config']['data']['task']}", "name='---\n: odd'"
    )
    text = model_card(run, config, results, provenance, fingerprint)
    assert ModelCard(text).data.eval_results
    assert "| a\\|b |" in text
    assert "| <script>" not in text


def test_a_hub_model_and_data_set_are_linked(run):
    config, _ = configure(
        "data.source=hub",
        "data.name=org/texts",
        "model.name=org/encoder",
        "data.revision=v1",
    )
    data = ModelCard(model_card(run, config, *facts(run))).data
    assert (data.base_model, data.datasets) == ("org/encoder", ["org/texts"])
    assert {entry.dataset_revision for entry in data.eval_results} == {"v1"}
