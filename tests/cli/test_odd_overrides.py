"""Odd command lines end with one line for each mistake or with a config, never with a traceback."""

import os
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from preloaded import python

from ostinato.cli import command, mistakes
from ostinato.cli.composition import (
    SCHEMAS,
    compose_command,
    hydra_composition,
    parse,
    reference,
    register_schemas,
)
from ostinato.cli.mistakes import find_problems
from ostinato.command_line import override
from ostinato.errors import ConfigError

ROOT = Path(__file__).parents[2]
LONG = "x" * 5000

# (override, part of the one line that it ends with)
REFUSED = [
    ("training=nosuch", "no such training; there is default"),
    ("training=null", "no such training"),
    ("training={lr:1}", "no such training"),
    ("+training=default", "training appears more than once"),
    ("+training.foo=1", "no such key"),
    ("+training.lr=1", "An item is already at 'training.lr'"),
    ("training.lr.x=1", "no such key; did you mean training.lr?"),
    ("training..lr=1", "not of the form key=value"),
    ("training.betas[0]=1", "not of the form key=value"),
    ("training.betas=1", "not a ListConfig, list or tuple"),
    ("training.seeds=1", "not a subclass of SeedsConfig"),
    ("training.seeds={a:1}", "Key 'a' not in 'SeedsConfig'"),
    ("training.lr=1e999", "must be a finite number"),
    ("training.lr=true", "must be a number"),
    ("seed=1000000000000000000000000000", "must be less than 9223372036854775808"),
    (f"seed={'9' * 5000}", "not of the form key=value"),
    ("seed=1.0", "must be a whole number"),
    ("seed=", "must be a whole number"),
    ("seed=choice()", "empty choice is not legal"),
    ("seed=${nosuch}", "Interpolation key 'nosuch' not found"),
    ("model=[minilm,tiny]", "takes one model, not a list"),
    ("data=[files,hub]", "takes one data, not a list"),
    ("model=../x", "no such model"),
    ("model@foo=tiny", "Could not override 'model@foo'"),
    ("model/tiny=1", "no such key"),
    ("experiment=[a,b]", "no such experiment; there is bert_base_sst2, debug"),
    ("experiment=", "no such experiment"),
    ("hydra=1", "Config group override must be a string or a list"),
    ("hydra.nosuch=1", "Key 'nosuch' not in 'HydraConf'"),
    ("hydra.run=1", "not a subclass of RunDir"),
    ("hydra.run.dir=", "names no folder"),
    ("hydra.run.dir=null", "names no folder"),
    ("hydra.run.dir=~nouser/x", "not of the form key=value"),
    ("hydra.mode=MULTIRUN", "leave it out; -m makes a sweep"),
    ("hydra/launcher=nosuch", "Could not find 'hydra/launcher/nosuch'"),
    ("hydra/launcher=[a]", "Could not load 'hydra/launcher/a'"),
    ("hydra/job_logging=nosuch", "Could not find 'hydra/job_logging/nosuch'"),
    ("~nosuch", "'nosuch' does not exist"),
    ("~tracker", "Could not delete 'tracker'"),
    ("~training.lr", "does not support deletion"),
    ("++x=1", "no such key"),
    ("key=", "no such key"),
    ("=value", "no such key"),
    ("=", "no such key"),
    ("", "not of the form key=value"),
    ("ключ=1", "not of the form key=value"),
    ("name='a", "not of the form key=value"),
    ("name=[a", "not of the form key=value"),
    ("name={a", "not of the form key=value"),
    ("name=a(b)", "Unknown function 'a'"),
    ("name=a\nb", "name=a\\nb: not of the form key=value"),
    ("x\ny=1", "x\\ny=1: not of the form key=value"),
    ("name=\0", "not of the form key=value"),
    ("name=\ud800", "not of the form key=value"),
    ("search={a:1}", "no such search"),
    ("compare=null", "is not Optional"),
    ("tracker={a:1}", "no such tracker"),
    # The name of a run ends the name of its folder.
    ("name=a/b", "leave out slashes"),
    ("name=../../a", "leave out slashes"),
    ("name=/etc", "leave out slashes"),
    ("name=a\\b", "leave out slashes"),
    ("name='a\nb'", "control characters"),
    ("name='a\0'", "control characters"),
    ("name='..'", "another character than a dot"),
    ("name=.hidden", "another character than a dot"),
    ("name=''", "give it a letter"),
    ("name='  '", "give it a letter"),
    (f"name={LONG}", "5000 bytes are too many"),
    (f"name='{'ü' * 101}'", "202 bytes are too many"),
    ("name=${hydra:runtime.cwd}", "leave out slashes"),
]


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    register_schemas()


@pytest.mark.parametrize(
    ("typed", "part"), REFUSED, ids=[typed[:30] or "empty" for typed, _ in REFUSED]
)
def test_an_odd_override_is_refused_in_one_line_that_begins_with_it(typed, part):
    problems = find_problems("train", [typed], multirun=False)
    assert problems, "accepted"
    assert all("\n" not in problem for problem in problems)
    assert part in problems[0]
    key = typed.split("=")[0].replace("\n", "\\n").lstrip("+")
    assert problems[0].lstrip("+").startswith(key)


@pytest.mark.parametrize(
    "name", ["a..b", "a b", "ünïcode", "it's", "-dash", "a,b=c[d]", "ü" * 100]
)
def test_a_name_that_can_end_a_folders_name_passes(name):
    assert find_problems("train", [override("name", name)], multirun=False) == []


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        (
            "seed=-1,2,-3,x",
            ["seed=-1: must be", "seed=-3: must be", "seed=x: must be a whole number"],
        ),
        (
            "name=a,b/c,d,'..'",
            ["name=b/c: the run's folder", "name=..: the run's folder"],
        ),
        (
            "training.betas=[0.1,0.2],[1,0.2]",
            ["training.betas=[1.0, 0.2]: must be less than 1"],
        ),
        (
            "training.seeds={head:1},{a:2}",
            ["training.seeds={a:2}: Key 'a' not in 'SeedsConfig'"],
        ),
        ("model=tiny,nosuch,minilm", ["model=tiny,nosuch,minilm: no such model"]),
        ("model=glob(*)", []),
        ("model=glob(q*)", ["model=glob(q*): glob(...) chooses among the options"]),
        ("seed=glob(*)", ["seed=glob(*): glob(...) chooses among the options"]),
        ("hydra.mode=RUN", ["hydra.mode=RUN: leave it out"]),
        ("data=generated,files", ["data.train_path is missing"]),
    ],
)
def test_every_wrong_value_of_a_sweep_has_one_line(typed, lines):
    problems = find_problems("train", [typed], multirun=True)
    assert len(problems) == len(lines), problems
    for problem, line in zip(problems, lines, strict=True):
        assert problem.startswith(line)


@pytest.mark.slow
def test_values_of_a_plain_key_are_checked_with_one_composition():
    with patch(
        "ostinato.cli.mistakes.compose_command", wraps=mistakes.compose_command
    ) as composed:
        assert (
            find_problems(
                "train", ["seed=range(0,100)", "training.lr=1e-5,2e-5"], multirun=True
            )
            == []
        )
        assert composed.call_count == 1
        assert len(find_problems("train", ["seed=range(-50,50)"], multirun=True)) == 50
        assert composed.call_count == 2
        assert (
            find_problems(
                "train",
                ["data=reuters_r8,generated", "model=tiny,minilm"],
                multirun=True,
            )
            == []
        )
        assert composed.call_count == 5, (
            "an option of a group can bring other values: each is composed"
        )


def shell(arguments, cwd, **environment):
    command = f"{python()} {ROOT}/scripts/train.py {arguments}"
    environment = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "stderr"),
    [
        # Flags anywhere among the overrides.
        ("seed=3 --cfg job experiment=debug", 0, ""),
        (
            "--cfg job training=nosuch",
            2,
            "training=nosuch: no such training; there is default\n",
        ),
        ("--cfg job data=files", 0, ""),  # shows what is missing
        # Folders that no run can be written to.
        (
            "experiment=debug hydra.run.dir=file",
            2,
            "hydra.run.dir=file: is not a folder",
        ),
        pytest.param(
            "resume=nowhere",
            2,
            "resume=nowhere: not a run folder",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            "'resume=a,(b'", 2, "resume=a,(b: not a run folder", marks=pytest.mark.proof
        ),
        pytest.param(
            "--config-dir=/nowhere",
            2,
            "Additional config directory",
            marks=pytest.mark.proof,
        ),
        pytest.param("sweep=resume -m", 2, "sweep=resume: ", marks=pytest.mark.proof),
        # Closed streams, and a reader that has gone.
        pytest.param("training=nosuch 2>&-", 2, "", marks=pytest.mark.proof),
        pytest.param("--help >&-", 0, "", marks=pytest.mark.proof),
        pytest.param("--help > >(true); sleep 1", 0, "", marks=pytest.mark.proof),
    ],
)
def test_an_odd_start_ends_without_a_traceback(arguments, code, stderr, tmp_path):
    (tmp_path / "file").write_text("")
    done = shell(arguments, tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(stderr)
    assert len(done.stderr.splitlines()) == (1 if stderr else 0)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize("content", [b"NAME=\xff\xfe", None])
def test_an_environment_file_that_cannot_be_read_is_one_line(
    content, tmp_path, monkeypatch
):
    (tmp_path / ".env").mkdir() if content is None else (tmp_path / ".env").write_bytes(
        content
    )
    monkeypatch.setattr(command, "CONF", tmp_path / "conf")
    if content is None:
        command._load_environment()  # python-dotenv reads files only
        return
    with pytest.raises(ConfigError, match="make it a text file in UTF-8, or remove it"):
        command._load_environment()


def test_a_path_that_exists_may_be_typed_as_it_is(tmp_path):
    folder = tmp_path / "it's, [b] {c} = ~(d)"
    folder.mkdir()
    typed = command._as_typed(f"run={folder}")
    with hydra_composition():
        assert parse(typed).value() == str(folder)
    assert (
        command._as_typed("data.train_path=a.csv,b.csv")
        == "data.train_path=a.csv,b.csv"
    ), "a sweep over two files"
    assert command._as_typed(f"seed={folder}") == f"seed={folder}", "not a path"


TEXTS = st.text(
    st.one_of(
        st.sampled_from("\\'\"${}[](),=~ \n:ab1.-+#!"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@given(TEXTS)
def test_hydra_reads_a_written_override_as_exactly_the_text(text):
    with hydra_composition():
        read = parse(override("name", text))
    assert not read.is_sweep_override()
    cfg = OmegaConf.create({"name": ""})
    OmegaConf.update(cfg, read.key_or_group, read.value())
    assert cfg.name == text


VALUES = st.sampled_from(
    [
        *(
            "1",
            "-1",
            "0",
            "1.5",
            "1e999",
            "nan",
            "abc",
            "true",
            "null",
            "???",
            "''",
            "[]",
            "{}",
            "[1]",
            "{a:1}",
            "[a,b]",
        ),
        *(
            "1,2",
            "a,b",
            "'a,b'",
            "${seed}",
            "${x}",
            "${oc.env:X}",
            "${x:1}",
            "range(1,3)",
            "choice(a,b)",
            "glob(*)",
        ),
        *(
            "interval(1,2)",
            "tag(a,1,2)",
            "int(1)",
            "str(1)",
            "~",
            "(",
            ")",
            "'",
            '"',
            "\\",
            "$",
            ":",
            "ü",
            "\t",
            "",
        ),
    ]
)
GROUPS = [
    "model",
    "data",
    "training",
    "tracker",
    "experiment",
    "search",
    "launcher",
    "hydra/launcher",
    "hydra",
]
OTHERS = [
    "hydra.run",
    "hydra.run.dir",
    "hydra.sweeper.params",
    "tracker.mlflow.uri",
    "model.architecture.x",
    "resume",
]
KEYS = st.sampled_from(
    [
        *GROUPS,
        *OTHERS,
        "nosuch",
        *(key for command in SCHEMAS for key, _, _ in reference(command)),
    ]
)
REAL = st.tuples(
    st.sampled_from(["", "", "+", "++", "~"]),
    KEYS,
    st.sampled_from(["=", "=", "=", ""]),
    VALUES,
)
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(
                "=",
                ",",
                "[",
                "]",
                "{",
                "}",
                "(",
                ")",
                "'",
                '"',
                "\\",
                "$",
                "${",
                "~",
                "+",
                "@",
                "/",
                ".",
                ":",
                " ",
                "\n",
            ),
            *(
                "seed",
                "name",
                "model",
                "tiny",
                "hydra",
                "null",
                "1",
                "1e5",
                "nan",
                "choice",
                "range",
                "ü",
                "\0",
                "-m",
            ),
        ]
    ),
    max_size=8,
).map("".join)
OVERRIDES = st.lists(
    st.one_of(REAL.map("".join), REAL.map("".join), FRAGMENTS), min_size=1, max_size=3
)


def either_problems_or_a_config(command, overrides, multirun, values):
    problems = find_problems(command, overrides, multirun, values)
    assert all(len(problem.splitlines()) == 1 for problem in problems)
    if not problems and not multirun:
        with hydra_composition():
            compose_command(command, overrides)


@pytest.mark.slow
@settings(max_examples=30, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(["train", *SCHEMAS]), OVERRIDES, st.booleans(), st.booleans())
def test_any_overrides_end_with_problems_or_a_config(
    command, overrides, multirun, values
):
    either_problems_or_a_config(command, overrides, multirun, values)


@pytest.mark.proof
@settings(max_examples=2000, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(["train", *SCHEMAS]), OVERRIDES, st.booleans(), st.booleans())
def test_any_of_many_overrides_end_with_problems_or_a_config(
    command, overrides, multirun, values
):
    either_problems_or_a_config(command, overrides, multirun, values)
