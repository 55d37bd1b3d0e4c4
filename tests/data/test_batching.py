"""A plan has every row once, depends on the seed alone, pads little and is fast."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from runs import train_in

from ostinato.config import Batching
from ostinato.data.batching import Schedule, count_batches, plan_epoch, plan_evaluation
from ostinato.training.recorder import Recorder

LENGTHS = hnp.arrays(np.int32, st.integers(1, 300), elements=st.integers(1, 512))


@given(
    LENGTHS, st.integers(1, 40), st.integers(0, 2**63 - 1), st.sampled_from(Batching)
)
def test_every_row_is_in_exactly_one_batch(lengths, batch_size, seed, batching):
    batches = plan_epoch(lengths, batch_size, seed, batching)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)


ANY_LENGTHS = hnp.arrays(np.int32, st.integers(1, 300), elements=st.integers(0, 512))


@given(
    ANY_LENGTHS,
    st.integers(1, 4000),
    st.integers(0, 2**63 - 1),
    st.sampled_from(Batching),
)
def test_only_a_single_row_exceeds_the_token_budget(lengths, budget, seed, batching):
    batches = plan_epoch(lengths, 32, seed, batching, budget)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert len(batches) == count_batches(lengths, 32, batching, budget)
    assert all(len(batch) == 1 or lengths[batch].sum() <= budget for batch in batches)
    assert all(len(batch) for batch in batches)
    assert all((np.diff(lengths[batch]) >= 0).all() for batch in batches)


@pytest.mark.parametrize("batching", Batching)
def test_batches_of_a_token_budget_are_full_and_depend_on_the_seed(batching):
    lengths = (
        np.random.default_rng(0).geometric(0.02, 5000).clip(1, 256).astype(np.int32)
    )
    one, again, other = (
        plan_epoch(lengths, 32, seed, batching, 2048) for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    tokens = np.array([lengths[batch].sum() for batch in one])
    assert np.median(tokens) > 0.9 * 2048
    if batching is not Batching.bucketed:
        assert tokens.min() > 0.85 * 2048
    partners = {tuple(sorted(batch)) for batch in one} & {
        tuple(sorted(batch)) for batch in other
    }
    assert not partners


@pytest.mark.slow
@given(LENGTHS, st.integers(1, 40), st.sampled_from(Batching))
def test_rows_of_a_batch_are_sorted_by_length(lengths, batch_size, batching):
    assert all(
        (np.diff(lengths[batch]) >= 0).all()
        for batch in plan_epoch(lengths, batch_size, 0, batching)
    )


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["packed", "bucketed"])
def test_no_step_of_a_run_exceeds_the_token_budget(tmp_path, monkeypatch, batching):
    num_tokens, num_rows = [], []
    original_add = Recorder.add

    def add(self, step, lr, indices, result):
        num_tokens.append(result.num_tokens)
        num_rows.append(len(indices))
        original_add(self, step, lr, indices, result)

    monkeypatch.setattr(Recorder, "add", add)
    options = ["training.epochs=1", "training.tokens_per_batch=100"]
    train_in(tmp_path, f"training.batching={batching}", *options)
    assert max(num_tokens) <= 100
    assert sum(num_tokens) > 50 * len(num_tokens)
    assert sum(num_rows) == 60


@given(LENGTHS, st.integers(1, 40))
def test_evaluation_plans_every_row_once_by_length(lengths, batch_size):
    order = np.concatenate(plan_evaluation(lengths, batch_size))
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) >= 0).all()


@pytest.mark.parametrize("batching", Batching)
def test_a_plan_depends_on_its_seed_alone(batching):
    lengths = np.random.default_rng(0).integers(1, 512, 1000).astype(np.int32)
    first = plan_epoch(lengths, 32, 7, batching)
    np.random.seed(1)
    again, other = (
        plan_epoch(lengths, 32, 7, batching),
        plan_epoch(lengths, 32, 8, batching),
    )
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(
        (a != b).any() for a, b in zip(first, other, strict=True) if len(a) == len(b)
    )


def test_buckets_pad_less_than_a_tenth_and_random_order_more():
    lengths = (
        np.random.default_rng(0).geometric(0.02, 20_000).clip(1, 256).astype(np.int32)
    )

    def relative_cost(batching):
        padded_tokens = 0
        for batch in plan_epoch(lengths, 32, 0, batching):
            padded_tokens += len(batch) * lengths[batch].max()
        return padded_tokens / lengths.sum()

    assert relative_cost(Batching.bucketed) < 1.1 < relative_cost(Batching.random)


def test_buckets_mix_short_and_long_batches_over_the_epoch():
    lengths = np.arange(6400, dtype=np.int32)
    batches = plan_epoch(lengths, 32, 0, Batching.bucketed)
    longest = np.array([lengths[batch].max() for batch in batches])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_a_million_rows_are_planned_in_linear_time():
    lengths = np.random.default_rng(0).integers(1, 512, 1_000_000).astype(np.int32)
    start = time.perf_counter()
    plan_epoch(lengths, 32, 0, Batching.bucketed)
    # Detects a quadratic plan; this is not a benchmark.
    assert time.perf_counter() - start < 30


@given(st.integers(1, 500), st.floats(0.05, 5))
def test_positions_cover_the_epochs_without_a_gap(steps_per_epoch, epochs):
    schedule = Schedule(steps_per_epoch, epochs)
    positions = [schedule.position(step) for step in range(schedule.total_steps)]
    assert positions[0] == (0, 0)
    for (epoch, batch), following in pairwise(positions):
        assert following in ((epoch, batch + 1), (epoch + 1, 0))
        assert batch < schedule.steps_per_epoch
    assert schedule.total_steps == max(
        1, int(np.ceil(epochs * schedule.steps_per_epoch - 1e-9))
    )


@given(st.integers(1, 500), st.integers(1, 2000))
def test_a_number_of_steps_replaces_the_epochs(steps_per_epoch, max_steps):
    schedule = Schedule(steps_per_epoch, 3.0, max_steps)
    assert schedule.total_steps == max_steps
