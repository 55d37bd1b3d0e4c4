"""Statistics over seeds agree with simulations, enumerations and known values."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from ostinato.comparison.significance import (
    Verdict,
    holm,
    judge,
    mcnemar,
    paired_difference,
    pairs_needed,
    sign_flip_p,
    smallest_p,
    superiority,
)
from ostinato.comparison.statistics import (
    ALPHA,
    bootstrap_rows,
    mean_interval,
    summarise,
    variance_by_stream,
)

REPETITIONS = 2000
finite = st.floats(-100, 100).map(lambda x: round(x, 3))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_has_its_nominal_coverage(n):
    scores = np.random.default_rng(n).normal(87, 0.8, size=(REPETITIONS, n))
    low, high = mean_interval(scores)
    assert 0.93 <= np.mean((low < 87) & (high > 87)) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 6, 10])
@pytest.mark.parametrize("configurations", [2, 6])
def test_without_a_difference_at_most_5_percent_of_sweeps_have_a_better_verdict(
    n, configurations
):
    scores = np.random.default_rng(n).normal(size=(REPETITIONS, configurations, n))
    differences = scores[:, 1:] - scores[:, :1]
    corrected = holm(sign_flip_p(differences))
    means = differences.mean(axis=-1)
    num_comparisons = configurations - 1
    num_wrong = 0
    for sweep_means, sweep_p in zip(means, corrected, strict=True):
        verdicts = [
            judge(mean, n, p, num_comparisons)
            for mean, p in zip(sweep_means, sweep_p, strict=True)
        ]
        num_wrong += Verdict.better in verdicts
    assert num_wrong / REPETITIONS <= ALPHA


@example([0.0, 0.0, 0.0, -37.0, 29.0, 99.056, 0.0, -91.5])  # a tie but for rounding
@given(st.lists(finite, min_size=2, max_size=9))
def test_all_sign_flips_are_enumerated(differences):
    observed = abs(sum(differences))
    all_signs = itertools.product((1, -1), repeat=len(differences))
    flipped = [abs(np.dot(signs, differences)) for signs in all_signs]
    expected = np.mean([value >= observed - 1e-9 for value in flipped])
    assert float(sign_flip_p(differences)) == pytest.approx(expected)


def test_five_seeds_cannot_reach_5_percent_and_six_can():
    five = [1.0, 2.0, 3.0, 4.0, 5.0]
    six = [*five, 6.0]
    assert float(sign_flip_p(five)) == smallest_p(5) == 0.0625
    assert float(sign_flip_p(six)) == smallest_p(6) == 0.03125
    assert judge(9.0, 5, smallest_p(5), 1) is Verdict.too_few
    assert judge(9.0, 6, smallest_p(6), 1) is Verdict.better
    # Holm's correction for five comparisons needs more than six seeds.
    assert judge(9.0, 6, 5 * smallest_p(6), 5) is Verdict.too_few


@given(st.integers(1, 50))
def test_the_number_of_pairs_needed_is_minimal(comparisons):
    n = pairs_needed(comparisons)
    assert comparisons * smallest_p(n) <= ALPHA < comparisons * smallest_p(n - 1)


def test_sampled_flips_of_many_pairs_agree_with_the_t_test():
    differences = np.random.default_rng(1).normal(0.4, 1, size=30)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert float(sign_flip_p(differences)) == pytest.approx(expected, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_keeps_the_order_and_is_bounded_by_bonferroni(p):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_holm_gives_the_textbook_values():
    corrected = holm([0.01, 0.04, 0.03, 0.005])
    assert corrected.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(
    st.lists(finite, min_size=1, max_size=6), st.lists(finite, min_size=1, max_size=6)
)
def test_superiority_of_both_sides_adds_up_to_one(first, second):
    assert superiority(first, second) + superiority(second, first) == pytest.approx(1)
    assert superiority(first, second, higher_is_better=False) == pytest.approx(
        superiority(second, first)
    )


def test_lower_is_better_reverses_wins_and_verdicts_but_not_the_difference():
    worse = paired_difference([1.0] * 6, [0.5] * 6, higher_is_better=False)
    assert (worse.mean, worse.wins, worse.ties) == (0.5, 0, 0)
    assert judge(0.5, 6, 0.03, 1, higher_is_better=False) is Verdict.worse


def test_a_difference_below_the_margin_is_not_better():
    assert judge(0.4, 10, 0.002, 1, margin=0.5) is Verdict.unclear
    assert judge(0.6, 10, 0.002, 1, margin=0.5) is Verdict.better


def test_a_single_run_has_no_spread():
    assert (summarise([0.5]).sd, summarise([0.5]).interval) == (None, None)
    assert paired_difference([0.5], [0.4]).interval is None
    assert judge(0.1, 1, 1.0, 1) is Verdict.too_few


def test_mcnemar_is_the_sign_test_of_the_rows_that_only_one_gets_right():
    first, second = np.array([True] * 9 + [False]), np.array([False] * 9 + [True])
    assert mcnemar(first, second) == pytest.approx(2 * (10 + 1) / 2**10)
    assert mcnemar(first, first) == 1.0


def test_the_bootstrap_of_rows_matches_the_binomial():
    low, high = bootstrap_rows(np.repeat([1.0, 0.0], [900, 100]))
    half = 1.96 * math.sqrt(0.9 * 0.1 / 1000)
    assert (low, high) == pytest.approx((0.9 - half, 0.9 + half), abs=0.002)


def test_the_variance_of_each_seed_stream_is_estimated_separately():
    rng = np.random.default_rng(0)
    head, order = rng.normal(0, 3, size=40), rng.normal(0, 1, size=40)
    runs = []
    for h, o in itertools.product(range(40), range(40)):
        seeds = {"head": h, "order": o, "split": 0}
        runs.append((seeds, head[h] + order[o]))
    table = {row.stream: row for row in variance_by_stream(runs)}
    assert table.keys() == {"head", "order"}
    assert table["head"].sd == pytest.approx(np.std(head, ddof=1))
    assert table["order"].sd == pytest.approx(np.std(order, ddof=1))


def test_streams_that_change_together_have_no_separate_variance():
    runs = [({"head": seed, "order": seed}, float(seed)) for seed in range(5)]
    assert variance_by_stream(runs) == []
