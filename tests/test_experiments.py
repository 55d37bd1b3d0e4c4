"""Each preset for a task runs with the command in its comment, on a tiny model."""

import re
import shlex
from pathlib import Path

import pytest
import runs
from files import write
from tables import generated_rows

from ostinato.config import Task
from ostinato.data.generated import generate
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_json

ROOT = Path(__file__).parents[1]
TASKS = {
    "single_label": "my/train.csv",
    "multi_label": "my/tags.csv",
    "regression_pairs": "my/pairs.csv",
    "few_rows": "my/train.csv",
    "imbalanced": "my/train.csv",
    "noisy_labels": "my/train.csv",
    "long_documents": "my/train.csv",
    "decoder_lora": "my/train.csv",
}
DECODER = (
    *("model.name=tiny", "model.pretrained=false"),
    "model.architecture={model_type:llama,hidden_size:32,num_hidden_layers:2,"
    "num_attention_heads:2,num_key_value_heads:1,intermediate_size:64,vocab_size:512}",
)
SMALL = (
    *("training.max_steps=6", "training.eval_every=3", "model.max_length=48"),
    *("training.device=cpu", "training.threads=1", "tracker=jsonl"),
)


def command_in(preset):
    """The overrides of the command in the comment of a preset."""
    text = (ROOT / "conf" / "experiment" / f"{preset}.yaml").read_text()
    (command,) = re.findall(r"^#   python scripts/train.py (.*)$", text, flags=re.M)
    return shlex.split(command)


def rows_for(preset):
    if preset == "multi_label":
        rows = generated_rows("train", "multi_label")
        return [{**row, "label": "|".join(row["label"])} for row in rows]
    if preset == "regression_pairs":
        source = generate("train", Task.regression, with_pair=True)
        found = [row for row, _ in zip(source.rows, range(60), strict=False)]
        return [
            {"text": row.text, "text_pair": row.pair, "label": row.label}
            for row in found
        ]
    rows = generated_rows("train")
    if preset == "imbalanced":
        return [row for row in rows if row["label"] != "sport"] + rows[1:13:3]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("preset", TASKS)
def test_a_preset_trains_with_the_command_in_its_comment(preset, tmp_path, monkeypatch):
    (tmp_path / "my").mkdir()
    write(tmp_path, TASKS[preset], rows_for(preset))
    monkeypatch.chdir(tmp_path)
    model = ["model=tiny"]
    if preset == "decoder_lora":
        pytest.importorskip("peft", reason="needs the extra peft")
        model = DECODER
    config, resolved = runs.compose(*command_in(preset), *SMALL, *model)
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    with runs.without_report():
        train(config, run, resolved)

    results = read_json(run.results)
    assert results["status"] == "finished"
    assert results["monitor"] == config.training.monitor
    assert results["monitor"] in results["val"]


def test_every_preset_for_a_task_is_tested_and_named_in_the_readme():
    presets = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert presets - {"debug", "bert_base_sst2"} == set(TASKS)
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{preset}`" in readme for preset in TASKS)
