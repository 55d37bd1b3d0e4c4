"""A record that is nested too deeply, or repeats itself, is damaged; it is no traceback."""

import shutil

import pytest
from runs import fingerprint, resume, train_in, train_until_killed

from ostinato.cli.command import load_run
from ostinato.errors import ConfigError
from ostinato.record.overrides import for_run, for_sweep
from ostinato.run_dir import RunDir, read_config, write_config
from ostinato.storage.outputs import check_output, holds
from ostinato.storage.parsing import parse_json, parse_yaml

NESTED = ["[" * 3_000, '{"a": ' * 3_000, "[" * 200 + "]" * 200]
REPEATED = ["&a [*a]", "a: &a {b: *a}", "a: &a [1]\nb: *a\n"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(finished, tmp_path):
    return RunDir(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.mark.parametrize("text", NESTED)
@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_deeply_nested_text_is_a_value_error(parse, text):
    with pytest.raises(ValueError, match="nested more than 32 levels deep"):
        parse(text)


@pytest.mark.parametrize("text", REPEATED)
def test_an_alias_is_a_value_error(text):
    with pytest.raises(ValueError, match="holds an alias"):
        parse_yaml(text)


def test_usual_nesting_is_read():
    text = '{"a": ' * 31 + "1" + "}" * 31
    assert parse_json(text) == parse_yaml(text)


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


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!int ''", "a: !!timestamp foo"])
def test_a_value_that_does_not_fit_its_tag_is_refused(text):
    with pytest.raises(ValueError, match="a value does not fit its tag"):
        parse_yaml(text)
