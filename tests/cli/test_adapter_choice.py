"""The mistakes of a command line that chooses an adapter, in one line each."""

import sys

import pytest

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems

LORA = "model/adapter=lora"


def problems_of(*overrides):
    register_schemas()
    return find_problems("train", list(overrides), multirun=False)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["model.adapter.r=4"],
            "model.adapter.r=4: must be used with model/adapter=lora or dora; "
            "add one of them",
        ),
        (
            ["model/adapter=loora"],
            "model/adapter=loora: unknown model/adapter; did you mean lora?; "
            "the options are dora, lora, none",
        ),
        (
            ["model/adapter=[lora]"],
            "model/adapter=[lora]: takes one model/adapter, not a list; "
            "the options are dora, lora, none",
        ),
        (
            [LORA, "model.adapter.rr=4"],
            "model.adapter.rr=4: unknown key; did you mean model.adapter.r?",
        ),
        (
            [LORA, "model.adapter.r=0"],
            "model.adapter.r=0: must be greater than 0 (Rank of the two matrices)",
        ),
        (
            ["model.dtype=bf16"],
            "model.dtype=bf16: stores frozen weights, and without an adapter none are "
            "frozen; add model/adapter=lora",
        ),
        (
            [LORA, "model.dtype=bf16", "training.precision=fp32"],
            "model.dtype=bf16: needs training.precision=bf16, not fp32",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(overrides, problem):
    assert problems_of(*overrides) == [problem]


@pytest.mark.parametrize("value", ["query", "[]", "[1]", "null"])
def test_layers_are_auto_or_a_list_of_names(value):
    (problem,) = problems_of(LORA, f"model.adapter.target_modules={value}")
    assert "must be auto, or a list of names" in problem


@pytest.mark.parametrize("choice", [LORA, "model=qwen3_0_6b", "model/adapter=dora"])
def test_a_missing_package_is_named_before_anything_is_spent(choice, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    (problem,) = problems_of(choice)
    method = "dora" if "dora" in choice else "lora"
    remedy = "model/adapter=none trains all weights"
    expected = f"model/adapter={method}: needs pip install 'ostinato[peft]'; {remedy}"
    assert problem == expected
    assert problems_of("model=qwen3_0_6b", "model/adapter=none") == []
