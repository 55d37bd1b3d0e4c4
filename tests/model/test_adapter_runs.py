"""A run with an adapter: its files, its base model, and every command that reads it."""

import json
import re
import shutil

import pytest
import torch
from closeness import assert_close
from model_folders import overrides, write_model
from runs import configure, fingerprint, resume, train_in, train_until_killed
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

from ostinato import TextClassifier
from ostinato.cli import composition
from ostinato.cli.command import load_run
from ostinato.cli.mistakes import find_problems
from ostinato.comparison.groups import group_by_configuration
from ostinato.comparison.runs import find_runs
from ostinato.config import EvaluateConfig, ExportConfig, ReproduceConfig
from ostinato.errors import ConfigError, ResumeRefused
from ostinato.inference.merged_export import export_merged
from ostinato.model.adapter import adapter_weights, base_weights
from ostinato.model.trained import load_trained
from ostinato.proof.reproduce import reproduce
from ostinato.record.digests import digest_weights
from ostinato.record.drift import environment_drift
from ostinato.run.evaluate import evaluate
from ostinato.run_dir import RunDir, read_json
from ostinato.training.compiling import has_compiler
from ostinato.training.prepare import prepare

peft = pytest.importorskip("peft", reason="needs the extra peft")

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


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the run, which a test can change."""
    run, _ = finished
    return RunDir(shutil.copytree(run.path, tmp_path / "run"))


def load(run):
    _, config = load_run(str(run.path))
    return load_trained(run, config)


def test_the_folder_holds_the_adapter_and_the_head_alone(finished):
    run, _ = finished
    assert run.best_weights.name == "adapter_model.safetensors"
    assert not (run.best / "model.safetensors").exists()
    best = load_file(run.best_weights)
    (checkpoint,) = run.all_checkpoints()
    assert load_file(checkpoint.weights).keys() == best.keys()
    for name in best:
        assert ".lora_" in name or "pooler" in name or "classifier" in name
    for path in run.path.rglob("*"):
        assert path.suffix not in (".bin", ".pt", ".pkl")


def test_the_base_model_does_not_change(finished):
    run, base = finished
    recorded = read_json(run.provenance)["base"]
    assert recorded["name"] == str(base)
    _, config = load_run(str(run.path))
    start = prepare(config)
    assert start.base == recorded == read_json(run.fingerprint)["base"]
    model, _ = load(run)
    weights = base_weights(model, config.model.adapter)
    assert digest_weights(weights) == recorded["weights"]
    before, after = adapter_weights(start.model), adapter_weights(model)
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert changed == list(after)


def test_peft_opens_the_best_adapter(finished):
    run, _ = finished
    config = AutoConfig.from_pretrained(run.best)
    opened = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        run.best, id2label=config.id2label, label2id=config.label2id
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.best)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    model, _ = load(run)
    with torch.no_grad():
        assert_close(opened(**inputs).logits, model(**inputs).logits)
    assert opened.config.id2label == model.config.id2label


def test_evaluate_gives_the_metrics_of_the_run(finished):
    run, _ = finished
    _, config = load_run(str(run.path))
    for split in ("val", "test"):
        found = evaluate(EvaluateConfig(run=str(run.path), split=split), run, config)
        expected = read_json(run.results)[split]
        assert json.loads(json.dumps(found)) == expected


def test_training_again_gives_the_same_bits(finished, tmp_path):
    run, _ = finished
    _, config = load_run(str(run.path))
    cfg = ReproduceConfig(run=str(run.path), output=str(tmp_path))
    verdict = reproduce(cfg, run, config)
    assert verdict.identical, verdict.lines


@pytest.mark.parametrize(
    "method",
    [pytest.param(LORA, marks=pytest.mark.proof), DORA],
    ids=["lora", "dora"],
)
def test_a_killed_run_resumes_to_the_same_bits(method, tmp_path, monkeypatch):
    options = (*method, "training.ema_decay=0.5", "training.checkpoint_every=2")
    options += ("training.head_lr=1e-2", "training.layer_lr_decay=0.5")
    whole = train_in(tmp_path / "whole", *options)
    train_until_killed(monkeypatch, 5, tmp_path / "killed", *options)
    resumed = resume(RunDir(tmp_path / "killed"), *options)
    assert fingerprint(resumed) == fingerprint(whole)


def change_weights(base):
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "query.weight" in name)
    weights[name] += 1e-3
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def test_another_base_model_is_refused_in_one_line(tmp_path, monkeypatch):
    base = write_model(tmp_path / "base", "bert")
    options = (*overrides(base, "bert"), *LORA, "training.checkpoint_every=1")
    run = train_in(tmp_path / "run", *options)
    killed = RunDir(tmp_path / "killed")
    train_until_killed(monkeypatch, 2, killed.path, *options)
    change_weights(base)
    _, config = load_run(str(run.path))
    cfg = EvaluateConfig(run=str(run.path))
    message = r"model\.name.* has other weights than the base model of this run"
    for read in (
        lambda: load(run),
        lambda: TextClassifier.load(run.path),
        lambda: evaluate(cfg, run, config),
        lambda: export_merged(ExportConfig(format="merged"), run, config),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            read()
        assert len(error.value.problems) == 1
    for drift in ((), ("resume.allow_drift=true",)):
        with pytest.raises(ResumeRefused, match=message):
            resume(killed, *options, *drift)


def test_the_adapter_config_of_a_foreign_folder_decides_nothing(copy, tmp_path):
    expected = TextClassifier.load(copy.path, "cpu").predict(TEXTS)
    copy.fingerprint.unlink()  # nothing verifies the files any more
    other = write_model(tmp_path / "other", "bert", hidden_act="relu")
    for name in (str(other), "org/evil", None):
        evil = {
            "base_model_name_or_path": name,
            "auto_mapping": {"parent_library": "os"},
        }
        (copy.best / "adapter_config.json").write_text(json.dumps(evil))
        assert TextClassifier.load(copy.path, "cpu").predict(TEXTS) == expected


@pytest.mark.parametrize("damage", ["missing", "garbage", "other shapes", "pickle"])
def test_a_damaged_adapter_is_refused_in_one_line(copy, damage):
    copy.fingerprint.unlink()
    file = copy.best_weights
    if damage == "garbage":
        file.write_bytes(b"garbage" * 99)
    elif damage == "other shapes":
        weights = {name: tensor[:1] for name, tensor in load_file(file).items()}
        save_file(weights, file)
    else:
        file.unlink()
    if damage == "pickle":
        (copy.best / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: ") as error:
        TextClassifier.load(copy.path, "cpu")
    assert "\n" not in str(error.value)


def test_the_folder_of_an_adapter_alone_is_refused_with_the_remedy(finished):
    run, _ = finished
    message = r"contains an adapter, not a model; .*name the run folder"
    with pytest.raises(ConfigError, match=message):
        TextClassifier.load(run.best)


def test_an_edited_config_is_refused(copy):
    text = copy.config.read_text()
    copy.config.write_text(text.replace("r: 2", "r: 3"))
    with pytest.raises(ConfigError, match=r"changed since the run ended .*adapter\.r"):
        TextClassifier.load(copy.path, "cpu")


def test_only_the_seed_of_the_adapter_changes_its_weights(finished):
    _, base = finished
    options = (*overrides(base, "bert"), *LORA)

    def weights(*more):
        model = prepare(configure(*options, *more)[0]).model
        return {
            name: digest_weights({"": t}) for name, t in adapter_weights(model).items()
        }

    plain, other = weights(), weights("training.seeds.adapter=1")
    differ = {name for name in plain if plain[name] != other[name]}
    assert differ == {name for name in plain if ".lora_A" in name}


def steps_of(folder, *options):
    return fingerprint(train_in(folder, *options))["steps"]


def test_recomputed_activations_change_no_step(tmp_path):
    options = (*LORA, "training.max_steps=3")
    plain = steps_of(tmp_path / "plain", *options)
    again = steps_of(
        tmp_path / "again", *options, "training.gradient_checkpointing=true"
    )
    assert again == plain


@pytest.mark.proof
@pytest.mark.skipif(not has_compiler(), reason="torch needs a C++ compiler")
@pytest.mark.parametrize("method", [LORA, DORA], ids=["lora", "dora"])
def test_a_compiled_run_repeats(method, tmp_path, monkeypatch):
    options = (*method, "training.compile=true", "training.checkpoint_every=2")
    whole = train_in(tmp_path / "whole", *options)
    train_until_killed(monkeypatch, 3, tmp_path / "killed", *options)
    resumed = resume(RunDir(tmp_path / "killed"), *options)
    assert fingerprint(resumed) == fingerprint(whole)

    no_dropout = ("dropout=0", "attention_dropout=0", "adapter.dropout=0")
    options = (*method, *(f"model.{option}" for option in no_dropout))
    compiled = steps_of(tmp_path / "compiled", *options, "training.compile=true")
    plain = steps_of(tmp_path / "plain", *options)
    for one, other in zip(compiled, plain, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


@pytest.mark.proof
def test_an_adapter_of_a_model_of_110_million_weights_takes_megabytes(tmp_path):
    options = (
        *("model=bert_base", "model.pretrained=false", "model.max_length=16"),
        *("training.max_steps=1", "training.batch_size=2", "data.limit_train=20"),
        *("data.limit_val=4", "data.limit_test=4", "training.lr=1e-4"),
    )
    whole = train_in(tmp_path / "whole", *options)
    adapted = train_in(tmp_path / "adapted", *options, "model/adapter=lora")
    assert size_of(whole.best) > 4 * 100e6
    assert size_of(adapted.best) < 0.02 * size_of(whole.best)
    (own,), (other,) = adapted.all_checkpoints(), whole.all_checkpoints()
    assert size_of(own.path) < 0.02 * size_of(other.path)


def test_calibrated_predictions_belong_to_the_adapter(finished):
    run, _ = finished
    classifier = TextClassifier.load(run.path, "cpu", calibrated=True)
    assert classifier.calibration is not None


def test_runs_with_and_without_an_adapter_are_compared(finished, tmp_path):
    run, base = finished
    plain = train_in(tmp_path / "plain", *overrides(base, "bert"))
    runs = find_runs([str(run.path), str(plain.path)])
    groups = group_by_configuration(runs)
    assert len(groups) == 2
    assert all("adapter" in name for name in groups)
    drift = environment_drift(read_json(run.provenance), read_json(plain.provenance))
    assert {difference.part for difference in drift} == {"base"}


def test_another_release_of_peft_matters_for_adapters_only(finished):
    run, _ = finished
    own = read_json(run.provenance)
    other = {**own, "packages": {**own["packages"], "peft": "0"}}
    assert [d.key for d in environment_drift(own, other)] == ["packages.peft"]
    without = [
        {key: value for key, value in record.items() if key != "base"}
        for record in (own, other)
    ]
    assert environment_drift(*without) == []


def test_a_foreign_config_sends_no_variable_to_the_hub(copy, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "secret-name")
    copy.fingerprint.unlink()
    text = copy.config.read_text()
    copy.config.write_text(re.sub(r"name: .*base", "name: ${oc.env:MY_SECRET}", text))
    for read in (lambda: load(copy), lambda: TextClassifier.load(copy.path)):
        with pytest.raises(ConfigError, match="is not a plain name") as error:
            read()
        assert "secret-name" not in str(error.value)


def test_a_variable_as_the_name_of_a_base_model_is_refused_at_the_start(monkeypatch):
    monkeypatch.setenv("MY_BASE", "org/base")
    composition.register_schemas()
    overrides = ["model/adapter=lora", "model.name=${oc.env:MY_BASE}"]
    (problem,) = find_problems("train", overrides, multirun=False)
    assert problem.startswith("model.name=${oc.env:MY_BASE}: is read again to load")


def test_the_code_of_the_model_card_opens_the_adapter(finished):
    run, _ = finished
    card = run.model_card.read_text()
    assert "library_name: peft" in card
    digest = fingerprint(run)["best_weights"]
    assert f"| `adapter_model.safetensors` (SHA-256) | `{digest}` |" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    names: dict = {}
    exec(code.replace("path/to/this/folder", str(run.best)), names)
    (found,) = names["classifier"](TEXTS[0])
    expected = TextClassifier.load(run.path, "cpu").predict(TEXTS[:1])[0]
    assert found["label"] == expected["label"]
    assert found["score"] == pytest.approx(expected["score"], rel=1e-4)


def test_the_card_does_not_send_peft_to_a_base_model_that_it_cannot_load(tmp_path):
    run = train_in(tmp_path / "run", "model/adapter=lora", "training.max_steps=2")
    card = run.model_card.read_text()
    assert "AutoPeftModel" not in card
    assert "format=merged" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    exec(code.replace("path/to/the/run", str(run.path)), {})


def assert_evaluated_again(run):
    _, config = load_run(str(run.path))
    found = evaluate(EvaluateConfig(run=str(run.path), split="val"), run, config)
    assert json.loads(json.dumps(found)) == read_json(run.results)["val"]


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_every_task_is_evaluated_again(task, tmp_path):
    options = (*DORA, f"data.task={task}", "training.max_steps=4")
    run = train_in(tmp_path / "run", *options)
    assert_evaluated_again(run)
    assert len(TextClassifier.load(run.path, "cpu").predict(TEXTS)) == len(TEXTS)


def test_the_head_of_a_checkpoint_is_kept_trained_and_saved(tmp_path):
    base = write_model(tmp_path / "encoder", "bert")
    options = (*overrides(base, "bert"), "training.max_steps=2")
    first = train_in(tmp_path / "first", *options)
    options = (*overrides(first.best, "bert"), *LORA, "model.head=keep")
    run = train_in(tmp_path / "run", *options)
    before, after = load_file(first.best_weights), load_file(run.best_weights)
    own = after["base_model.model.classifier.weight"]
    difference = (own - before["classifier.weight"]).abs().max()
    assert 0 < difference < 0.1  # a new head would have other weights
    assert_evaluated_again(run)
