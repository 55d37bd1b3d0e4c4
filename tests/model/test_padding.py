"""One pad token in tokenizer and config; no form of batches in which a text's logits depend on its neighbours."""

import numpy as np
import pytest
import torch
from classifiers import classifiers, rows
from closeness import assert_close
from runs import configure
from safetensors.torch import load_file
from test_architectures import TEXTS, overrides, write_model
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Tokenizer,
)

from ostinato import TextClassifier
from ostinato.config import Batching
from ostinato.data.collate import Collator, Segments
from ostinato.errors import ConfigError, DataError
from ostinato.model import packing
from ostinato.model.dropout import Masks
from ostinato.model.packing import collator_for, pack, unpack
from ostinato.model.padding import check_rows, settle_pad_token
from ostinato.record.digests import digest_weights
from ostinato.training.prepare import prepare
from ostinato.training.tensor_files import save_tensors, with_tied_tensors


def load(folder, name):
    """A classifier with random weights of a folder, and its tokenizer, with one pad token."""
    write_model(folder, name)
    config, tokenizer = (
        AutoConfig.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    settle_pad_token(config, tokenizer)
    torch.manual_seed(1)
    return AutoModelForSequenceClassification.from_pretrained(
        folder, config=config
    ).eval(), tokenizer


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return load(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load(tmp_path_factory.mktemp("bert"), "bert")


def together_and_alone(model, collator, texts):
    with torch.no_grad():
        together = model(**collator.inputs(texts)).logits
        alone = [
            model(**collator.inputs({n: [c[i]] for n, c in texts.items()})).logits[0]
            for i in range(len(together))
        ]
    return together, torch.stack(alone)


def test_a_tokenizer_without_a_pad_token_gets_the_end_token_and_so_does_the_config(
    gpt2,
):
    model, tokenizer = gpt2
    assert tokenizer.pad_token == tokenizer.eos_token
    assert model.config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id


def test_the_pad_token_of_the_tokenizer_replaces_another_one_in_the_config(tmp_path):
    write_model(tmp_path, "gpt2", pad_token_id=9)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    classifier = TextClassifier.load(tmp_path)
    assert classifier.model.config.pad_token_id == tokenizer.eos_token_id
    texts = classifier.encode([(text, None) for text in TEXTS])
    together, alone = together_and_alone(classifier.model, classifier._collator, texts)
    assert_close(together, alone)


def test_the_config_keeps_its_pad_token_where_positions_depend_on_it(tmp_path):
    write_model(tmp_path, "roberta")
    config, tokenizer = (
        AutoConfig.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    kept = config.pad_token_id
    tokenizer.pad_token = tokenizer.mask_token
    settle_pad_token(config, tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id == kept


@pytest.mark.parametrize("problem", ["no pad token and no end token", "embeddings"])
def test_a_pad_token_that_cannot_serve_is_refused(problem):
    config = AutoConfig.for_model("gpt2", vocab_size=300)
    tokenizer = GPT2Tokenizer().train_new_from_iterator(
        TEXTS * 9, 300, show_progress=False
    )
    if problem == "embeddings":
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    else:
        tokenizer.eos_token = None
    with pytest.raises(ConfigError, match=problem) as error:
        settle_pad_token(config, tokenizer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("left", [False, True])
def test_padding_goes_on_the_side_of_the_tokenizer_with_its_token_type(left):
    inputs = Collator(9, pad_token_type_id=3, left=left).inputs(
        {"input_ids": [[1, 2, 3], [4]], "token_type_ids": [[0, 0, 2], [1]]}
    )
    assert inputs["input_ids"].tolist() == [[1, 2, 3], [9, 9, 4] if left else [4, 9, 9]]
    assert inputs["token_type_ids"].tolist() == [
        [0, 0, 2],
        [3, 3, 1] if left else [1, 3, 3],
    ]
    assert inputs["attention_mask"].tolist() == [
        [1, 1, 1],
        [0, 0, 1] if left else [1, 0, 0],
    ]


@pytest.mark.parametrize(("name", "right"), [("xlnet", "left"), ("gpt2", "right")])
def test_a_padding_side_that_changes_logits_is_replaced_by_the_other(
    name, right, tmp_path
):
    model, tokenizer = load(tmp_path, name)
    tokenizer.padding_side = "right" if right == "left" else "left"
    collator = collator_for(model, tokenizer, Batching.packed, Masks())
    assert tokenizer.padding_side == right
    encoded = tokenizer(TEXTS)
    together, alone = together_and_alone(
        model, collator, {"input_ids": encoded["input_ids"]}
    )
    assert_close(together, alone)


def ignore_masks(model):
    """Attention that sees padding."""
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"attention_mask": None}),
        with_kwargs=True,
    )


@pytest.mark.parametrize("zero_head", [False, True])
def test_a_model_that_ignores_the_mask_is_refused_even_with_a_head_of_zeros(
    zero_head, tmp_path
):
    model, tokenizer = load(tmp_path, "bert")
    if zero_head:
        torch.nn.init.zeros_(model.classifier.weight)
    ignore_masks(model)
    with pytest.raises(ConfigError, match="bert cannot be used in batches") as error:
        collator_for(model, tokenizer, Batching.random, Masks())
    assert "\n" not in str(error.value)


def test_a_packed_form_that_changes_logits_falls_back_to_padding_and_the_log_gives_the_reason(
    tmp_path, monkeypatch, caplog
):
    model, tokenizer = load(tmp_path, "bert")
    inputs = Collator(tokenizer.pad_token_id).inputs({"input_ids": [[5, 6, 7], [8]]})
    before = model(**inputs).logits
    monkeypatch.setattr(packing, "attend", lambda q, k, v, *_: q)
    with caplog.at_level("INFO"):
        collator = collator_for(model, tokenizer, Batching.packed, Masks())
    assert not collator.packed
    assert (
        "bert takes no packed batches; it gets bucketed ones (logits of a text differ"
        in caplog.text
    )
    assert torch.equal(model(**inputs).logits, before)


def test_an_architecture_that_is_not_known_to_pack_gets_padding_and_others_keep_their_batching(
    tmp_path, caplog
):
    model, tokenizer = load(tmp_path, "albert")
    with caplog.at_level("INFO"):
        assert not collator_for(model, tokenizer, Batching.packed, Masks()).packed
    assert "albert takes no packed batches; it gets bucketed ones" in caplog.text


def test_the_comparison_changes_no_weight_no_mode_and_no_random_stream(bert):
    model, tokenizer = bert
    model.train()
    torch.use_deterministic_algorithms(True)
    weights = digest_weights(model.state_dict())
    masks = Masks()
    state = torch.get_rng_state()
    collator_for(model, tokenizer, Batching.random, masks)
    collator_for(model, tokenizer, Batching.packed, masks)
    assert torch.equal(state, torch.get_rng_state())
    shape = torch.Size([64])
    assert torch.equal(
        masks.keep(shape, 0.5, model.device), Masks().keep(shape, 0.5, model.device)
    )
    assert model.training
    assert torch.are_deterministic_algorithms_enabled()
    assert digest_weights(model.state_dict()) == weights
    torch.use_deterministic_algorithms(False)
    unpack(model.eval())


def test_packing_twice_is_packing_once_and_unpacking_gives_back_the_padded_model():
    (padded, pad), (packed, collate) = classifiers("bert")
    columns = rows([5, 1, 9])
    expected = packed(**collate.inputs(columns)).logits
    pack(packed, Masks())
    assert torch.equal(packed(**collate.inputs(columns)).logits, expected)
    unpack(packed)
    assert torch.equal(
        packed(**pad.inputs(columns)).logits, padded(**pad.inputs(columns)).logits
    )


def test_a_pad_token_within_a_text_has_the_same_place_packed_and_padded():
    (padded, pad), (packed, collate) = classifiers("roberta")
    columns = {"input_ids": [[5, 1, 1, 6, 7], [8, 9], [1, 10, 1]]}
    expected, found = (
        padded(**pad.inputs(columns)).logits,
        packed(**collate.inputs(columns)).logits,
    )
    assert_close(found, expected)


def test_a_text_without_tokens_is_refused(gpt2):
    with pytest.raises(DataError, match="no tokens"):
        Collator(0).inputs({"input_ids": [[1], []]})
    with pytest.raises(DataError, match="row 1 has no tokens"):
        check_rows(gpt2[0], np.array([1]), np.array([1, 0]), "train")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("gpt2", "rain<|endoftext|>", "ends with the pad token"),
        ("bart", "rain</s>", "number of end tokens"),
    ],
)
def test_a_text_that_the_classifier_cannot_pool_is_refused_in_one_line(
    name, text, problem, tmp_path
):
    model, tokenizer = load(tmp_path, name)
    classifier = TextClassifier(model, tokenizer, torch.device("cpu"))
    assert len(classifier.predict(TEXTS)) == 2
    with pytest.raises(DataError, match=problem) as error:
        classifier.predict([*TEXTS, text])
    assert "\n" not in str(error.value)


def test_a_text_that_the_classifier_cannot_pool_is_refused_before_the_first_step(
    tmp_path,
):
    folder = write_model(tmp_path / "model", "gpt2")
    file = tmp_path / "train.csv"
    file.write_text(
        "text,label\n"
        + "\n".join(f"rain {n}{'<|endoftext|>' * (n == 7)},{n % 2}" for n in range(20))
    )
    options = [o for o in overrides(folder, "gpt2") if "limit" not in o]
    config, _ = configure(
        *options, "data=files", f"data.train_path={file}", f"data.val_path={file}"
    )
    with pytest.raises(DataError, match="row 7 ends with the pad token"):
        prepare(config)


def test_a_packed_batch_with_more_tokens_than_an_int32_counts_is_refused():
    with pytest.raises(DataError, match=r"at most 2\*\*31 - 1"):
        Segments.of(np.array([2**30, 2**30], dtype=np.int64))


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_tied_weights_are_saved_once_and_loaded_exactly(name, tmp_path):
    model, _ = load(tmp_path, name)
    save_tensors(model.state_dict(), tmp_path / "saved")
    saved = load_file(tmp_path / "saved")
    assert len(saved) < len(model.state_dict())
    before = digest_weights(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(with_tied_tensors(model, saved))
    assert digest_weights(model.state_dict()) == before


def test_views_of_one_memory_and_strided_tensors_are_saved(tmp_path):
    memory = torch.arange(12.0)
    tensors = {
        "all": memory,
        "half": memory[:6],
        "turned": memory.view(3, 4).T,
        "same": memory,
    }
    save_tensors(tensors, tmp_path / "saved")
    saved = load_file(tmp_path / "saved")
    assert all(torch.equal(saved[name], tensors[name]) for name in saved)
    assert set(saved) == {"all", "half", "turned"}
