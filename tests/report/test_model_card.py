"""The model card shows what the run found, and nothing about the machine."""

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


def records(run):
    """Results, provenance and fingerprint."""
    return read_json(run.results), read_json(run.provenance), read_json(run.fingerprint)


def task_of(results):
    return results["config"]["data"]["task"]


@pytest.mark.slow
def test_the_metadata_holds_every_metric(run):
    card = ModelCard.load(run.model_card)
    results = read_json(run.results)
    found = {}
    for entry in card.data.eval_results:
        split = "val" if entry.dataset_split == "validation" else entry.dataset_split
        key = (split, entry.metric_type, json.dumps(entry.metric_args))
        found[key] = entry.metric_value
    expected = []
    for split in ("val", "test"):
        values = results[split].values()
        expected += [value for value in values if isinstance(value, float)]
    assert sorted(found.values()) == sorted(expected)

    if task_of(results) == "regression":
        assert found["test", "mse", "null"] == results["test"]["mse"]
    else:
        macro_f1 = found["test", "f1", '{"average": "macro"}']
        assert macro_f1 == results["test"]["macro_f1"]
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    metadata = yaml.safe_load(card.content.split("---")[1])
    name, entries = model_index_to_eval_results(metadata["model-index"])
    assert (name, len(entries)) == ("debug", len(expected))


def test_the_card_names_data_seed_digests_and_command(run):
    results, _, fingerprint = records(run)
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
    if task_of(results) == "single_label":
        assert "The calibration error on test" in text


def test_every_row_of_a_table_has_the_same_number_of_cells(run):
    for table in re.findall(r"(?:^\|.*\n)+", run.model_card.read_text(), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        assert set(table.splitlines()[1]) <= set("|- "), table


def test_the_card_contains_no_folder_of_the_machine(run, place, tmp_path):
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
    text = model_card(run, config, *records(run))
    assert "python scripts/train.py seed=1 data.train_path=.../train.csv\n" in text
    assert "tracker" not in text.split("## Reproduce this model")[1]
    for private in (str(place), str(folder), str(Path.home())):
        assert private not in text
    record.unlink()


def test_labels_with_markup_are_escaped(run):
    results, provenance, fingerprint = records(run)
    if task_of(results) == "regression":
        return
    odd = ["a|b", "<script>", "c`d"]
    rows = dict(zip(odd, results["test"]["per_class"].values(), strict=True))
    results = results | {"labels": odd, "test": results["test"] | {"per_class": rows}}
    config, _ = configure(f"data.task={task_of(results)}", "name='---\n: odd'")
    text = model_card(run, config, results, provenance, fingerprint)
    assert ModelCard(text).data.eval_results
    assert "| a\\|b |" in text
    assert "| <script>" not in text


def test_the_metadata_links_a_model_and_data_set_of_the_hub(run):
    config, _ = configure(
        "data.source=hub",
        "data.name=org/texts",
        "model.name=org/encoder",
        "data.revision=v1",
    )
    data = ModelCard(model_card(run, config, *records(run))).data
    assert data.base_model == "org/encoder"
    assert data.datasets == ["org/texts"]
    assert {entry.dataset_revision for entry in data.eval_results} == {"v1"}
