"""`head_lr` changes the head alone; a layer's rate follows from the module tree."""

import pytest
from families import FAMILIES, family
from transformers import BertForSequenceClassification

from ostinato.config import TrainingConfig
from ostinato.errors import ConfigError
from ostinato.model.architecture import skeleton
from ostinato.training.optim import build_optimizer

HEADS = {
    "bert": ("bert.pooler.", "classifier."),
    "roberta": ("classifier.",),
    "distilbert": ("pre_classifier.", "classifier."),
    "electra": ("classifier.",),
    "albert": ("albert.pooler.", "classifier."),
    "mpnet": ("classifier.",),
    "deberta-v2": ("pooler.", "classifier."),
    "modernbert": ("head.", "classifier."),
    "xlnet": ("sequence_summary.", "logits_proj."),
    "bart": ("classification_head.",),
    "t5": ("classification_head.",),
    "gpt2": ("score.",),
    "llama": ("score.",),
    "qwen2": ("score.",),
    "qwen3": ("score.",),
    "funnel": ("classifier.",),
}
# Parameters of the base model outside its layers, and their number of layers below the
# head.
OUTSIDE_LAYERS = {
    "bert": {"bert.embeddings.word_embeddings.weight": 4},
    "roberta": {"roberta.embeddings.position_embeddings.weight": 4},
    "distilbert": {"distilbert.embeddings.LayerNorm.weight": 4},
    "electra": {"electra.embeddings_project.weight": 4},
    "mpnet": {"mpnet.encoder.relative_attention_bias.weight": 4},
    "deberta-v2": {
        "deberta.encoder.rel_embeddings.weight": 4,
        "deberta.encoder.LayerNorm.weight": 1,
    },
    "modernbert": {
        "model.embeddings.tok_embeddings.weight": 4,
        "model.final_norm.weight": 1,
    },
    "xlnet": {"transformer.word_embedding.weight": 4},
    "gpt2": {"transformer.wte.weight": 4, "transformer.ln_f.weight": 1},
    "llama": {"model.embed_tokens.weight": 4, "model.norm.weight": 1},
    "qwen2": {"model.embed_tokens.weight": 4, "model.norm.weight": 1},
    "qwen3": {"model.embed_tokens.weight": 4, "model.norm.weight": 1},
}


def rates(name, **settings):
    model = skeleton(family(name))
    optimizer = build_optimizer(model, TrainingConfig(lr=1.0, **settings))
    by_parameter = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            by_parameter[id(parameter)] = group["peak_lr"]
    assert len(by_parameter) == len(list(model.parameters()))
    return {name: by_parameter[id(p)] for name, p in model.named_parameters()}


def parameters_with(found, rate):
    return {parameter for parameter in found if found[parameter] == rate}


def parameters_of_head(found, name):
    return {parameter for parameter in found if parameter.startswith(HEADS[name])}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rate_of_the_head_is_that_of_head_and_pooler_alone(name):
    found = rates(name, head_lr=10.0)
    head = parameters_with(found, 10.0)
    assert head == parameters_of_head(found, name)
    assert head < found.keys()
    assert found.keys() - head == parameters_with(found, 1.0)


@pytest.mark.parametrize("name", OUTSIDE_LAYERS)
def test_the_rate_of_a_layer_is_a_multiple_of_that_of_the_layer_above(name):
    found = rates(name, layer_lr_decay=0.5)
    layers = sorted(set(found.values()), reverse=True)
    assert layers == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert parameters_with(found, 1.0) == parameters_of_head(found, name)
    for parameter, below in OUTSIDE_LAYERS[name].items():
        assert found[parameter] == 0.5**below, parameter


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - OUTSIDE_LAYERS.keys()))
def test_layers_that_share_weights_or_are_not_one_list_are_refused(name):
    problem = rf"training\.layer_lr_decay=0\.5: {name} is not one list"
    with pytest.raises(ConfigError, match=f"{problem} .*; use layer_lr_decay=1"):
        rates(name, layer_lr_decay=0.5)
    assert set(rates(name).values()) == {1.0}


class WithoutBase(BertForSequenceClassification):
    """A classifier whose base model has another name than its class says."""

    base_model_prefix = "encoder"


@pytest.mark.parametrize("settings", [{"head_lr": 10.0}, {"layer_lr_decay": 0.5}])
def test_a_model_that_does_not_separate_its_head_is_refused(settings):
    model = WithoutBase(family("bert"))
    assert model.base_model is model
    with pytest.raises(ConfigError) as error:
        build_optimizer(model, TrainingConfig(lr=1.0, **settings))
    assert str(error.value) == (
        "training.head_lr, training.layer_lr_decay: this model does not separate its "
        "head from its base model; use the default"
    )
    build_optimizer(model, TrainingConfig(lr=1.0))
