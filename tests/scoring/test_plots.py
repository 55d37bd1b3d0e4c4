"""Plots show all their data, for any number of classes and any names."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score

from ostinato.scoring.plots import confusion_matrix, indicator, most_frequent, pr_curves

AWKWARD = ["$100 - $200", "_hidden", "\\frac{", "été", "a|b"]


def drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba")
    return buffer.getvalue()


@pytest.mark.parametrize("num_classes", [2, 8, 77])
def test_the_cells_show_numbers_if_they_fit(num_classes):
    confusion = np.random.default_rng(0).integers(0, 3, (num_classes, num_classes))
    figure = confusion_matrix(confusion, [f"class {i}" for i in range(num_classes)])
    texts = [text.get_text() for text in figure.axes[0].texts]
    expected = []
    if num_classes <= 20:
        expected = [str(n) for n in confusion.flat if n]
    assert texts == expected
    assert len(set(drawn(figure))) > 10


def test_names_are_shown_as_they_are():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 5, 40), rng.random((40, 5))
    figure = pr_curves(scores, labels, AWKWARD)
    drawn(figure)
    drawn(confusion_matrix(np.eye(5, dtype=np.int64), AWKWARD))
    shown = " ".join(
        text.get_text().replace(r"\$", "$") for text in figure.legends[0].get_texts()
    )
    assert all(name in shown for name in AWKWARD)


def test_the_legend_agrees_with_the_average_precision_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 50), rng.random((50, 3)).round(1)  # with ties
    expected = [average_precision_score(labels == c, scores[:, c]) for c in range(3)]
    figure = pr_curves(scores, labels, ["a", "b", "c"])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        *(f"{e:.3f}  {n}" for e, n in zip(expected, "abc", strict=True)),
        f"{np.mean(expected):.3f}  mean of 3",
    ]


def test_classes_that_do_not_occur_have_no_curve():
    scores = np.random.default_rng(0).random((6, 3))
    none = pr_curves(scores, np.zeros((6, 3), np.float32), ["a", "b", "c"])
    one = pr_curves(scores, np.array([1, 1, 1, 1, 1, 1]), ["a", "b", "c"])
    assert [len(figure.axes[0].lines) for figure in (none, one)] == [0, 2]


def test_at_most_ten_classes_are_drawn_the_most_frequent_first():
    labels = np.repeat(np.arange(15), np.arange(15))
    assert most_frequent(indicator(labels, 15)) == list(range(14, 4, -1))
