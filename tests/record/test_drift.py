"""Drift: values that differ between two runs and can change a number."""

import pytest

from ostinato.record.decisive import without_observers
from ostinato.record.drift import (
    Drift,
    config_drift,
    environment_drift,
)
from ostinato.record.files import SCHEMA_VERSION

GPU = {
    "name": "H100",
    "capability": [9, 0],
    "count": 1,
    "cuda": "13.0",
    "cudnn": 91,
    "driver": "580.1\n",
}
HERE = {
    "packages": {"torch": "2.13.0"},
    "device": "cuda",
    "gpu": GPU,
    "threads": 4,
    "environment": {
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "4",
        "MKL_CBWR": "AVX2",
    },
}


@pytest.mark.parametrize(
    "change",
    [
        {"environment": HERE["environment"] | {"CUDA_VISIBLE_DEVICES": "3"}},
        {"environment": {"MKL_CBWR": "AVX2"}},
        {
            "environment": HERE["environment"]
            | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "x", "PYTHONHASHSEED": "1"}
        },
        {
            "environment": HERE["environment"]
            | {"TOKENIZERS_PARALLELISM": "false", "MKL_NUM_THREADS": "4"}
        },
        {"gpu": GPU | {"count": 8, "driver": "580.1\n580.1\n"}},
        {"device": "cuda:0"},
    ],
)
def test_an_equal_gpu_and_settings_without_effect_are_not_drift(change):
    assert environment_drift(HERE, HERE | change) == []
    assert environment_drift(HERE | change, HERE) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gpu": GPU | {"name": "A100"}}, "gpu.name: H100 -> A100"),
        ({"gpu": GPU | {"driver": "590.0\n"}}, "gpu.driver: 580.1 -> 590.0"),
        ({"gpu": None}, "gpu: {"),
        ({"device": "cpu"}, "device: cuda -> cpu"),
        ({"threads": 2}, "threads: 4 -> 2"),
        (
            {"environment": {"MKL_CBWR": "COMPATIBLE"}},
            "environment.MKL_CBWR: AVX2 -> COMPATIBLE",
        ),
        ({"packages": {"torch": "2.14.0"}}, "packages.torch: 2.13.0 -> 2.14.0"),
    ],
)
def test_a_value_that_can_change_a_number_is_drift(change, named):
    (found,) = environment_drift(HERE, HERE | change)
    assert str(found).startswith(named)


def test_a_record_without_the_gpu_capability_is_not_drift():
    before = {name: value for name, value in GPU.items() if name != "capability"}
    assert environment_drift(HERE | {"gpu": before}, HERE) == []


def test_the_schema_version_is_not_drift():
    assert environment_drift(HERE, HERE | {"schema_version": SCHEMA_VERSION}) == []


def test_drift_holds_the_key_and_both_values():
    first = {"seed": 1, "training": {"lr": 0.01, "epochs": 3}}
    second = {"seed": 1, "training": {"lr": 0.5, "epochs": 3}}
    (drift,) = config_drift(first, second)
    assert drift == Drift("training.lr", 0.01, 0.5)
    assert str(drift) == "training.lr: 0.01 -> 0.5"
    assert drift.part == "training"


def test_a_key_that_only_one_config_has_is_drift():
    assert config_drift({}, {"seed": 1}) == [Drift("seed", None, 1)]
    assert config_drift({"seed": 1}, {}) == [Drift("seed", 1, None)]


def test_a_key_that_only_observes_is_not_drift():
    assert config_drift({"training": {"log_every": 1}}, {"training": {}}) == []


@pytest.mark.parametrize(
    "later",
    [
        {"training": {"lr": 1, "optimizer": {"name": "adamw", "d": 1.0}}},
        {"training": {"lr": 1}, "data": {"weight_column": None}},
        {"training": {"lr": 1}, "data": {"label_distribution": None}},
        {"training": {"lr": 1}, "data": {"long_text": "truncate", "stride": 0}},
    ],
)
def test_a_default_that_earlier_versions_did_not_name_is_not_drift(later):
    earlier = {"training": {"lr": 1}, "data": {}}
    later = {"data": {}, **later}
    assert config_drift(earlier, later) == config_drift(later, earlier) == []
    assert without_observers(later) == earlier


def test_another_optimizer_is_drift():
    earlier = {"training": {"lr": 1}}
    later = {"training": {"lr": 1, "optimizer": {"name": "adafactor", "d": 1.0}}}
    (found,) = config_drift(earlier, later)
    assert found.key == "training.optimizer"


def test_the_keys_of_drift_are_compared_whole_and_not_by_their_first_letters():
    before = HERE | {"tokenizer": "a" * 64, "data": {"a: b": "0" * 64}}
    after = HERE | {"tokenizer": "b" * 64, "data": {"a: b": "1" * 64}}
    data, tokenizer = environment_drift(before, after)
    assert (data.part, data.key) == ("data", "data.a: b")
    assert tokenizer.part == "tokenizer"


def test_a_digest_is_shortened_in_the_text_only():
    drift = Drift("code", "a" * 64, "b" * 64)
    assert str(drift) == f"code: {'a' * 12} -> {'b' * 12}"
    assert drift.old == "a" * 64
