"""An adapter starts as the base model, merges without loss, and saves only itself."""

import copy
import json

import pytest
import torch
from classifiers import ARCHITECTURES, LONGEST, classifiers, collator, gradients, rows
from closeness import assert_all_close, assert_close
from families import FAMILIES, family
from torch import nn
from transformers import AutoModelForSequenceClassification

from ostinato.config import AdapterConfig, AdapterMethod, FrozenDtype, ModelConfig
from ostinato.data.collate import Collator
from ostinato.errors import ConfigError
from ostinato.model.adapter import (
    adapter_weights,
    add_adapter,
    base_weights,
    has_adapter,
    merge_adapter,
)
from ostinato.model.adapter_files import adapt
from ostinato.model.dropout import Dropout, Masks, replace_dropout
from ostinato.model.packing import pack
from ostinato.model.trained import save_adapter
from ostinato.record.digests import digest_weights

peft = pytest.importorskip("peft", reason="needs the extra peft")

METHODS = list(AdapterMethod)
LENGTHS = (7, 3, 12)


def model_of(name):
    config = family(name, **({"decoder_start_token_id": 0} if name == "t5" else {}))
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval()


def config_of(method=AdapterMethod.lora, name="x", dtype=None, freeze=None, **options):
    adapter = AdapterConfig(method=method, **options)
    return ModelConfig(name=name, adapter=adapter, dtype=dtype, freeze=freeze)


def adapted(name, cfg=None, trained=True):
    """A tiny model with an adapter whose weights are not those of the start."""
    model = model_of(name)
    add_adapter(model, cfg or config_of(), 1)
    if trained:
        train(model)
    return model


def train(model):
    """Changes every trained weight, as a training does."""
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)


def logits_of(model):
    # xlnet and others need texts of one length, T5 one end token.
    ids = torch.arange(3, 27).view(2, 12)
    ids[:, -1] = 2
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_new_adapter_changes_no_logit(name, method):
    expected = logits_of(model_of(name))
    model = adapted(name, config_of(method), trained=False)
    if method is AdapterMethod.lora:
        assert torch.equal(logits_of(model), expected)
    else:
        assert_close(logits_of(model), expected, 1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_merged_model_is_plain_and_has_the_same_logits(name, method):
    plain = dict(model_of(name).state_dict())
    model = adapted(name, config_of(method))
    expected = logits_of(model)
    assert not torch.equal(expected, logits_of(model_of(name)))
    merge_adapter(model)
    assert not has_adapter(model)
    assert list(model.state_dict()) == list(plain)
    assert_close(logits_of(model), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_peft_opens_the_saved_folder_with_the_same_logits(name, method, tmp_path):
    base, folder = tmp_path / "base", tmp_path / "best"
    model_of(name).save_pretrained(base)
    model = adapted(name, config_of(method, name=str(base)))
    folder.mkdir()
    save_adapter(model, folder)
    opened = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        folder, num_labels=3
    )
    assert_close(logits_of(opened.eval()), logits_of(model))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", FAMILIES)
def test_adapter_pooler_and_head_train_and_nothing_else(name):
    model = adapted(name, trained=False)
    base = {id(parameter) for parameter in model.base_model.parameters()}
    for parameter_name, parameter in model.named_parameters():
        is_top = id(parameter) not in base or ".pooler." in parameter_name
        is_adapter = ".lora_" in parameter_name
        assert parameter.requires_grad == (is_top or is_adapter), parameter_name


@pytest.mark.parametrize("name", FAMILIES)
def test_every_adapted_layer_gets_a_gradient(name):
    model = adapted(name).train()
    ids = torch.arange(3, 27).view(2, 12)
    ids[:, -1] = 2
    model(input_ids=ids, labels=torch.tensor([0, 1])).loss.backward()
    without = {
        parameter_name
        for parameter_name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    }
    assert not without


def test_base_weights_are_those_of_the_base_under_their_own_names():
    plain = model_of("bert")
    cfg = config_of()
    above = ("bert.pooler", "classifier")
    expected = {
        name: tensor
        for name, tensor in plain.state_dict().items()
        if not name.startswith(above)
    }
    model = adapted("bert")
    found = base_weights(model, cfg.adapter)
    assert found.keys() == expected.keys()
    assert digest_weights(found) == digest_weights(expected)


def test_the_seed_alone_decides_the_weights():
    def weights(seed, generator):
        torch.manual_seed(generator)
        model = model_of("bert")
        torch.manual_seed(generator)
        add_adapter(model, config_of(), seed)
        return digest_weights(adapter_weights(model))

    assert weights(1, 5) == weights(1, 6)
    assert weights(1, 5) != weights(2, 5)


def test_adding_an_adapter_draws_no_random_number_of_the_run():
    model = model_of("bert")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    add_adapter(model, config_of(), 1)
    assert torch.equal(torch.rand(2), expected)


def adapted_names(model):
    return {
        name.removesuffix(".lora_A.default")
        for name, module in model.named_modules()
        if name.endswith(".lora_A.default")
    }


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_auto_takes_every_linear_layer_of_the_layers(name):
    plain = model_of(name)
    linear = {
        module_name
        for module_name, module in plain.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D")
        and module_name not in ("classifier", "score", "bert.pooler.dense")
    }
    assert adapted_names(adapted(name)) == linear


def test_names_choose_layers():
    model = adapted("bert", config_of(target_modules=["query", "output.dense"]))
    kinds = {name.split(".", 4)[4] for name in adapted_names(model)}
    assert kinds == {"attention.self.query", "attention.output.dense", "output.dense"}


@pytest.mark.parametrize(
    "wanted", ["quer", "LayerNorm", "word_embeddings", "classifier", "pooler.dense"]
)
def test_a_name_without_a_layer_is_refused_in_one_line(wanted):
    message = rf"^model\.adapter\.target_modules={wanted}: .*; it has dense, key, query, value$"
    with pytest.raises(ConfigError, match=message):
        adapted("bert", config_of(target_modules=["query", wanted]))


def test_frozen_layers_get_no_adapter():
    model = model_of("bert")
    adapt(model, config_of(freeze=2), 1)
    assert {name.split(".")[3] for name in adapted_names(model)} == {"2"}
    message = r"^model/adapter=lora: bert has no linear layer that is trained"
    with pytest.raises(ConfigError, match=message):
        adapt(model_of("bert"), config_of(freeze=3), 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_packed_model_with_an_adapter_gives_the_results_of_its_texts(name, method):
    (padded, padded_collator), (packed, _) = classifiers(name)
    for model in (padded, packed):
        add_adapter(model, config_of(method), 1)
        train(model)
    columns = rows([LONGEST, 7, 3, 12, 1, 30])
    weight = torch.linspace(-1, 1, 18).view(6, 3)
    expected = gradients(padded, padded_collator, columns, weight)
    found = gradients(packed, collator(packed), columns, weight)
    assert_close(found[0], expected[0])
    assert_all_close(found[1], expected[1])


def test_the_dropout_of_an_adapter_draws_from_the_masks_of_the_run():
    model = adapted("bert", config_of(dropout=0.5)).train()
    masks = Masks()
    replace_dropout(model, masks)
    own = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert all(isinstance(module, Dropout) for module in own)
    layers = [
        name
        for name, module in model.named_modules()
        if name.endswith("lora_dropout.default") and module.p == 0.5
    ]
    assert len(layers) == len(adapted_names(model))
    pack(model, masks)

    def output(seed):
        masks.seed(seed)
        columns = rows(LENGTHS)
        return model(**Collator(0, packed=True).inputs(columns)).logits

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


def test_the_config_of_peft_names_the_base_and_no_other_folder(tmp_path):
    model = adapted("bert", config_of(name="org/base"))
    save_adapter(model, tmp_path)
    record = json.loads((tmp_path / "adapter_config.json").read_text())
    assert record["base_model_name_or_path"] == "org/base"
    assert record["modules_to_save"] == ["bert.pooler", "classifier"]
    assert record["target_modules"] == sorted(adapted_names(model))
    assert str(tmp_path) not in (tmp_path / "adapter_config.json").read_text()


def test_random_weights_name_no_base_model(tmp_path):
    cfg = config_of(name="tiny")
    cfg.pretrained = False
    model = adapted("bert", cfg)
    save_adapter(model, tmp_path)
    record = json.loads((tmp_path / "adapter_config.json").read_text())
    assert record["base_model_name_or_path"] is None


def test_a_rounded_base_is_the_base_of_the_merged_model():
    cfg = config_of(dtype=FrozenDtype.bf16)
    model = model_of("bert")
    before = copy.deepcopy(model.state_dict())
    base = adapt(model, cfg, 1)
    name = "bert.encoder.layer.0.output.dense"
    rounded = before[f"{name}.weight"].bfloat16().float()
    assert torch.equal(model.get_submodule(name).base_layer.weight, rounded)
    # The digest is that of the files on disk.
    found = {key: before[key] for key in base_weights(model, cfg.adapter)}
    assert base["weights"] == digest_weights(found)
