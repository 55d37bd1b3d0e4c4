"""A report is one file that runs no script and makes no network request."""

import re

import pytest
from report_pages import SCRIPT, page_of

from ostinato.report import svg_plots

FORBIDDEN_TAGS = {"script", "link", "iframe", "object", "embed", "base", "form"}
LOADING_ATTRIBUTES = {"src", "srcset", "data", "action", "poster", "background"}


def test_markup_in_the_data_is_shown_as_text(hostile):
    found = page_of(hostile)
    assert not {"script", "img"} & set(found.tags)
    assert found.tags.count("b") == 3  # the tiles
    assert f"{SCRIPT} \ufffd <img src=https://evil.example/test/" in found.shown
    assert f"{SCRIPT} 1" in found.shown
    assert "<b>0</b>" in found.shown
    assert found.shown.count(SCRIPT) > 30


@pytest.mark.slow
def test_the_page_makes_no_network_request(hostile, run):
    assert_loads_nothing(hostile)
    assert_loads_nothing(run)


def assert_loads_nothing(run):
    text, found = run.report.read_text(), page_of(run)
    for name, value in found.attributes:
        assert name not in LOADING_ATTRIBUTES, f"{name}={value}"
        assert not name.startswith("on"), name
        if name in ("href", "xlink:href"):
            assert value.startswith("#"), value
        if name == "style" or "url(" in (value or ""):
            for url in re.findall(r"url\(['\"]?([^)]*)", value):
                assert url.startswith("#")
    style = "".join(re.findall(r"<style.*?</style>", text, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style
    assert not FORBIDDEN_TAGS & set(found.tags)
    assert "default-src 'none'" in text


def test_the_title_of_a_plot_is_escaped():
    svg = svg_plots.curves(SCRIPT, {SCRIPT: [{"step": 1, "value": 1.0}]}, None)
    assert "<script" not in svg
