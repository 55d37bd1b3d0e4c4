"""Plots of a report: unique ids, colours of the page, readable matrices."""

import re

import numpy as np
import pytest
from report_pages import page_of

from ostinato.report.confusion_matrix import layout_matrix


@pytest.mark.slow
def test_ids_are_unique_and_links_inside_the_page_have_targets(run):
    found = page_of(run)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 100
    links = [value[1:] for name, value in found.attributes if name == "href"]
    links += re.findall(r"url\(#([^)]*)\)", run.report.read_text())
    assert set(links) <= set(ids)


def test_plots_use_the_colours_of_the_page(run):
    plots = "".join(re.findall(r"<svg.*?</svg>", run.report.read_text(), re.DOTALL))
    assert plots.count("var(--a)") > 3
    assert not re.search(r"#[0-9a-f]{6}\b", plots)


def test_a_confusion_matrix_of_77_classes_is_readable():
    names = [f"a_rather_long_name_of_an_intent_{i}" for i in range(77)]
    layout = layout_matrix(np.eye(77, dtype=np.int64) * 40, names)
    assert len(layout.cells) == 77  # only cells with rows
    assert layout.side >= layout.font
    assert layout.size < 1180  # fits a desktop without scrolling
    assert not layout.numbered


def test_a_small_confusion_matrix_shows_numbers():
    assert layout_matrix(np.array([[5, 1], [0, 4]]), ["a", "b"]).numbered
