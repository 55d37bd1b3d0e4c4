"""Random damage to a file of a run folder gives the same answer or one line; no traceback, no other metrics."""

import random
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from runs import DEBUG, configure, fingerprint, train_in

from ostinato import TextClassifier
from ostinato.cli.command import _resumed, load_run
from ostinato.cli.mistakes import find_problems
from ostinato.comparison.compare import compare_runs
from ostinato.comparison.runs import find_runs
from ostinato.config import ComparisonConfig, EvaluateConfig, ReproduceConfig
from ostinato.errors import ConfigError, UserError
from ostinato.proof.reproduce import reproduce
from ostinato.report.page import write_report
from ostinato.run.train import evaluate, train
from ostinato.run_dir import RunDir, read_json, write_config

OPTIONS = (
    "training.checkpoint_every=3",
    "training.eval_every=2",
    "training.keep_checkpoints=2",
    "training.log_every=1",
)
TEXTS = ["market market goal", "rain storm", "the team won " * 20]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, with Hydra's record, whose predictions, metrics and fingerprint are known."""
    run = train_in(tmp_path_factory.mktemp("damage") / "run", *OPTIONS)
    (run.path / ".hydra").mkdir()
    overrides = "".join(
        f"- {override}\n" for override in (*DEBUG, "tracker=jsonl", *OPTIONS)
    )
    (run.path / ".hydra" / "overrides.yaml").write_text(overrides)
    (run.path / ".hydra" / "hydra.yaml").write_text(
        "hydra:\n  mode: RUN\n  runtime:\n    choices: {tracker: jsonl}\n"
    )
    return run


def by_evaluate(path):
    folder, config = load_run(str(path))
    return evaluate(EvaluateConfig(run=str(path), split="test"), folder, config)


def by_predict(path):
    load_run(str(path))
    return TextClassifier.load(path, calibrated=True).predict(TEXTS)


def by_resume(path):
    """As the command does: from the overrides in Hydra's record."""
    with patch.object(sys, "stderr"):
        argv = _resumed([f"resume={path}"])
    if problems := find_problems("train", argv, multirun=False):
        raise ConfigError(problems)
    config, resolved = configure(
        *[argument for argument in argv if not argument.startswith("hydra.")]
    )
    with patch("ostinato.run.train.write_run_report"):
        train(config, RunDir(path), resolved)
    results = read_json(RunDir(path).results)
    return fingerprint(RunDir(path)), {
        split: results[split] for split in ("val", "test")
    }


def by_reproduce(path):
    folder, config = load_run(str(path))
    verdict = reproduce(
        ReproduceConfig(run=str(path), output=str(path.parent / "again"), until_step=2),
        folder,
        config,
    )
    if not verdict.identical:
        raise ConfigError(verdict.lines)
    return verdict.lines


def by_compare(path):
    comparison = compare_runs(
        find_runs([str(path)]), ComparisonConfig(metric="test/accuracy")
    )
    scores = [
        point.score
        for configuration in comparison.configurations
        for point in configuration.points
    ]
    return [score for score in scores if score is not None]


def by_report(path):
    folder, config = load_run(str(path))
    output = path.parent / "report.html"
    write_report(folder, config, output, [])
    return output.read_text()


COMMANDS = (by_evaluate, by_predict, by_resume, by_reproduce, by_compare, by_report)


@pytest.fixture(scope="module")
def expected(finished, tmp_path_factory):
    answers = {}
    for command in COMMANDS:
        copy = tmp_path_factory.mktemp("whole") / "run"
        answers[command] = command(shutil.copytree(finished.path, copy))
    return answers


def damage(path: Path, chance: random.Random) -> None:
    """Cuts the file off, flips a bit, or changes a digit, which often leaves the file readable."""
    content = bytearray(path.read_bytes())
    digits = [at for at, byte in enumerate(content) if chr(byte).isdecimal()]
    kind = chance.random()
    if kind < 0.3:
        del content[chance.randrange(len(content)) :]
    elif kind < 0.6 or not digits:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    else:
        at = chance.choice(digits)
        content[at] = ord("0") + (content[at] - ord("0") + 1) % 10
    path.write_bytes(content)


def check(command, finished, expected, place, chance):
    copy = Path(shutil.copytree(finished.path, place / "run"))
    files = sorted(
        path for path in copy.rglob("*") if path.is_file() and path.stat().st_size
    )
    damaged = chance.choice(files)
    damage(damaged, chance)
    what = f"{command.__name__} with {damaged.relative_to(copy)} damaged"
    try:
        answer = command(copy)
    except (UserError, SystemExit) as error:
        answer = error
    if isinstance(answer, SystemExit):
        assert answer.code == 2, what
        return
    if isinstance(answer, UserError):
        assert all(
            "\n" not in line for line in getattr(answer, "problems", [str(answer)])
        ), what
        return
    if command is by_report:  # names what is missing or damaged
        same = answer.replace(str(copy), "") == expected[command]
        assert same or any(
            word in answer for word in ("damaged", "missing", "again", "left out")
        ), what
    elif command is by_compare:  # a run that is damaged does not count
        assert answer in (expected[command], []), what
    else:
        assert answer == expected[command], what


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_never_gives_other_metrics(finished, expected, tmp_path, seed):
    check(
        COMMANDS[seed % len(COMMANDS)],
        finished,
        expected,
        tmp_path,
        random.Random(seed),
    )


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(300))
def test_three_hundred_damaged_files_never_give_other_metrics(
    finished, expected, tmp_path, seed
):
    check(
        COMMANDS[seed % len(COMMANDS)],
        finished,
        expected,
        tmp_path,
        random.Random(1000 + seed),
    )


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "calibration.json"],
)
def test_every_file_that_decides_predictions_is_verified(finished, tmp_path, name):
    run = RunDir(shutil.copytree(finished.path, tmp_path / "run"))
    file = run.best / name
    file.write_text(file.read_text() + " ")
    for command in (by_evaluate, by_predict):
        with pytest.raises(
            ConfigError, match=f"{name}: damaged or changed since the run wrote it"
        ):
            command(run.path)


def test_a_changed_record_or_config_is_named(finished, tmp_path):
    run = RunDir(shutil.copytree(finished.path, tmp_path / "run"))
    for path in (run.results, run.fingerprint, run.provenance):
        path.write_text(
            path.read_text()
            .replace('"cpu"', '"gpu"')
            .replace('"steps": 8', '"steps": 9')
            .replace("0.", "1.")
        )
        with pytest.raises(
            ConfigError, match=f"{path.name}: damaged or changed since the run wrote it"
        ):
            read_json(path)
    run = RunDir(shutil.copytree(finished.path, tmp_path / "other"))
    config, resolved = configure(*OPTIONS, "model.max_length=16")
    write_config(run, resolved)
    with pytest.raises(
        ConfigError,
        match=r"config\.yaml: changed since the run ended \(model\.max_length: 32 -> 16\)",
    ):
        by_evaluate(run.path)
    assert config.model.max_length == 16
    assert find_runs([str(run.path)])[0].status == "failed"
