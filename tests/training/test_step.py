"""One step is what plain transformers computes; micro-batches, padding and earlier draws don't change it."""

import numpy as np
import pytest
import torch
from closeness import assert_all_close, assert_close
from transformers import BertConfig, BertForSequenceClassification

from ostinato.config import ClassWeights, Precision, Task, TrainingConfig
from ostinato.data.collate import Batch, Collator
from ostinato.model.device import Compute
from ostinato.model.dropout import Masks
from ostinato.training.loss import Loss, build_loss
from ostinato.training.optim import build_optimizer, set_lr
from ostinato.training.step import train_step

CPU = Compute(torch.device("cpu"), Precision.fp32)
CFG = TrainingConfig(lr=1e-3)
# AdamW's first update is nearly the sign of the gradient, so a rounding error next to zero changes it. A large epsilon
# makes it a smooth function of the gradient.
SMOOTH = TrainingConfig(lr=1e-1, eps=1.0, weight_decay=0.0)
PROBLEM = {
    Task.single_label: "single_label_classification",
    Task.multi_label: "multi_label_classification",
    Task.regression: "regression",
}


def tiny(task, dropout=0.0):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=1 if task is Task.regression else 3,
        problem_type=PROBLEM[task],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config).train()


def batch(task, num_rows=6, seed=0):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, 50, rng.integers(1, 12)).tolist() for _ in range(num_rows)]
    labels = {
        Task.single_label: torch.from_numpy(rng.integers(0, 3, num_rows)),
        Task.multi_label: torch.from_numpy(
            rng.integers(0, 2, (num_rows, 3)).astype(np.float32)
        ),
        Task.regression: torch.from_numpy(rng.normal(size=num_rows).astype(np.float32)),
    }[task]
    return Batch(Collator(0).inputs({"input_ids": ids}), labels, sum(map(len, ids)))


def cut(whole, pieces):
    parts = np.array_split(np.arange(whole.num_rows), pieces)
    return [
        Batch({k: v[p] for k, v in whole.inputs.items()}, whole.labels[p], 0)
        for p in parts
    ]


def step(model, loss, batches, clip=None, seed=0, cfg=CFG):
    optimizer = build_optimizer(model, cfg)
    set_lr(optimizer, 1.0)
    scaler, masks = torch.amp.GradScaler("cpu", enabled=False), Masks()
    return train_step(
        model,
        optimizer,
        loss,
        batches,
        CPU,
        clip,
        scaler,
        lambda number: masks.seed(seed + number),
    )


@pytest.mark.parametrize("task", Task)
def test_loss_gradient_norm_and_update_are_those_of_plain_transformers(task):
    whole = batch(task)
    mine, plain, before = tiny(task), tiny(task), tiny(task)
    result = step(mine, Loss(task), [whole], cfg=SMOOTH)
    loss = plain(**whole.inputs, labels=whole.labels).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), float("inf"))
    reference = build_optimizer(plain, SMOOTH)
    set_lr(reference, 1.0)
    reference.step()
    assert_close(result.loss, loss.detach())
    assert_close(result.grad_norm, norm)
    assert_all_close(updates(before, mine), updates(before, plain), 1e-4)


def updates(before, after):
    """What a step added to each parameter."""
    return {
        name: p.detach() - before.get_parameter(name).detach()
        for name, p in after.named_parameters()
    }


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 5.0])])
def test_unequal_micro_batches_have_the_gradient_of_the_whole(task, weights):
    if weights is not None and task is not Task.single_label:
        return
    whole, loss = batch(task, 7), Loss(task, class_weights=weights)
    one, many = tiny(task), tiny(task)
    first, second = (
        step(one, loss, [whole], cfg=SMOOTH),
        step(many, loss, cut(whole, 3), cfg=SMOOTH),
    )
    assert_close(second.loss, first.loss)
    assert_close(second.grad_norm, first.grad_norm)
    assert_all_close(updates(tiny(task), many), updates(tiny(task), one), 1e-4)


def test_balanced_weights_and_smoothing_are_torchs():
    labels = np.array([0, 0, 0, 0, 1, 2])
    cfg = TrainingConfig(class_weights=ClassWeights.balanced, label_smoothing=0.1)
    loss = build_loss(Task.single_label, cfg, labels, ["a", "b", "c"])
    logits, targets = torch.randn(6, 3), torch.from_numpy(labels)
    weights = torch.tensor([0.5, 2.0, 2.0])
    expected = torch.nn.functional.cross_entropy(
        logits, targets, weights, label_smoothing=0.1
    )
    assert_close(loss.total(logits, targets) / loss.weight(targets), expected)


def test_dropout_depends_on_its_own_seed_and_not_on_what_was_drawn_before():
    whole = batch(Task.single_label)

    def weights(seed, draws):
        model = tiny(Task.single_label, dropout=0.3)
        torch.rand(draws)
        step(model, Loss(Task.single_label), [whole], seed=seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1, 0), weights(1, 17))
    assert not torch.equal(weights(1, 0), weights(2, 0))


def test_clipping_bounds_the_gradient_that_is_applied_and_reports_the_norm_before():
    whole = batch(Task.single_label)
    model = tiny(Task.single_label)
    free = step(tiny(Task.single_label), Loss(Task.single_label), [whole])
    clipped = step(model, Loss(Task.single_label), [whole], clip=1e-3)
    assert float(free.grad_norm) > 1e-3
    assert torch.equal(free.grad_norm, clipped.grad_norm)


def test_padding_on_the_right_is_masked_and_filled_with_the_pad_token():
    inputs = Collator(9).inputs(
        {"input_ids": [[5], [6, 7, 8]], "token_type_ids": [[1], [0, 1, 1]]}
    )
    assert inputs["input_ids"].tolist() == [[5, 9, 9], [6, 7, 8]]
    assert inputs["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert inputs["token_type_ids"].tolist() == [[1, 0, 0], [0, 1, 1]]
