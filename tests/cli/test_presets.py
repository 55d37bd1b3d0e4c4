"""The values of a model preset are reset when a command line names another model."""

import pytest
from runs import configure

from ostinato.cli import composition
from ostinato.cli.presets import preset_resets, with_preset_resets
from ostinato.cli.validation import to_config
from ostinato.config import AdapterMethod, RunConfig, TrainingConfig

DEFAULT = TrainingConfig()


def composed(*overrides, group="training"):
    composition.register_schemas()
    overrides = [*overrides, *preset_resets(overrides)]
    with composition.hydra_composition():
        cfg = composition.compose_command("train", overrides)
        return getattr(to_config(cfg, RunConfig), group)


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


@pytest.mark.parametrize(
    ("preset", "max_length"), [("experiment=debug", 128), ("model=tiny", 64)]
)
def test_another_model_is_not_built_from_the_architecture_of_a_preset(
    preset, max_length
):
    model = composed(preset, "model.name=my/folder", group="model")
    assert (model.pretrained, model.architecture) == (True, None)
    assert model.max_length == max_length  # of the default, or of the data preset
    random = composed(
        preset, "model.name=my/folder", "model.pretrained=false", group="model"
    )
    assert (random.pretrained, random.architecture) == (False, None)


def test_an_architecture_that_the_user_types_is_kept():
    overrides = ["model.name=x", "model.pretrained=false"]
    overrides.append("model.architecture.num_hidden_layers=3")
    model = composed("experiment=debug", *overrides, group="model")
    assert model.architecture["num_hidden_layers"] == 3
    assert model.architecture["hidden_size"] == 32


def test_the_text_length_of_a_data_preset_is_kept():
    model = composed("model=tiny", "data=imdb", "model.name=my/folder", group="model")
    assert model.max_length == 256


def test_what_an_experiment_keeps_is_printed(capsys):
    composition.register_schemas()
    with_preset_resets(["experiment=bert_base_sst2", "model.name=my/folder"])
    assert (
        "model.name=my/folder: kept from experiment=bert_base_sst2, which was made "
        "for other weights: training.lr=2e-5 training.epochs=3\n"
    ) in capsys.readouterr().err
    own = ["experiment=bert_base_sst2", "model.name=google-bert/bert-base-uncased"]
    assert with_preset_resets(own) == own
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize(
    "name",
    [
        "smollm2_135m",
        pytest.param("qwen3_0_6b", marks=pytest.mark.proof),
        pytest.param("llama3_2_1b", marks=pytest.mark.proof),
    ],
)
def test_a_decoder_trains_an_adapter_unless_another_choice_is_typed(name):
    preset = f"model={name}"
    adapter = composed(preset, group="model").adapter
    assert adapter.method is AdapterMethod.lora
    adapter = composed(preset, "model/adapter=dora", group="model").adapter
    assert adapter.method is AdapterMethod.dora
    assert composed(preset, "model/adapter=none", group="model").adapter is None
    assert composed(preset, "model.adapter.r=3", group="model").adapter.r == 3
    other = (preset, "model.name=my/folder")
    assert composed(*other, group="model").adapter is None
    assert composed(*other, "model/adapter=lora", group="model").adapter is not None
    assert composed(*other, "model.adapter.r=3", group="model").adapter.r == 3


def test_other_presets_train_all_weights():
    assert composed(group="model").adapter is None
    assert composed("experiment=debug", group="model").adapter is None
