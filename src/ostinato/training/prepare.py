"""Makes everything that a run starts from: data, tokens, classifier, loss, device."""

import logging
from dataclasses import dataclass

from rich.progress import Progress
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, RunConfig, TrainingConfig
from ostinato.data.collate import Collator
from ostinato.data.long_texts import LongTexts
from ostinato.data.splits import TextData, load_data
from ostinato.data.tokenise import tokenise
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.data.windows import split_windows
from ostinato.errors import ConfigError
from ostinato.model.adapter_files import adapt
from ostinato.model.build import build_classifier, load_tokenizer
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import (
    Compute,
    check_cores,
    choose,
    keep_freed_memory,
    set_threads,
)
from ostinato.model.dropout import Masks, replace_dropout
from ostinato.model.frozen_dtype import check_precision, store_matrices
from ostinato.model.padding import check_rows
from ostinato.model.pretrained import locate
from ostinato.model.recomputation import recompute_activations
from ostinato.record.schema import Base
from ostinato.scoring.evaluation import NoSharing, Scorer, Sharing
from ostinato.seeding import Seeds, seed_everything, set_determinism
from ostinato.training.compiling import compile_training
from ostinato.training.loss import Loss, build_loss

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run starts from: a function of its config, data and environment.

    Attributes:
        data: the texts and labels.
        tokenizer: the tokenizer of the model.
        train: tokens of the training split.
        val: tokens of the validation split.
        test: tokens of the test split, if there is one.
        model: the classifier, on the device.
        base: the base model of its adapter, if it has one.
        loss: the loss of the run.
        compute: device and precision.
        seeds: the seeds of the run.
        masks: the random numbers of dropout.
        batching: how batches are made; `packed` only if the model supports it.
        collator: makes batches of rows.
    """

    data: TextData
    tokenizer: PreTrainedTokenizerBase
    train: TokenisedSplit
    val: TokenisedSplit
    test: TokenisedSplit | None
    model: PreTrainedModel
    base: Base | None
    loss: Loss
    compute: Compute
    seeds: Seeds
    masks: Masks
    batching: Batching
    collator: Collator

    def scorer(
        self, batch_size: int, bar: Progress, sharing: Sharing | None = None
    ) -> Scorer:
        """What scores splits in this training.

        Args:
            batch_size: rows per batch.
            bar: shows the progress.
            sharing: deals the batches to processes; None computes them here.
        """
        return Scorer(
            task=self.data.task,
            labels=self.data.labels,
            collator=self.collator,
            batch_size=batch_size,
            compute=self.compute,
            bar=bar,
            sharing=sharing or NoSharing(),
        )

    @property
    def splits(self) -> list[TokenisedSplit]:
        """The splits that exist: train, val and perhaps test."""
        splits = [self.train, self.val]
        return splits if self.test is None else [*splits, self.test]


def prepare(config: RunConfig) -> Prepared:
    """Seeds everything, then loads data and model.

    Keep the order of the calls: some of them draw random numbers.

    Raises:
        UserError: the data, the model or the machine's devices do not fit the config.
    """
    training = config.training
    _set_up_libraries(config)
    seeds = Seeds(training.seed, training.seeds)
    compute = _choose_compute(config)

    data = _load_texts(config, seeds)
    loss = _build_loss(data, training)
    tokenizer = load_tokenizer(config.model, data.train.rows["text"])
    train, val, test = _tokenise_splits(config, data, tokenizer)
    keep_freed_memory()

    model, base = _build_model(config, data, tokenizer, seeds, compute)
    masks = Masks()
    replace_dropout(model, masks)
    for split in filter(None, (train, val, test)):
        _check_inputs(model, split)

    (sample, _), autocast = split_windows(train.rows[:64]), compute.autocast
    configure_batching(model, tokenizer, training.batching, masks, sample, autocast)
    store_matrices(model, config.model.dtype, compute.precision)
    if training.gradient_checkpointing:
        recompute_activations(model, masks)
    collator = collator_of(model, tokenizer)
    batching = _supported_batching(training.batching, collator)
    if training.compile:
        collator = compile_training(model, collator, training, compute)

    return Prepared(
        data=data,
        tokenizer=tokenizer,
        train=train,
        val=val,
        test=test,
        model=model,
        base=base,
        loss=loss,
        compute=compute,
        seeds=seeds,
        masks=masks,
        batching=batching,
        collator=collator,
    )


def _build_loss(data: TextData, cfg: TrainingConfig) -> Loss:
    train = data.train
    labels = train.targets if train.distributions is None else train.distributions
    return build_loss(data.task, cfg, labels, data.labels, train.weights)


def _build_model(
    config: RunConfig,
    data: TextData,
    tokenizer: PreTrainedTokenizerBase,
    seeds: Seeds,
    compute: Compute,
) -> tuple[PreTrainedModel, Base | None]:
    """The classifier on its device, and the base model of its adapter."""
    head_seed = seeds.derive("head")
    model = build_classifier(config.model, tokenizer, data.labels, data.task, head_seed)
    base = adapt(model, config.model, seeds.derive("adapter"))
    LongTexts.of(config.data).write(model.config)
    return model.to(compute.device), base


def _check_inputs(model: PreTrainedModel, split: TokenisedSplit) -> None:
    ids, lengths = split.input_ids(), split.input_lengths
    check_rows(model, ids, lengths, split.name, split.windows)


def _set_up_libraries(config: RunConfig) -> None:
    """Sets threads, determinism and the seeds of all libraries."""
    set_threads(config.training.threads)
    check_cores("data.num_workers", config.data.num_workers)
    set_determinism(config.training.determinism)
    seed_everything(config.training.seed)


def _choose_compute(config: RunConfig) -> Compute:
    compute = choose(config.training.device, config.training.precision)
    check_precision(config.model.dtype, compute.precision)
    log.info("computing on %s in %s", compute.device, compute.precision.value)
    return compute


def _load_texts(config: RunConfig, seeds: Seeds) -> TextData:
    if config.model.pretrained:
        locate(config.model.name)  # Report a missing folder before reading the data.
    data = load_data(config.data, seeds)
    for line in (*data.report["notes"], *data.warnings):
        log.info("%s", line)
    return data


def _tokenise_splits(
    config: RunConfig, data: TextData, tokenizer: PreTrainedTokenizerBase
) -> tuple[TokenisedSplit, TokenisedSplit, TokenisedSplit | None]:
    """The tokens of train, val and test."""
    how = LongTexts.of(config.data)
    length, workers = config.model.max_length, config.data.num_workers
    train = tokenise(data.train, tokenizer, length, workers, how)
    val = tokenise(data.val, tokenizer, length, workers, how)
    test = tokenise(data.test, tokenizer, length, workers, how) if data.test else None
    for split in filter(None, (train, val, test)):
        log.info("%s: %s", split.name, split.describe(how.mode, length))
    _check_budget(train, config.training.tokens_per_batch)
    return train, val, test


def _check_budget(train: TokenisedSplit, tokens: int | None) -> None:
    """Refuses a row whose windows do not fit into the batches."""
    longest = int(train.lengths.max())
    if train.windows is None or tokens is None or longest <= tokens:
        return
    row = int(train.lengths.argmax())
    problem = f"the {train.windows[row]} windows of row {row} have {longest} tokens"
    remedy = f"use at least {longest}, or data.max_windows"
    raise ConfigError([f"training.tokens_per_batch={tokens}: {problem}; {remedy}"])


def _supported_batching(wanted: Batching, collator: Collator) -> Batching:
    """The batching of the config, unless the model does not support packed rows."""
    if wanted is Batching.packed and not collator.packed:
        return Batching.bucketed
    return wanted
