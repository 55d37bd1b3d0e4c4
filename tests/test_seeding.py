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


def test_streams_never_meet():
    seeds = [
        derive_seed(s, p, a, b)
        for s in range(5)
        for p in PURPOSES
        for a in range(20)
        for b in range(20)
    ]
    seeds += [
        derive_seed(s, p, a) for s in range(5) for p in PURPOSES for a in range(500)
    ]
    assert len(set(seeds)) == len(seeds)


def test_counters_do_not_run_into_each_other():
    assert derive_seed(1, "dropout", 1, 23) != derive_seed(1, "dropout", 12, 3)
    assert derive_seed(11, "head") != derive_seed(1, "1head")


@pytest.mark.slow
def test_the_hash_seed_of_python_does_not_matter():
    code = "from ostinato.seeding import derive_seed; print(derive_seed(0, 'order', 3))"
    values = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": h},
            capture_output=True,
            check=True,
        ).stdout
        for h in ("1", "2")
    }
    assert values == {f"{derive_seed(0, 'order', 3)}\n".encode()}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_one_purpose_can_be_reseeded_alone_and_zero_is_a_seed(purpose):
    plain, changed = Seeds(0, SeedsConfig()), Seeds(0, SeedsConfig(**{purpose: 7}))
    for other in PURPOSES:
        assert (plain.derive(other) == changed.derive(other)) == (other != purpose)
    assert Seeds(5, SeedsConfig(**{purpose: 0})).derive(purpose) == plain.derive(
        purpose
    )


def test_attention_that_warns_in_its_own_words_is_named():
    with name_nondeterminism() as warned:
        warnings.warn(
            "Flash Attention defaults to a non-deterministic algorithm. To explicitly",
            stacklevel=1,
        )
    assert warned == {"Flash Attention"}


@pytest.mark.parametrize("level", Determinism)
def test_strict_names_the_operation_that_cannot_be_deterministic_and_the_others_let_it_pass(
    level, caplog
):
    def repeat_an_index():
        with name_nondeterminism() as warned:
            for _ in range(2):
                torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        return warned

    set_determinism(level)
    try:
        if level is Determinism.strict:
            with pytest.raises(
                DeterminismError,
                match=r"strict: put_ has no deterministic .*determinism=warn",
            ):
                repeat_an_index()
        elif level is Determinism.warn:
            assert repeat_an_index() == {"put_"}
            assert [
                record.message
                for record in caplog.records
                if "put_ has no" in record.message
            ] == caplog.messages
        else:
            assert repeat_an_index() == set()
    finally:
        set_determinism(Determinism.off)
