"""A record that is nested too deeply, or repeats itself, is damaged; it is no traceback."""

import pytest
from nested_texts import NESTED, REPEATED

from ostinato.storage.parsing import parse_json, parse_yaml


@pytest.mark.parametrize("text", NESTED)
@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_deeply_nested_text_is_a_value_error(parse, text):
    with pytest.raises(ValueError, match="nested more than 32 levels deep"):
        parse(text)


@pytest.mark.parametrize("text", REPEATED)
def test_an_alias_is_a_value_error(text):
    with pytest.raises(ValueError, match="holds an alias"):
        parse_yaml(text)


def test_usual_nesting_is_read():
    text = '{"a": ' * 31 + "1" + "}" * 31
    assert parse_json(text) == parse_yaml(text)


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!int ''", "a: !!timestamp foo"])
def test_a_value_that_does_not_fit_its_tag_is_refused(text):
    with pytest.raises(ValueError, match="a value does not fit its tag"):
        parse_yaml(text)
