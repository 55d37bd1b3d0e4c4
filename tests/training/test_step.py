"""One step computes what plain transformers computes.

Micro-batches, padding and earlier random numbers do not change it.
"""

import numpy as np
import pytest
import torch
from closeness import assert_all_close, assert_close
from families import tiny_bert

from ostinato.config import LossName, Precision, Task, TrainingConfig
from ostinato.data.collate import Batch, Collator
from ostinato.model.device import Compute
from ostinato.model.dropout import Masks
from ostinato.training.gradient_sum import OneProcess
from ostinato.training.loss import Loss
from ostinato.training.optim import build_optimizer, set_lr
from ostinato.training.step import Learner, StepPlan, train_step

CPU = Compute(torch.device("cpu"), Precision.fp32)
CFG = TrainingConfig(lr=1e-3)
# AdamW's first update is nearly the sign of the gradient, so a rounding error next to
# zero changes it. A large epsilon makes it a smooth function of the gradient.
SMOOTH = TrainingConfig(lr=1e-1, eps=1.0, weight_decay=0.0)
PROBLEM = {
    Task.single_label: "single_label_classification",
    Task.multi_label: "multi_label_classification",
    Task.regression: "regression",
}


def tiny(task, dropout=0.0):
    torch.manual_seed(0)
    return tiny_bert(
        num_labels=1 if task is Task.regression else 3,
        problem_type=PROBLEM[task],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def random_labels(task, rng, num_rows):
    if task is Task.single_label:
        labels = rng.integers(0, 3, num_rows)
    elif task is Task.multi_label:
        labels = rng.integers(0, 2, (num_rows, 3)).astype(np.float32)
    else:
        labels = rng.normal(size=num_rows).astype(np.float32)
    return torch.from_numpy(labels)


def batch(task, num_rows=6, seed=0):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, 50, rng.integers(1, 12)).tolist() for _ in range(num_rows)]
    labels = random_labels(task, rng, num_rows)
    num_tokens = sum(map(len, ids))
    return Batch(Collator(0).inputs({"input_ids": ids}), labels, num_tokens)


def split_batch(whole, count):
    """Micro-batches of a batch."""
    batches = []
    for rows in np.array_split(np.arange(whole.num_rows), count):
        inputs = {name: value[rows] for name, value in whole.inputs.items()}
        batches.append(Batch(inputs, whole.labels[rows], 0))
    return batches


def step(model, loss, batches, clip=None, seed=0, cfg=CFG):
    optimizer = build_optimizer(model, cfg)
    set_lr(optimizer, 1.0)
    masks = Masks()
    learner = Learner(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        compute=CPU,
        max_grad_norm=clip,
        gradients=OneProcess(),
    )
    plan = StepPlan.of(batches, loss)
    return train_step(learner, plan, lambda number: masks.seed(seed + number))


def updates(before, after):
    """What a step added to each parameter."""
    added = {}
    for name, parameter in after.named_parameters():
        added[name] = parameter.detach() - before.get_parameter(name).detach()
    return added


@pytest.mark.parametrize("task", Task)
def test_loss_gradient_norm_and_update_equal_those_of_plain_transformers(task):
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


WEIGHTS = torch.tensor([1.0, 2.0, 5.0])
LOSSES = [
    *(Loss(task) for task in Task),
    Loss(Task.single_label, label_weights=WEIGHTS),
    Loss(Task.single_label, LossName.focal, label_weights=WEIGHTS),
    Loss(Task.multi_label, label_weights=WEIGHTS),
    Loss(Task.multi_label, LossName.focal, label_weights=WEIGHTS),
    Loss(Task.regression, LossName.mae),
    Loss(Task.regression, LossName.huber, huber_delta=0.5),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.task}-{loss.name}")
def test_unequal_micro_batches_have_the_gradient_of_the_whole_batch(loss):
    task = loss.task
    whole = batch(task, 7)
    one, many = tiny(task), tiny(task)

    first = step(one, loss, [whole], cfg=SMOOTH)
    second = step(many, loss, split_batch(whole, 3), cfg=SMOOTH)

    assert_close(second.loss, first.loss)
    assert_close(second.grad_norm, first.grad_norm)
    assert_all_close(updates(tiny(task), many), updates(tiny(task), one), 1e-4)


def test_dropout_depends_on_its_seed_and_not_on_earlier_random_numbers():
    whole = batch(Task.single_label)

    def weights(seed, draws):
        model = tiny(Task.single_label, dropout=0.3)
        torch.rand(draws)
        step(model, Loss(Task.single_label), [whole], seed=seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1, 0), weights(1, 17))
    assert not torch.equal(weights(1, 0), weights(2, 0))


def test_clipping_reports_the_norm_before_it():
    whole = batch(Task.single_label)

    free = step(tiny(Task.single_label), Loss(Task.single_label), [whole])
    clipped = step(tiny(Task.single_label), Loss(Task.single_label), [whole], clip=1e-3)

    assert float(free.grad_norm) > 1e-3
    assert torch.equal(free.grad_norm, clipped.grad_norm)


def test_padding_on_the_right_is_masked_and_filled_with_the_pad_token():
    inputs = Collator(9).inputs(
        {"input_ids": [[5], [6, 7, 8]], "token_type_ids": [[1], [0, 1, 1]]}
    )
    assert inputs["input_ids"].tolist() == [[5, 9, 9], [6, 7, 8]]
    assert inputs["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert inputs["token_type_ids"].tolist() == [[1, 0, 0], [0, 1, 1]]
