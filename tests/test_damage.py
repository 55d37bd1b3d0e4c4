"""Random damage to a file of a run folder gives the same answer or one line.

It never gives a traceback or other metrics.
"""

import random
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from runs import DEBUG, configure, fingerprint, train_in, without_report

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.cli.mistakes import find_problems
from ostinato.cli.resume import resumed_run
from ostinato.comparison.compare import compare_runs
from ostinato.comparison.runs import find_runs
from ostinato.config import ComparisonConfig, EvaluateConfig, ReproduceConfig
from ostinato.errors import ConfigError, UserError
from ostinato.proof.reproduce import reproduce
from ostinato.report.page import write_report
from ostinato.run.evaluate import evaluate
from ostinato.run.train import train
from ostinato.run_dir import RunDir, read_json, write_config

OPTIONS = (
    "training.checkpoint_every=3",
    "training.eval_every=2",
    "training.keep_checkpoints=2",
    "training.log_every=1",
)
TEXTS = ["market market goal", "rain storm", "the team won " * 20]
HYDRA = """
hydra:
  mode: RUN
  runtime:
    choices: {tracker: jsonl}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, with Hydra's record of it."""
    run = train_in(tmp_path_factory.mktemp("damage") / "run", *OPTIONS)
    record = run.path / ".hydra"
    record.mkdir()
    typed = [*DEBUG, "tracker=jsonl", *OPTIONS]
    lines = [f"- {override}\n" for override in typed]
    (record / "overrides.yaml").write_text("".join(lines))
    (record / "hydra.yaml").write_text(HYDRA)
    return run


def by_evaluate(path):
    folder, config = load_run(str(path))
    return evaluate(EvaluateConfig(run=str(path), split="test"), folder, config)


def by_predict(path):
    load_run(str(path))
    return TextClassifier.load(path, calibrated=True).predict(TEXTS)


def by_resume(path):
    """Resumes like the command, from the overrides in Hydra's record."""
    with patch.object(sys, "stderr"):
        argv = resumed_run([f"resume={path}"])
    if problems := find_problems("train", argv, multirun=False):
        raise ConfigError(problems)
    own = [argument for argument in argv if not argument.startswith("hydra.")]
    config, resolved = configure(*own)
    run = RunDir(path)
    with without_report():
        train(config, run, resolved)
    results = read_json(run.results)
    return fingerprint(run), results["val"], results["test"]


def by_resume_from_checkpoint(path):
    """Resumes a run that was killed at its end, before it wrote its results."""
    RunDir(path).results.unlink()
    run = train_in(path, *OPTIONS, f"resume.run={path}")
    results = read_json(run.results)
    return fingerprint(run), results["val"], results["test"]


def by_reproduce(path):
    folder, config = load_run(str(path))
    output = str(path.parent / "again")
    cfg = ReproduceConfig(run=str(path), output=output, until_step=2)
    verdict = reproduce(cfg, folder, config)
    if not verdict.identical:
        raise ConfigError(verdict.lines)
    return verdict.lines


def by_compare(path):
    cfg = ComparisonConfig(metric="test/accuracy")
    comparison = compare_runs(find_runs([str(path)]), cfg)
    scores = []
    for configuration in comparison.configurations:
        scores += [point.score for point in configuration.points]
    return [score for score in scores if score is not None]


def by_report(path):
    folder, config = load_run(str(path))
    output = path.parent / "report.html"
    write_report(folder, config, output, [])
    return output.read_text()


COMMANDS = (
    by_evaluate,
    by_predict,
    by_resume,
    by_resume_from_checkpoint,
    by_reproduce,
    by_compare,
    by_report,
)


@pytest.fixture(scope="module")
def expected(finished, tmp_path_factory):
    answers = {}
    for command in COMMANDS:
        copy = tmp_path_factory.mktemp("whole") / "run"
        answers[command] = command(shutil.copytree(finished.path, copy))
    return answers


def damage(path: Path, chance: random.Random) -> None:
    """Cuts the file, flips a bit, or changes a digit.

    With another digit the file is often still readable.
    """
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


def files_of(run):
    """The files of a run that are not empty, relative to its folder."""
    files = [path for path in sorted(run.path.rglob("*")) if path.is_file()]
    return [path.relative_to(run.path) for path in files if path.stat().st_size]


def check_answer_after_damage(command, name, finished, expected, place, seed):
    """Damages a file of a copy of the run, and runs the command on the copy."""
    copy = Path(shutil.copytree(finished.path, place / "run"))
    damage(copy / name, random.Random(seed))
    case = f"{command.__name__} with {name} damaged"
    answer = answer_or_error(command, copy)
    if isinstance(answer, SystemExit):
        assert answer.code == 2, case
    elif isinstance(answer, UserError):
        for line in getattr(answer, "problems", [str(answer)]):
            assert "\n" not in line, case
    else:
        assert is_acceptable(command, answer, expected[command], copy), case


def answer_or_error(command, folder):
    try:
        return command(folder)
    except (UserError, SystemExit) as error:
        return error


def is_acceptable(command, answer, expected, folder):
    if command is by_report:  # It names what is missing or damaged.
        if answer.replace(str(folder), "") == expected:
            return True
        words = ("damaged", "missing", "again", "left out")
        return any(word in answer for word in words)
    if command is by_compare:  # A damaged run does not count.
        return answer in (expected, [])
    return answer == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_never_gives_other_metrics(finished, expected, tmp_path, seed):
    files = files_of(finished)
    name = files[seed * len(files) // 20]  # evenly spread
    command = COMMANDS[seed % len(COMMANDS)]
    check_answer_after_damage(command, name, finished, expected, tmp_path, seed)


NUM_CASES = 300


def case(number, files):
    """The command and the file of a case: all files for one command, then the next."""
    turn, place = divmod(number, len(files))
    return COMMANDS[turn % len(COMMANDS)], files[place]


def test_every_command_meets_every_damaged_file(finished):
    files = files_of(finished)
    cases = {case(number, files) for number in range(NUM_CASES)}
    assert len(cases) == len(files) * len(COMMANDS)


@pytest.mark.proof
@pytest.mark.parametrize("number", range(NUM_CASES))
def test_three_hundred_damaged_files_never_give_other_metrics(
    finished, expected, tmp_path, number
):
    command, name = case(number, files_of(finished))
    seed = 1000 + number
    check_answer_after_damage(command, name, finished, expected, tmp_path, seed)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "calibration.json"],
)
def test_every_file_that_decides_predictions_is_verified(finished, tmp_path, name):
    run = RunDir(shutil.copytree(finished.path, tmp_path / "run"))
    file = run.best / name
    file.write_text(file.read_text() + " ")
    message = f"{name}: damaged or changed since the run wrote it"
    for command in (by_evaluate, by_predict):
        with pytest.raises(ConfigError, match=message):
            command(run.path)


def test_a_changed_record_is_named(finished, tmp_path):
    run = RunDir(shutil.copytree(finished.path, tmp_path / "run"))
    for path in (run.results, run.fingerprint, run.provenance):
        text = path.read_text().replace('"cpu"', '"gpu"').replace("0.", "1.")
        path.write_text(text.replace('"steps": 8', '"steps": 9'))
        message = f"{path.name}: damaged or changed since the run wrote it"
        with pytest.raises(ConfigError, match=message):
            read_json(path)


def test_a_changed_config_is_named(finished, tmp_path):
    run = RunDir(shutil.copytree(finished.path, tmp_path / "run"))
    _, resolved = configure(*OPTIONS, "model.max_length=16")
    write_config(run, resolved)
    message = r"config\.yaml: changed since the run ended"
    change = r"\(model\.max_length: 32 -> 16\)"
    with pytest.raises(ConfigError, match=f"{message} {change}"):
        by_evaluate(run.path)
    assert find_runs([str(run.path)])[0].status == "failed"
