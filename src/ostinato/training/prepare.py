"""From a config to everything that training and evaluation start from: data, tokens, classifier, loss, device."""

import logging
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ostinato.config import Batching, RunConfig
from ostinato.data.collate import Collator
from ostinato.data.splits import TextData, load_data
from ostinato.data.tokenise import TokenisedSplit, tokenise
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
from ostinato.model.padding import check_rows
from ostinato.model.pretrained import locate
from ostinato.seeding import Seeds, seed_everything, set_determinism
from ostinato.training.compiling import compile_training
from ostinato.training.loss import Loss, build_loss

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What a run starts from; a function of its config, data and environment."""

    data: TextData
    tokenizer: PreTrainedTokenizerBase
    train: TokenisedSplit
    val: TokenisedSplit
    test: TokenisedSplit | None
    model: PreTrainedModel
    loss: Loss
    compute: Compute
    seeds: Seeds
    masks: Masks
    batching: Batching
    collator: Collator


def prepare(config: RunConfig) -> Prepared:
    """Seeds everything, then loads data and model.

    Raises:
        UserError: whatever is wrong with the data, the model or the machine's devices.
    """
    training = config.training
    set_threads(training.threads)
    check_cores("data.num_workers", config.data.num_workers)
    set_determinism(training.determinism)
    seed_everything(training.seed)
    seeds = Seeds(training.seed, training.seeds)
    compute = choose(training.device, training.precision)
    log.info("computing on %s in %s", compute.device, compute.precision.value)
    if config.model.pretrained:
        locate(
            config.model.name
        )  # a missing folder is reported before the data is read
    data = load_data(config.data, seeds)
    for line in (*data.report["notes"], *data.warnings):
        log.info("%s", line)
    tokenizer = load_tokenizer(config.model, data.train.rows["text"])
    length, workers = config.model.max_length, config.data.num_workers
    train = tokenise(data.train, tokenizer, length, workers)
    val = tokenise(data.val, tokenizer, length, workers)
    test = tokenise(data.test, tokenizer, length, workers) if data.test else None
    for split in filter(None, (train, val, test)):
        log.info(
            "%s: %.1f %% of texts cut at %d tokens",
            split.name,
            100 * split.truncated,
            length,
        )
    keep_freed_memory()
    model = build_classifier(
        config.model, tokenizer, data.labels, data.task, seeds.derive("head")
    ).to(compute.device)
    loss = build_loss(data.task, training, train.labels, data.labels)
    masks = Masks()
    replace_dropout(model, masks)
    for split in filter(None, (train, val, test)):
        check_rows(model, split.input_ids(), split.lengths, split.name)
    configure_batching(
        model, tokenizer, training.batching, masks, train.rows[:64], compute.autocast
    )
    collator = collator_of(model, tokenizer)
    unpacked = training.batching is Batching.packed and not collator.packed
    batching = Batching.bucketed if unpacked else training.batching
    if training.compile:
        collator = compile_training(model, collator, training, compute)
    return Prepared(
        data,
        tokenizer,
        train,
        val,
        test,
        model,
        loss,
        compute,
        seeds,
        masks,
        batching,
        collator,
    )
