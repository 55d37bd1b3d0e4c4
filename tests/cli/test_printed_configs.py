"""`--cfg job` prints what a command would run with, and writes nothing."""

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from in_process import call
from test_any_overrides import OVERRIDES

from ostinato.cli.schemas import SCHEMAS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, which contains the run folder `run` and nothing else."""
    folder = tmp_path / "here"
    record = folder / "run" / ".hydra"
    record.mkdir(parents=True)
    (folder / "run" / "config.yaml").write_text("name: debug\n")
    (record / "overrides.yaml").write_text("[experiment=debug, training.lr=0.5]")
    (record / "hydra.yaml").write_text("hydra: {mode: RUN}\n")
    monkeypatch.chdir(folder)
    return folder


def contents(folder):
    """Every path with its time of change and its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else None
        found[path] = (path.stat().st_mtime_ns, content)
    return found


@pytest.mark.parametrize("typed", ["resume=run", "resume.run=run"])
@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--cfg", "job", "--resolve"]])
def test_the_config_of_a_run_that_would_resume_is_printed(here, capsys, typed, flags):
    before = contents(here)
    assert call("train", typed, "training.epochs=7", *flags) == 0
    assert contents(here) == before
    printed = capsys.readouterr()
    assert printed.err == ""
    config = yaml.safe_load(printed.out)
    assert config["resume"]["run"] == "run"
    assert (config["training"]["lr"], config["training"]["epochs"]) == (0.5, 7)
    assert config["training"]["batch_size"] == 16  # of experiment=debug


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_command_prints_its_config(here, capsys, command):
    before = contents(here)
    assert call(command, "--cfg", "job") == 0
    assert contents(here) == before
    printed = capsys.readouterr()
    assert printed.err == ""
    names = SCHEMAS[command].__pydantic_fields__
    assert yaml.safe_load(printed.out).keys() == names.keys()


# An override that begins with a dash is a flag, which argparse reads.
TYPED = OVERRIDES.filter(lambda texts: not any(text.startswith("-") for text in texts))
FUZZ = settings(
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@settings(FUZZ, max_examples=10)
@given(command=st.sampled_from(["train", *SCHEMAS]), overrides=TYPED)
def test_any_overrides_print_a_config_or_one_line_per_mistake(
    here, capsys, command, overrides
):
    check(here, capsys, command, overrides)


@pytest.mark.proof
@settings(FUZZ, max_examples=200)
@given(command=st.sampled_from(["train", *SCHEMAS]), overrides=TYPED)
def test_many_more_overrides_print_a_config_or_one_line_per_mistake(
    here, capsys, command, overrides
):
    check(here, capsys, command, overrides)


def check(here, capsys, command, overrides):
    """Calls the command: it prints a config, or one line per mistake, writes nothing."""
    before = contents(here)
    code = call(command, *overrides, "--cfg", "job")
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert contents(here) == before
    if code == 0:
        assert isinstance(yaml.safe_load(printed.out), dict)
    else:
        assert code == 2
        assert printed.err
        assert printed.out == ""
