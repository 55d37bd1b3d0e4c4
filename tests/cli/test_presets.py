"""The values of a model preset are reset when a command line names another model."""

import pytest
from runs import configure

from ostinato.cli import composition
from ostinato.cli.presets import preset_resets, with_preset_resets
from ostinato.cli.validation import to_config
from ostinato.config import RunConfig, TrainingConfig

DEFAULT = TrainingConfig()


def composed(*overrides):
    composition.register_schemas()
    overrides = [*overrides, *preset_resets(overrides)]
    with composition.hydra_composition():
        cfg = composition.compose_command("train", overrides)
        return to_config(cfg, RunConfig).training


@pytest.mark.slow
def test_a_preset_keeps_its_values_for_its_own_model():
    for same in (
        [],
        ["model.name=asset:all-MiniLM-L6-v2"],
        ["model.name='asset:all-MiniLM-L6-v2'"],
    ):
        assert preset_resets(same) == []
        assert composed(*same).head_lr == 1e-3


def test_another_model_gets_the_defaults():
    training = composed("model.name=my/folder")
    assert (training.lr, training.head_lr, training.batch_size) == (
        DEFAULT.lr,
        None,
        DEFAULT.batch_size,
    )


@pytest.mark.slow
def test_values_that_the_user_types_are_kept():
    training = composed(
        "model.name=my/folder", "training.lr=2e-4", "training.head_lr=1e-2"
    )
    assert (training.lr, training.head_lr, training.batch_size) == (
        2e-4,
        1e-2,
        DEFAULT.batch_size,
    )
    assert composed("training.head_lr=1e-3", "model.name=my/folder").head_lr == 1e-3


def test_values_that_an_experiment_sets_are_kept():
    assert composed("experiment=bert_base_sst2", "model.name=my/folder").lr == 2e-5


def test_the_values_of_another_preset_are_reset_too():
    assert composed("model=bert_base", "model.name=my/folder").lr == DEFAULT.lr


def test_the_values_are_reset_for_every_job_of_a_sweep():
    single = preset_resets(["model.name=my/a"])
    assert single != []
    assert preset_resets(["model.name=my/a,my/b"]) == single


def test_recorded_resets_are_not_added_twice():
    overrides = ["model.name=my/folder"]
    recorded = [*overrides, *preset_resets(overrides)]
    assert preset_resets(recorded) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "model.name=",
        "=",
        "model.name=my/a nosuch=1",
        "model=nosuch,model.name=a",
        "training.lr=[",
    ],
)
def test_an_invalid_command_line_is_not_an_error_here(wrong):
    expected = ([], preset_resets(["model.name=x"]))
    assert preset_resets(wrong.split()) in expected


def test_the_resets_are_printed(capsys):
    composition.register_schemas()
    assert with_preset_resets(["model.name=my/folder", "seed=1,2", "-m"])[:3] == [
        "model.name=my/folder",
        "training.lr=5e-05",
        "training.head_lr=null",
    ]
    assert (
        "model.name=my/folder: the preset was tuned for other weights"
        in capsys.readouterr().err
    )
    assert configure()[0].training.head_lr is None
