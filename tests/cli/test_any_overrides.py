"""Any command line gives one line per mistake, or a config. Nothing raises."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ostinato.cli.composition import (
    compose_command,
    hydra_composition,
    parse,
    register_schemas,
)
from ostinato.cli.mistakes import find_problems
from ostinato.cli.schemas import SCHEMAS, reference
from ostinato.command_line import override


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    register_schemas()


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


SINGLE = "1 -1 0 1.5 1e999 nan abc true null ??? '' [] {} [1] {a:1} [a,b]"
SEVERAL = "1,2 a,b 'a,b' range(1,3) choice(a,b) glob(*) interval(1,2) tag(a,1,2)"
COMPUTED = "${seed} ${x} ${oc.env:X} ${x:1} int(1) str(1)"
BROKEN = "~ ( ) ' \" \\ $ : ü"
VALUES = st.sampled_from(
    [
        *SINGLE.split(),
        *SEVERAL.split(),
        *COMPUTED.split(),
        *BROKEN.split(),
        "\t",
        "",
    ]
)
GROUPS = "model data training tracker experiment search launcher hydra/launcher hydra"
OTHERS = (
    "hydra.run hydra.run.dir hydra.sweeper.params tracker.mlflow.uri "
    "model.architecture.x resume nosuch"
)
DOCUMENTED = [key for command in SCHEMAS for key, _, _ in reference(command)]
KEYS = st.sampled_from([*GROUPS.split(), *OTHERS.split(), *DOCUMENTED])
REAL = st.tuples(
    st.sampled_from(["", "", "+", "++", "~"]),
    KEYS,
    st.sampled_from(["=", "=", "=", ""]),
    VALUES,
).map("".join)
SYMBOLS = "= , [ ] { } ( ) ' \" \\ $ ${ ~ + @ / . :"
WORDS = "seed name model tiny hydra null 1 1e5 nan choice range ü \0 -m"
FRAGMENTS = st.lists(
    st.sampled_from([*SYMBOLS.split(), " ", "\n", *WORDS.split()]),
    max_size=8,
).map("".join)
OVERRIDES = st.lists(st.one_of(REAL, REAL, FRAGMENTS), min_size=1, max_size=3)


def check_problems_or_config(command, overrides, multirun, values):
    problems = find_problems(command, overrides, multirun, values)
    assert all(len(problem.splitlines()) == 1 for problem in problems)
    if not problems and not multirun:
        with hydra_composition():
            compose_command(command, overrides)


@pytest.mark.slow
@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(["train", *SCHEMAS]), OVERRIDES, st.booleans(), st.booleans())
def test_any_overrides_give_problems_or_a_config(command, overrides, multirun, values):
    check_problems_or_config(command, overrides, multirun, values)


@pytest.mark.proof
@settings(max_examples=2000, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(["train", *SCHEMAS]), OVERRIDES, st.booleans(), st.booleans())
def test_many_more_overrides_give_problems_or_a_config(
    command, overrides, multirun, values
):
    check_problems_or_config(command, overrides, multirun, values)
