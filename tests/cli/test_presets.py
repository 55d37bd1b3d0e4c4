"""What a preset tuned for its own weights does not follow a user to another model."""

import pytest
from runs import configure

from ostinato.cli import composition
from ostinato.cli.presets import own_recipe
from ostinato.config import RunConfig, TrainingConfig

DEFAULT = TrainingConfig()


def composed(*overrides):
    composition.register_schemas()
    overrides = [*overrides, *own_recipe(overrides)]
    with composition.hydra_composition():
        return composition.to_config(
            composition.compose_command("train", overrides), RunConfig
        ).training


def test_the_preset_keeps_its_recipe_for_its_own_model():
    for same in (
        [],
        ["model.name=asset:all-MiniLM-L6-v2"],
        ["model.name='asset:all-MiniLM-L6-v2'"],
    ):
        assert own_recipe(same) == []
        assert composed(*same).head_lr == 1e-3


def test_another_model_gets_the_defaults():
    training = composed("model.name=my/folder")
    assert (training.lr, training.head_lr, training.batch_size) == (
        DEFAULT.lr,
        None,
        DEFAULT.batch_size,
    )


def test_what_the_user_types_holds():
    training = composed(
        "model.name=my/folder", "training.lr=2e-4", "training.head_lr=1e-2"
    )
    assert (training.lr, training.head_lr, training.batch_size) == (
        2e-4,
        1e-2,
        DEFAULT.batch_size,
    )
    assert composed("training.head_lr=1e-3", "model.name=my/folder").head_lr == 1e-3


def test_what_an_experiment_sets_holds():
    assert composed("experiment=bert_base_sst2", "model.name=my/folder").lr == 2e-5


def test_another_preset_is_taken_back_too():
    assert composed("model=bert_base", "model.name=my/folder").lr == DEFAULT.lr


def test_in_a_sweep_no_job_gets_the_recipe():
    assert own_recipe(["model.name=my/a,my/b"]) == own_recipe(["model.name=my/a"]) != []


def test_recorded_overrides_are_not_taken_back_twice():
    overrides = ["model.name=my/folder"]
    recorded = [*overrides, *own_recipe(overrides)]
    assert own_recipe(recorded) == []


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
def test_what_is_wrong_is_left_to_the_check_of_the_command_line(wrong):
    assert own_recipe(wrong.split()) in ([], own_recipe(["model.name=x"]))


def test_the_log_names_what_is_not_used(capsys):
    from ostinato.cli.command import _with_own_recipe

    composition.register_schemas()
    assert _with_own_recipe(["model.name=my/folder", "seed=1,2", "-m"])[:3] == [
        "model.name=my/folder",
        "training.lr=5e-05",
        "training.head_lr=null",
    ]
    assert (
        "model.name=my/folder: the preset was tuned for other weights"
        in capsys.readouterr().err
    )
    assert configure()[0].training.head_lr is None
