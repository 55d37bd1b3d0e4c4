"""A form of batches is used only if a text's logits do not depend on its neighbours."""

import pytest
import torch
from closeness import assert_close
from model_folders import TEXTS, load, overrides, together_and_alone, write_model
from runs import train_in
from transformers import AutoTokenizer

from ostinato.config import Batching
from ostinato.data.collate import Collator
from ostinato.errors import ConfigError
from ostinato.model import packed_attention
from ostinato.model.build import build_classifier
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.dropout import Masks
from ostinato.model.packing import is_packed, unpack
from ostinato.record.digests import digest_weights
from ostinato.run_dir import RunDir, read_json
from ostinato.training import prepare


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load(tmp_path_factory.mktemp("bert"), "bert")


@pytest.mark.parametrize("left", [False, True])
def test_padding_uses_the_side_and_the_token_type_of_the_tokenizer(left):
    collator = Collator(9, pad_token_type_id=3, left=left)
    inputs = collator.inputs(
        {"input_ids": [[1, 2, 3], [4]], "token_type_ids": [[0, 0, 2], [1]]}
    )
    ids = [9, 9, 4] if left else [4, 9, 9]
    types = [3, 3, 1] if left else [1, 3, 3]
    mask = [0, 0, 1] if left else [1, 0, 0]
    assert inputs["input_ids"].tolist() == [[1, 2, 3], ids]
    assert inputs["token_type_ids"].tolist() == [[0, 0, 2], types]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], mask]


@pytest.mark.parametrize(("name", "right"), [("xlnet", "left"), ("gpt2", "right")])
def test_a_padding_side_that_changes_logits_is_replaced_by_the_other(
    name, right, tmp_path
):
    model, tokenizer = load(tmp_path, name)
    tokenizer.padding_side = "right" if right == "left" else "left"
    configure_batching(model, tokenizer, Batching.packed, Masks())
    assert tokenizer.padding_side == right
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == right
    collator = collator_of(model, tokenizer)
    rows = {"input_ids": tokenizer(TEXTS)["input_ids"]}
    together, alone = together_and_alone(model, collator, rows)
    assert_close(together, alone)


def ignore_masks(model):
    """Makes attention see padding."""

    def remove_mask(module, args, kwargs):
        return args, kwargs | {"attention_mask": None}

    model.base_model.register_forward_pre_hook(remove_mask, with_kwargs=True)


@pytest.mark.parametrize("zero_head", [False, True])
def test_a_model_that_ignores_the_mask_is_refused_even_with_a_head_of_zeros(
    zero_head, tmp_path
):
    model, tokenizer = load(tmp_path, "bert")
    if zero_head:
        torch.nn.init.zeros_(model.classifier.weight)
    ignore_masks(model)
    with pytest.raises(ConfigError, match="bert cannot be used in batches") as error:
        configure_batching(model, tokenizer, Batching.random, Masks())
    assert "\n" not in str(error.value)


def test_a_run_of_a_model_that_ignores_the_mask_fails_before_the_first_step(
    tmp_path, monkeypatch
):
    def build(*arguments):
        model = build_classifier(*arguments)
        ignore_masks(model)
        return model

    monkeypatch.setattr(prepare, "build_classifier", build)
    message = "model.name: bert cannot be used in batches"
    with pytest.raises(ConfigError, match=message) as error:
        train_in(tmp_path, "training.batching=random")
    assert "\n" not in str(error.value)
    run = RunDir(tmp_path)
    results = read_json(run.results)
    assert (results["status"], results["error"]) == ("failed", str(error.value))
    for path in (run.steps, run.checkpoints, run.best, run.provenance):
        assert not path.exists()


@pytest.mark.slow
def test_a_run_says_that_it_pads_on_the_other_side(tmp_path, caplog):
    folder = write_model(tmp_path / "model", "xlnet")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    tokenizer.save_pretrained(folder)
    caplog.set_level("INFO")
    run = train_in(tmp_path / "run", *overrides(folder, "xlnet"), until_step=1)
    assert "xlnet: padding is on the left; on the other side, logits" in caplog.text
    assert len(run.steps.read_text().splitlines()) == 1


def test_packing_that_changes_logits_is_replaced_by_padding_and_the_log_says_why(
    tmp_path, monkeypatch, caplog
):
    model, tokenizer = load(tmp_path, "bert")
    inputs = Collator(tokenizer.pad_token_id).inputs({"input_ids": [[5, 6, 7], [8]]})
    before = model(**inputs).logits
    monkeypatch.setattr(packed_attention, "attend", lambda q, k, v, *_: q)
    with caplog.at_level("INFO"):
        configure_batching(model, tokenizer, Batching.packed, Masks())
    assert not is_packed(model)
    assert not collator_of(model, tokenizer).packed
    assert (
        "bert does not support packed batches; bucketed batches are used "
        "(logits of a text differ" in caplog.text
    )
    assert torch.equal(model(**inputs).logits, before)


def without_interface(tmp_path):
    return load(tmp_path, "xlnet")


def with_sinks(tmp_path):
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1}
    return load(tmp_path, "gpt_oss", **experts)


def with_hidden_windows(tmp_path):
    """The window is longer than the compared texts, so only the mask shows it."""
    return load(tmp_path, "phimoe", sliding_window=60)


def with_late_pooling(tmp_path):
    return load(tmp_path, "eurobert", classifier_pooling="late")


REFUSED = {
    without_interface: "it does not use the attention interface of transformers",
    with_sinks: "its attention has an unknown argument, s_aux",
    with_hidden_windows: "its layers attend to None tokens, but its masks show 60",
    with_late_pooling: "logits of a text differ",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_an_architecture_that_cannot_be_packed_gets_padding_and_the_log_says_why(
    make, tmp_path, caplog
):
    model, tokenizer = make(tmp_path)
    with caplog.at_level("INFO"):
        configure_batching(model, tokenizer, Batching.packed, Masks())
    assert not collator_of(model, tokenizer).packed
    (line,) = [text for text in caplog.text.splitlines() if "packed" in text]
    assert "bucketed batches are used" in line
    assert REFUSED[make] in line


def test_the_comparison_changes_no_weight_no_mode_and_no_random_stream(bert):
    model, tokenizer = bert
    model.train()
    torch.use_deterministic_algorithms(True)
    weights = digest_weights(model.state_dict())
    masks = Masks()
    state = torch.get_rng_state()
    configure_batching(model, tokenizer, Batching.random, masks)
    configure_batching(model, tokenizer, Batching.packed, masks)
    assert torch.equal(state, torch.get_rng_state())
    mask = masks.keep(torch.Size([64]), 0.5, model.device)
    fresh_mask = Masks().keep(torch.Size([64]), 0.5, model.device)
    assert torch.equal(mask, fresh_mask)
    assert model.training
    assert torch.are_deterministic_algorithms_enabled()
    assert digest_weights(model.state_dict()) == weights
    torch.use_deterministic_algorithms(False)
    unpack(model.eval())


def test_collator_of_changes_neither_model_nor_tokenizer(bert):
    model, tokenizer = bert
    configure_batching(model, tokenizer, Batching.packed, Masks())
    side = tokenizer.padding_side
    packed = collator_of(model, tokenizer)
    assert packed.packed
    assert collator_of(model, tokenizer) == packed
    assert tokenizer.padding_side == side
    assert is_packed(model)
    unpack(model)
    assert not collator_of(model, tokenizer).packed
    assert not is_packed(model)
