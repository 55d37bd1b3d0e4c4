"""Secrets stay in the process, and texts cannot control a terminal or add markup."""

import html.parser
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from families import family
from files import write
from planted import SECRET, files_with
from runs import train_in
from transformers import BertModel

from ostinato import redaction
from ostinato.cli import command
from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.comparison import page as comparison_report
from ostinato.comparison.compare import compare_runs
from ostinato.comparison.runs import find_runs
from ostinato.config import (
    ComparisonConfig,
    ExportConfig,
    ModelConfig,
)
from ostinato.data.columns import Columns
from ostinato.data.texts import shown as quoted
from ostinato.errors import ConfigError, UserError
from ostinato.hydra_record import key_values
from ostinato.inference import hub_export
from ostinato.model.pretrained import refused
from ostinato.model.words import word_tokenizer
from ostinato.record import provenance
from ostinato.report.text import plain
from ostinato.run_dir import RunDir
from ostinato.trackers import Trackers

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _forget():
    with patch.dict(redaction._references, clear=True):
        yield


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:p@ss-{SECRET}@host/path",
        f"http://user:{SECRET}@host",
        f"https://host/path?token={SECRET}",
        f"https://host/?a=1&api_key={SECRET}&b=2",
        f"https://host/?password={SECRET}#x",
        f"https://host/?X-Amz-Signature={SECRET}",
    ],
)
def test_passwords_and_tokens_in_addresses_are_masked(text):
    assert SECRET not in redaction.redact(text)
    assert "host" in redaction.redact(text)
    assert SECRET not in plain(text)


def test_an_address_without_secrets_is_not_changed():
    for text in (
        "https://host/a@b",
        "https://host/?page=2&size=3",
        "a@b.org",
        "s3://bucket/key",
    ):
        assert redaction.redact(text) == text


def test_short_values_and_numbers_from_the_environment_are_not_masked():
    for value in ("1", "true", "12345678", "0.00001", "1e-00005"):
        redaction.register(value, "${oc.env:X}")
        assert redaction.redact(f"a {value} b") == f"a {value} b"


def test_the_longest_secret_is_masked_first():
    redaction.register("secret", "${oc.env:A}")
    redaction.register("secret-more", "${oc.env:B}")
    assert redaction.redact("secret-more secret") == "${oc.env:B} ${oc.env:A}"


def test_values_of_the_env_file_are_masked_also_in_child_processes(
    tmp_path, monkeypatch
):
    values = {
        "DATABASE": SECRET,
        "HF_TOKEN": f"hf-{SECRET}",
        "KEPT": f"file-{SECRET}",
        "QUOTED": f"a {SECRET}' #",
        "THREADS": "1",
        "VERBOSE": "true",
        "PORT": "12345678",
    }
    lines = [f'export {name}="{value}"\n' for name, value in values.items()]
    (tmp_path / ".env").write_text("# a comment\n\nEMPTY=\nBARE\n" + "".join(lines))
    monkeypatch.setattr(command, "CONF", tmp_path / "conf")
    with patch.dict("os.environ", {"KEPT": f"shell-{SECRET}"}):
        command.load_environment_file()
        text = " | ".join([*values.values(), f"shell-{SECRET}"])
        masked = redaction.redact(text)
        code = f"from ostinato.redaction import redact; print(redact({text!r}))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert masked == (
        "${oc.env:DATABASE} | *** | file-${oc.env:DATABASE} | ${oc.env:QUOTED} "
        "| 1 | true | 12345678 | ${oc.env:KEPT}"
    )
    assert done.stdout == f"{masked}\n"
    assert redaction.redact(text) == text


def test_a_decisive_variable_of_the_env_file_is_recorded_as_it_is(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    monkeypatch.setenv("HF_ENDPOINT", f"https://{SECRET}")
    monkeypatch.setenv("OSTINATO_ENV_FILE_VARIABLES", "ONEDNN_MAX_CPU_ISA\nHF_ENDPOINT")
    recorded = provenance.environment()["environment"]
    assert recorded["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE"
    assert recorded["HF_ENDPOINT"] == "${oc.env:HF_ENDPOINT}"


@pytest.mark.parametrize("length", [30, 300])
@pytest.mark.parametrize("before", [0, 60, 75, 95, 155])
def test_a_value_is_masked_before_a_text_is_cut(before, length, tmp_path, monkeypatch):
    value = "q7" * (length // 2)
    monkeypatch.setenv("WANDB_API_KEY", value)
    text = "x" * before + value
    messages = [
        quoted(text),
        str(refused(ModelConfig(name="x"), OSError(text))),
        message_of(key_values, [text], tmp_path),
        message_of(Columns(text, None).check, ["a", "b"], "x.csv"),
    ]
    for message in messages:
        assert "q7" not in message


def message_of(function, *arguments):
    """The message of the error that a function raises."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    return str(error.value)


def test_control_characters_and_direction_marks_are_replaced():
    assert (
        redaction.printable("a\x1b[2Jb\x9b\u202ec\r\n\td")
        == "a\ufffd[2Jb\ufffd\ufffdc\ufffd\n\td"
    )


def test_log_lines_and_tracebacks_have_no_secrets_or_escapes(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    try:
        raise ValueError(f"{SECRET}\x1b]0;x")
    except ValueError as error:
        record = logging.LogRecord(
            "x",
            40,
            "f",
            1,
            f"{SECRET}\x1b",
            None,
            (ValueError, error, error.__traceback__),
        )
    text = redaction.Formatter("%(message)s").format(record)
    assert "Traceback" in text
    assert SECRET not in text
    assert "\x1b" not in text


def test_trackers_get_config_and_provenance_without_secrets(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    got = []
    tracker = SimpleNamespace(start=lambda *a: got.extend(a), finish=lambda *a: None)
    trackers = Trackers({"x": lambda: tracker})
    trackers.start(
        {"a": {"uri": f"http://u:p@{SECRET}@h"}, "n": 3},
        {"command": ["x", f"key={SECRET}"]},
    )
    trackers.finish("finished", {})
    assert SECRET not in json.dumps(got)
    assert got[0]["n"] == 3


def test_a_token_in_an_error_of_the_hub_is_masked_before_the_text_is_truncated(
    tmp_path, monkeypatch
):
    token = "hf_" + "a" * 40
    monkeypatch.setenv("HF_TOKEN", token)
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text("{}")

    def create_repo(*arguments, **options):
        raise OSError("x" * 180 + token)

    api = SimpleNamespace(create_repo=create_repo, endpoint="e")
    with (
        patch.object(hub_export, "HfApi", lambda token: api),
        patch.object(hub_export, "verify_best"),
        pytest.raises(ConfigError) as caught,
    ):
        hub_export.push(ExportConfig(run=str(tmp_path), repo="a/b"), RunDir(tmp_path))
    assert "hf_aaa" not in str(caught.value)


def test_a_name_from_the_environment_is_refused_because_it_names_the_folder(
    monkeypatch,
):
    monkeypatch.setenv("OSTINATO_NAME", SECRET)
    register_schemas()
    problems = find_problems(
        "train", ["experiment=debug", "name=x_${oc.env:OSTINATO_NAME}"], multirun=False
    )
    assert any(problem.startswith("name=") for problem in problems)
    assert SECRET not in redaction.redact("\n".join(problems))


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["files", pytest.param("hub", marks=pytest.mark.proof)]
)
def test_no_file_of_a_run_has_a_value_from_the_environment(
    source, tmp_path, monkeypatch, caplog
):
    values = {"TEXT": "text", "LABEL": "label", "SLICE": "origin", "REVISION": "main"}
    values |= {"DATA": "data", "MODEL": "model"}
    for name, value in values.items():
        values[name] = f"{value}-{SECRET}"
        monkeypatch.setenv(f"OSTINATO_{name}", values[name])
    for name in ("DATA", "MODEL"):
        monkeypatch.setenv(f"OSTINATO_{name}", str(tmp_path / values[name]))
    columns = [values[name] for name in ("TEXT", "LABEL", "SLICE")]
    rows = []
    for number in range(60):
        word = ("good", "bad")[number % 2]
        row = (f"{word} text {number}", word, word)
        rows.append(dict(zip(columns, row, strict=True)))
    folder = tmp_path / values["DATA"]
    folder.mkdir()
    write(folder, "train.csv", rows)
    BertModel(family("bert")).save_pretrained(tmp_path / values["MODEL"])
    tokenizer = word_tokenizer([row[columns[0]] for row in rows], 60)
    tokenizer.save_pretrained(tmp_path / values["MODEL"])
    of_source = {
        "files": ["data.train_path=${oc.env:OSTINATO_DATA}/train.csv"],
        "hub": [
            "data.name=${oc.env:OSTINATO_DATA}",
            "data.revision=${oc.env:OSTINATO_REVISION}",
        ],
    }

    run = train_in(
        tmp_path / "run",
        f"data={source}",
        *of_source[source],
        "data.text_column=${oc.env:OSTINATO_TEXT}",
        "data.label_column=${oc.env:OSTINATO_LABEL}",
        "model=minilm",
        "model.name=${oc.env:OSTINATO_MODEL}",
        "model.revision=${oc.env:OSTINATO_REVISION}",
        "model.max_length=16",
        "report.slices=['${oc.env:OSTINATO_SLICE}']",
        "tracker=[jsonl,tensorboard]",
        report=True,
    )

    assert run.report.is_file()
    assert run.model_card.is_file()
    assert "${oc.env:OSTINATO_MODEL}" in run.config.read_text()
    assert files_with(SECRET, run.path) == []
    assert SECRET not in redaction.redact(caplog.text)


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.bad, self.policy = [], []

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag in ("script", "iframe", "object", "img") or any(
            n.startswith("on") for n in names
        ):
            self.bad.append(tag)
        if names.get("http-equiv") == "Content-Security-Policy":
            self.policy.append(names["content"])


def test_names_in_foreign_runs_cannot_add_markup_to_a_comparison(tmp_path, capsys):
    evil = "<script>x</script>\"'><img src=x onerror=x>|`[a](javascript:x)\x1b]0;x\x07"
    for number in range(2):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text(
            json.dumps({"name": evil, "seed": number, "training": {"seed": number}})
        )
        (folder / "results.json").write_text(
            json.dumps({"name": evil, "status": "failed", "error": evil})
        )
    comparison = compare_runs(
        find_runs([str(tmp_path)]), ComparisonConfig(metric="test/accuracy")
    )
    comparison_report.show(comparison)
    comparison_report.write(comparison, tmp_path, "sweep")
    page = _Page()
    page.feed((tmp_path / "sweep.html").read_text())
    assert not page.bad
    assert page.policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "\x1b" not in capsys.readouterr().out
    text = (tmp_path / "sweep.md").read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    assert "[a](" not in text


def test_a_plot_label_starts_no_formula():
    assert redaction.plot_label("a $b$ c") == r"a \$b\$ c"


def test_a_password_in_a_name_is_masked_in_plots_too():
    name = "uri=//user:hunter22@host/x"  # pragma: allowlist secret
    assert "hunter22" not in redaction.plot_label(name)
