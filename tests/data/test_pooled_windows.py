"""One loss per row of windows: that of plain transformers, packed and padded."""

import numpy as np
import pytest
import torch
from classifiers import classifiers
from closeness import assert_all_close, assert_close
from test_tokenise import split_of, word_tokenizer
from windows_by_hand import logits_by_hand

from ostinato.config import LongText, Precision, Task, WindowPooling
from ostinato.data.long_texts import LongTexts
from ostinato.data.tokenise import tokenise
from ostinato.data.windows import Windows
from ostinato.model.device import Compute
from ostinato.model.window_pooling import pool
from ostinato.training.loss import Loss
from ostinato.training.step import batch_loss

CPU = Compute(torch.device("cpu"), Precision.fp32)


def gradients_of(model):
    named = model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("name", ["bert", "roberta", "llama", "modernbert mean"])
@pytest.mark.parametrize("pooling", WindowPooling)
def test_losses_and_gradients_equal_those_of_transformers(name, pooling):
    texts = ["a b c d e f g h a b c", "a", "a b c d e f", "h g f e d c b a"]
    tokenizer = word_tokenizer(model_input_names=["input_ids", "attention_mask"])
    how = LongTexts(mode=LongText.windows, stride=1, pooling=pooling)
    split = tokenise(split_of(texts), tokenizer, 6, long_texts=how)
    assert split.windows.tolist() == [4, 1, 2, 3]
    (plain, padded), (packed, packer) = classifiers(name)

    expected = logits_by_hand(plain, tokenizer, texts, pooling, 6, 1)
    labels = torch.from_numpy(split.labels)
    total = torch.nn.functional.cross_entropy(expected, labels, reduction="sum")
    total.backward()
    expected_gradients = gradients_of(plain)

    for model, collator in ((plain, padded), (packed, packer)):
        model.zero_grad()
        how.write(model.config)
        batch = collator.batch(split, np.arange(4))
        assert batch.num_rows == 4
        assert batch.num_tokens == split.lengths.sum()
        loss = batch_loss(model, Loss(Task.single_label), batch, CPU)
        loss.backward()
        assert_close(loss, total)
        assert_all_close(gradients_of(model), expected_gradients)


def test_the_pooled_logits_of_a_row_do_not_depend_on_its_neighbours():
    logits = torch.randn(12, 3)
    for pooling in WindowPooling:
        together = pool(logits, Windows((5, 1, 6)), pooling)
        alone = pool(logits[6:], Windows((6,)), pooling)
        assert torch.equal(together[2], alone[0])
        assert torch.equal(together[1], logits[5])
