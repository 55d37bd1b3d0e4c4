"""Whole trainings end with the weights that transformers' Trainer computes.

The Trainer pads, adds gradients and takes steps with code of its own. Both train without
dropout on the same rows in the same order. The losses are written here once more, with
functions of torch.
"""

import pytest
import torch
import torch.nn.functional as F
from runs import configure, train_in
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from ostinato.training.optimization import Optimization
from ostinato.training.prepare import prepare

pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

STEPS = 20
OPTIONS = (
    *("training.epochs=5", "data.limit_train=64", "training.batch_size=16"),
    *("model.attention_dropout=0", "training.warmup_ratio=0"),
    # Adam divides by the size of a gradient. The bias of the keys has none but rounding
    # errors, which this keeps small.
    *("training.eps=1e-3", "training.weight_decay=0.1"),
)
BERT = ("model.dropout=0",)
LLAMA = (
    "model.architecture.model_type=llama",
    "+model.architecture.num_key_value_heads=1",
)


def cross_entropy(logits, labels, num_rows):
    return F.cross_entropy(logits, labels, reduction="sum") / num_rows


def smoothed(logits, labels, num_rows):
    total = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    return total / num_rows


def weighted(logits, labels, num_rows):
    return F.cross_entropy(logits, labels, weight=torch.tensor([3.0, 1.0, 0.5]))


def focal(logits, labels, num_rows):
    probabilities = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
    return (-((1 - probabilities) ** 2) * probabilities.log()).sum() / num_rows


def squared(logits, labels, num_rows):
    return ((logits[:, 0] - labels) ** 2).sum() / num_rows


def positives_weighted(logits, labels, num_rows):
    weight = torch.tensor([2.0, 1.0, 4.0])
    total = F.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=weight, reduction="sum"
    )
    return total / (num_rows * labels.shape[1])


WEIGHTS = "{cooking:3,sport:1,weather:0.5}"
CASES = {
    "BERT": ((), cross_entropy, 1),
    "Llama": (LLAMA, cross_entropy, 1),
    "2 micro-batches": (("training.accumulate=2",), cross_entropy, 2),
    "4 micro-batches": (("training.accumulate=4",), cross_entropy, 4),
    "label smoothing": (("training.label_smoothing=0.1",), smoothed, 1),
    "class weights": ((f"training.class_weights={WEIGHTS}",), weighted, 1),
    "focal loss": (("training.loss=focal",), focal, 1),
    "pairs": (("data.text_pair_column=text_pair",), cross_entropy, 1),
    "regression": (("data.task=regression",), squared, 1),
    "multi-label": (
        (
            "data.task=multi_label",
            "training.pos_weight={cooking:2,sport:1,weather:4}",
        ),
        positives_weighted,
        1,
    ),
}
SHORT = ("4 micro-batches",)


class InOrder(Trainer):
    """Takes the rows in the order of the dataset."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)


def weights_by_trainer(prepared, model, order, loss, accumulate, folder):
    """Trains with transformers and returns the weights."""
    rows = []
    for step in range(STEPS):
        for row in order.rows(step).tolist():
            labels = prepared.train.labels[row]
            rows.append({**prepared.train.rows[row], "labels": labels})

    def pad(batch):
        labels = torch.stack([torch.as_tensor(row["labels"]) for row in batch])
        inputs = [
            {name: value for name, value in row.items() if name != "labels"}
            for row in batch
        ]
        padded = prepared.tokenizer.pad(inputs, return_tensors="pt")
        return {**padded, "labels": labels}

    def compute_loss(outputs, labels, num_items_in_batch=None):
        return loss(outputs.logits, labels, 16)

    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=16 // accumulate,
        gradient_accumulation_steps=accumulate,
        learning_rate=1e-2,
        lr_scheduler_type="linear",
        weight_decay=0.1,
        adam_epsilon=1e-3,
        max_grad_norm=1.0,
        optim="adamw_torch",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = InOrder(
        model,
        arguments,
        data_collator=pad,
        train_dataset=rows,
        compute_loss_func=compute_loss,
    )
    trainer.train()
    assert trainer.state.global_step == STEPS
    return model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in SHORT else pytest.mark.proof)
        for case in CASES
    ],
)
def test_a_whole_training_ends_with_the_weights_of_the_trainer(case, tmp_path):
    overrides, loss, accumulate = CASES[case]
    model = overrides if overrides is LLAMA else (*BERT, *overrides)
    options = (*OPTIONS, *model)
    config, _ = configure(*options)
    prepared = prepare(config)
    order = Optimization(config.training, prepared)
    assert order.schedule.total_steps == STEPS
    initial = {
        name: value.clone() for name, value in prepared.model.state_dict().items()
    }

    run = train_in(tmp_path / "run", *options)
    (checkpoint,) = run.checkpoints.glob(f"step_*{STEPS}")
    trained = load_file(checkpoint / "model.safetensors")

    plain = AutoModelForSequenceClassification.from_config(
        AutoConfig.from_pretrained(run.best)
    )
    plain.load_state_dict(initial)
    expected = weights_by_trainer(
        prepared, plain, order, loss, accumulate, tmp_path / "trainer"
    )
    largest = max(value.abs().max() for value in expected.values())
    changes = [(value - initial[name]).abs().max() for name, value in trained.items()]
    assert max(changes) > 1e-2  # in 20 steps of at most 1e-2
    for name, value in trained.items():
        difference = (value - expected[name]).abs().max()
        assert difference <= 1e-6 * largest, name
