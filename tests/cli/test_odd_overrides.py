"""Each mistake in an odd command line is reported in one line, without a traceback."""

from unittest.mock import patch

import pytest

from ostinato.cli.composition import compose_command, register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.command_line import override

# A composition takes a third of a second; here are a hundred.
pytestmark = pytest.mark.slow

LONG = "x" * 5000

# (override, part of the one line that reports it)
REFUSED = [
    ("training=nosuch", "unknown training; the options are default"),
    ("training=null", "unknown training"),
    ("training={lr:1}", "unknown training"),
    ("+training=default", "training appears more than once"),
    ("+training.foo=1", "unknown key"),
    ("+training.lr=1", "An item is already at 'training.lr'"),
    ("training.lr.x=1", "unknown key; did you mean training.lr?"),
    ("training..lr=1", "not of the form key=value"),
    ("training.betas[0]=1", "not of the form key=value"),
    ("training.betas=1", "not a ListConfig, list or tuple"),
    ("training.seeds=1", "not a subclass of SeedsConfig"),
    ("training.seeds={a:1}", "Key 'a' not in 'SeedsConfig'"),
    ("training.lr=1e999", "must be a finite number"),
    ("training.lr=true", "must be a number"),
    ("model.attention=evil/kernel", "must be one of sdpa, eager, flash_attention_2"),
    ("model.attention=kernels-community/flash-attn2", "must be one of sdpa, eager"),
    ("model.attention='paged|sdpa'", "must be one of sdpa, eager"),
    ("model.attention=''", "must be one of sdpa, eager"),
    ("model.attention=null", "is not Optional"),
    ("seed=1000000000000000000000000000", "must be less than 9223372036854775808"),
    (f"seed={'9' * 5000}", "not of the form key=value"),
    ("seed=1.0", "must be a whole number"),
    ("seed=", "must be a whole number"),
    ("seed=choice()", "empty choice is not legal"),
    ("seed=${nosuch}", "Interpolation key 'nosuch' not found"),
    ("model=[minilm,tiny]", "takes one model, not a list"),
    ("data=[files,hub]", "takes one data, not a list"),
    ("model=../x", "unknown model"),
    ("model@foo=tiny", "Could not override 'model@foo'"),
    ("model/tiny=1", "unknown key"),
    ("experiment=[a,b]", "unknown experiment; the options are bert_base_sst2, "),
    ("experiment=", "unknown experiment"),
    ("hydra=1", "Config group override must be a string or a list"),
    ("hydra.nosuch=1", "Key 'nosuch' not in 'HydraConf'"),
    ("hydra.run=1", "not a subclass of RunDir"),
    ("hydra.run.dir=", "must name a folder"),
    ("hydra.run.dir=null", "must name a folder"),
    ("hydra.run.dir=~nouser/x", "not of the form key=value"),
    ("hydra.mode=MULTIRUN", "is not supported; remove it, and add -m for a sweep"),
    ("hydra/launcher=nosuch", "Could not find 'hydra/launcher/nosuch'"),
    ("hydra/launcher=[a]", "Could not load 'hydra/launcher/a'"),
    ("hydra/job_logging=nosuch", "Could not find 'hydra/job_logging/nosuch'"),
    ("~nosuch", "'nosuch' does not exist"),
    ("~tracker", "Could not delete 'tracker'"),
    ("~training.lr", "does not support deletion"),
    ("++x=1", "unknown key"),
    ("key=", "unknown key"),
    ("=value", "unknown key"),
    ("=", "unknown key"),
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
    ("search={a:1}", "unknown search"),
    ("compare=null", "is not Optional"),
    ("tracker={a:1}", "unknown tracker"),
    # The name of a run is the end of the name of its folder.
    ("name=a/b", "must not have slashes"),
    ("name='a\udcff'", "must not have slashes"),
    ("name=../../a", "must not have slashes"),
    ("name=/etc", "must not have slashes"),
    ("name=a\\b", "must not have slashes"),
    ("name='a\nb'", "control characters"),
    ("name='a\0'", "control characters"),
    ("name='..'", "must not start with a dot"),
    ("name=.hidden", "must not start with a dot"),
    ("name=''", "must have a visible character"),
    ("name='  '", "must have a visible character"),
    (f"name={LONG}", "at most 200 bytes, not 5000"),
    (f"name='{'ü' * 101}'", "at most 200 bytes, not 202"),
    ("name=${hydra:runtime.cwd}", "must not have slashes"),
]


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    register_schemas()


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        pytest.param(
            typed,
            part,
            id=typed[:30] or "empty",
            marks=pytest.mark.proof if number % 3 else (),
        )
        for number, (typed, part) in enumerate(REFUSED)
    ],
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
def test_a_name_that_a_folder_can_have_is_valid(name):
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
            ["name=b/c: must not have slashes", "name=..: must not start with a dot"],
        ),
        (
            "training.betas=[0.1,0.2],[1,0.2]",
            ["training.betas=[1.0, 0.2]: must be less than 1"],
        ),
        (
            "training.seeds={head:1},{a:2}",
            ["training.seeds={a:2}: Key 'a' not in 'SeedsConfig'"],
        ),
        ("model=tiny,nosuch,minilm", ["model=tiny,nosuch,minilm: unknown model"]),
        ("model=glob(*)", []),
        (
            "model=glob(zz*)",
            ["model=glob(zz*): glob(...) must match options of a group"],
        ),
        ("seed=glob(*)", ["seed=glob(*): glob(...) must match options of a group"]),
        ("hydra.mode=RUN", ["hydra.mode=RUN: is not supported"]),
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
        "ostinato.cli.rejected_overrides.compose_command", wraps=compose_command
    ) as composed:

        def check(*overrides):
            composed.reset_mock()
            problems = find_problems("train", list(overrides), multirun=True)
            return len(problems), composed.call_count

        assert check("seed=range(0,100)", "training.lr=1e-5,2e-5") == (0, 1)
        assert check("seed=range(-50,50)") == (50, 1)
        # An option of a group can set other values, so each option is composed.
        assert check("data=reuters_r8,generated", "model=tiny,minilm") == (0, 3)
