"""What is printed has no secrets and cannot control a terminal."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from planted import SECRET
from preloaded import python
from runs import train_in

from ostinato import redaction
from ostinato.cli.terminal import print_json, print_results
from ostinato.config import (
    PredictConfig,
)
from ostinato.inference.output_writer import open_writer
from ostinato.run_dir import RunDir, read_config, write_config

ROOT = Path(__file__).parents[1]
EVIL = "\x1b]0;x\x07\x9b31m\u202e"


def test_results_on_the_terminal_have_no_secrets_and_no_control_characters(capsys):
    print_results(f"lr: 1 -> {EVIL}", f"uri: http://u:{SECRET}@host")
    out = capsys.readouterr().out
    assert redaction.printable(out) == out
    assert SECRET not in out


def test_json_on_the_terminal_is_the_same_value_without_control_characters(capsys):
    value = {f"label {EVIL}": [EVIL, "ü→", 0.5, None]}
    print_json(value)
    out = capsys.readouterr().out
    assert redaction.printable(out) == out
    assert json.loads(out) == value
    assert "ü→" in out


def test_a_prediction_on_the_terminal_has_no_control_characters(capsys):
    cfg = PredictConfig(run="x", input="-", output="-")
    with open_writer(cfg) as write:
        write({"id": EVIL}, {"label": EVIL})
    out = capsys.readouterr().out
    assert redaction.printable(out) == out
    assert json.loads(out) == {"id": EVIL, "label": EVIL}


@pytest.mark.slow
def test_reproduce_prints_no_escapes_and_no_secrets_of_a_foreign_run(tmp_path):
    run = train_in(tmp_path / "run", "training.epochs=1")
    foreign = RunDir(shutil.copytree(run.path, tmp_path / "foreign"))
    config = read_config(foreign)
    config["data"]["train_path"] = f"{EVIL} http://user:{SECRET}@host"
    write_config(foreign, config)
    done = subprocess.run(
        [
            *(python(), str(ROOT / "scripts" / "reproduce.py")),
            *(f"run={run.path}", f"against={foreign.path}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "data.train_path" in done.stdout, done.stderr
    assert redaction.printable(done.stdout) == done.stdout
    assert SECRET not in done.stdout


# Each of these makes its lines safe with the functions of redaction.
WRITERS = {
    "cli/command.py": "the help, which is the program's own text",
    "cli/presets.py": "a line beside Hydra's output",
    "cli/terminal.py": "the functions for all commands",
    "inference/output_writer.py": "predictions",
    "sweep/search.py": "the best trial",
    "sweep/sweep.py": "the end of a sweep",
}


def test_only_listed_modules_write_to_the_terminal():
    writes = re.compile(r"sys\.std(out|err)\.write|(?<![.\w])print\(|, sys\.stdout, ")
    source = ROOT / "src" / "ostinato"
    files = [*source.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    found = {path for path in files if writes.search(path.read_text(encoding="utf-8"))}
    allowed = {source / name for name in WRITERS}
    assert found == allowed
