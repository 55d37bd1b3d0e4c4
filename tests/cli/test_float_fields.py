"""No key accepts infinity or NaN, and the line for it names the remedy."""

import typing

import pytest

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems
from ostinato.cli.schemas import SCHEMAS, reference


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    register_schemas()


def annotation_of(schema, key):
    """The annotation of a key with dots."""
    first, _, rest = key.partition(".")
    annotation = schema.__pydantic_fields__[first].annotation
    if not rest:
        return annotation
    classes = (annotation, *typing.get_args(annotation))
    (nested,) = [part for part in classes if hasattr(part, "__pydantic_fields__")]
    return annotation_of(nested, rest)


def holds_float(annotation):
    return annotation is float or any(map(holds_float, typing.get_args(annotation)))


def float_keys(command):
    """The keys of a command that take floats, and whether they take a list."""
    found = {}
    for key, _, _ in reference(command):
        annotation = annotation_of(SCHEMAS[command], key)
        if holds_float(annotation):
            found[key] = typing.get_origin(annotation) is tuple
    return found


COMMANDS = [command for command in SCHEMAS if float_keys(command)]


def test_the_keys_are_found():
    assert {"train", "predict", "compare"} < set(COMMANDS)
    keys = float_keys("train")
    assert keys["training.betas"]
    assert not keys["training.max_grad_norm"]
    assert {"training.lr", "model.dropout", "compare.margin"} < keys.keys()
    assert "training.epochs" in keys
    assert "training.batch_size" not in keys


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_float_is_infinite_or_nan(command, value):
    keys = float_keys(command)
    typed = []
    for key, is_list in keys.items():
        typed.append(f"{key}=[{value},{value}]" if is_list else f"{key}={value}")
    problems = find_problems(command, typed, multirun=False)
    for key in keys:
        (problem,) = [line for line in problems if line.startswith(f"{key}=")]
        assert ": must be " in problem


def test_the_line_for_an_infinite_norm_names_null():
    (problem,) = find_problems("train", ["training.max_grad_norm=inf"], multirun=False)
    assert problem == (
        "training.max_grad_norm=inf: must be a finite number "
        "(Gradients are clipped to this L2 norm; null never clips)"
    )


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("{model_type:bert,dropout:inf}", "dropout=inf"),
        ("{model_type:bert,a:[1.5,{b:nan}]}", "a.1.b=nan"),
    ],
)
def test_no_value_of_an_architecture_is_infinite_or_nan(value, where):
    typed = f"++model.architecture={value}"
    problems = find_problems("train", [typed], multirun=False)
    assert problems == [f"model.architecture.{where}: must be a finite number"]
