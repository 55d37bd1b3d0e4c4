"""Randomness is a function of (seed, purpose, counters)."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ostinato.config import Determinism, SeedsConfig
from ostinato.errors import DeterminismError
from ostinato.seeding import Seeds, derive_seed, name_nondeterminism, set_determinism

PURPOSES = ["head", "order", "dropout", "split", "subsample"]


@given(
    st.integers(0, 2**63 - 1),
    st.sampled_from(PURPOSES),
    st.lists(st.integers(0, 10**9), max_size=3),
)
def test_a_derived_seed_fits_every_generator_and_repeats(seed, purpose, counters):
    derived = derive_seed(seed, purpose, *counters)
    assert 0 <= derived < 2**63
    assert derived == derive_seed(seed, purpose, *counters)


def test_no_two_streams_share_a_seed():
    seeds = []
    for seed in range(5):
        for purpose in PURPOSES:
            seeds += [derive_seed(seed, purpose, a) for a in range(500)]
            for a in range(20):
                seeds += [derive_seed(seed, purpose, a, b) for b in range(20)]
    assert len(set(seeds)) == len(seeds)


def test_counters_are_separated():
    assert derive_seed(1, "dropout", 1, 23) != derive_seed(1, "dropout", 12, 3)
    assert derive_seed(11, "head") != derive_seed(1, "1head")


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", pytest.param("2", marks=pytest.mark.proof)])
def test_the_hash_seed_of_python_does_not_matter(hash_seed):
    code = "from ostinato.seeding import derive_seed; print(derive_seed(0, 'order', 3))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
    )
    assert done.stdout == f"{derive_seed(0, 'order', 3)}\n".encode()


@pytest.mark.parametrize("purpose", PURPOSES)
def test_one_purpose_can_have_its_own_seed(purpose):
    plain, changed = Seeds(0, SeedsConfig()), Seeds(0, SeedsConfig(**{purpose: 7}))
    for other in PURPOSES:
        is_equal = plain.derive(other) == changed.derive(other)
        assert is_equal == (other != purpose)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_zero_is_a_seed(purpose):
    zero = Seeds(5, SeedsConfig(**{purpose: 0}))
    assert zero.derive(purpose) == Seeds(0, SeedsConfig()).derive(purpose)


def test_attention_that_warns_in_its_own_words_is_named():
    message = "Flash Attention defaults to a non-deterministic algorithm. To explicitly"
    with name_nondeterminism() as warned:
        warnings.warn(message, stacklevel=1)
    assert warned == {"Flash Attention"}


@pytest.fixture
def determinism():
    """Sets the level; switches determinism off at the end."""
    yield set_determinism
    set_determinism(Determinism.off)


def repeat_an_index():
    """Runs an operation without a deterministic implementation twice."""
    with name_nondeterminism() as warned:
        for _ in range(2):
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    return warned


def test_strict_refuses_and_names_a_nondeterministic_operation(determinism):
    determinism(Determinism.strict)
    message = r"strict: put_ has no deterministic .*determinism=warn"
    with pytest.raises(DeterminismError, match=message):
        repeat_an_index()


def test_warn_names_a_nondeterministic_operation_once(determinism, caplog):
    determinism(Determinism.warn)
    assert repeat_an_index() == {"put_"}
    assert len(caplog.messages) == 1
    assert "put_ has no" in caplog.messages[0]


def test_off_allows_a_nondeterministic_operation(determinism):
    determinism(Determinism.off)
    assert repeat_an_index() == set()
