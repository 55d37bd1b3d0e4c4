"""Scores a finished run."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from ostinato.config import Device, EvaluateConfig, RunConfig
from ostinato.data.batching import Indices
from ostinato.data.splits import Split, load_data, load_split
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.errors import ConfigError
from ostinato.inference.workers import Compute, Workers, started
from ostinato.model.device import check_processes, count_processes, set_threads
from ostinato.run.process_numbers import recorded_threads
from ostinato.run_dir import RunDir
from ostinato.scoring.arrays import Logits
from ostinato.scoring.evaluation import describe
from ostinato.scoring.rescore import Rescorer
from ostinato.seeding import Seeds


def evaluate(cfg: EvaluateConfig, run: RunDir, config: RunConfig) -> dict[str, Any]:
    """Scores a finished run on one of its splits or on a file.

    The weights and batches are the same as at training time.

    Args:
        cfg: what to score, and how.
        run: the run folder.
        config: the run's config.

    Returns:
        The metrics, as `results.json` holds them.

    Raises:
        ConfigError: there is no trained model, the run does not have this split, or
            this machine cannot run the processes or threads.
        DataError: rows that cannot be scored.
        ProcessFailed: another process fails.
    """
    set_threads(cfg.threads, "threads")
    threads = cfg.threads or config.training.threads or recorded_threads(run)
    config = replace(config, training=replace(config.training, threads=threads))
    with _workers(cfg, run, config) as workers:
        scorer = _rescorer(cfg, run, config)
        split = _chosen_split(cfg, config, scorer.labels)
        sharing = None if workers is None else WorkersScoring(workers)
        evaluated, _ = scorer.score(split, sharing)
    return describe(evaluated)


class WorkersScoring:
    """Deals all batches of an evaluation to other processes.

    Args:
        workers: compute `Rescorer.batch_logits` of the same model.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._split: TokenisedSplit

    def begin(
        self, model: PreTrainedModel, split: TokenisedSplit, count: int
    ) -> Iterable[int]:
        """See `ostinato.scoring.evaluation.Sharing`."""
        self._split = split
        return ()

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> Iterator[Indices]:
        """See `ostinato.scoring.evaluation.Sharing`."""
        rows = (self._split.rows[indices] for indices in batches)
        computed = self._workers.map(rows)
        for indices, batch_logits in zip(batches, computed, strict=True):
            logits[indices] = batch_logits
            yield indices


def _workers(
    cfg: EvaluateConfig, run: RunDir, config: RunConfig
) -> AbstractContextManager[Workers | None]:
    """The processes that compute the logits; None if this process does."""
    device = config.training.device if cfg.device is Device.auto else cfg.device
    count = count_processes(cfg.processes, device)
    check_processes("processes", count, device)
    if count == 1:
        return nullcontext()
    return started(
        _load_logits,
        (cfg, run, config),
        count=count,
        device=device,
        timeout=cfg.process_timeout,
    )


def _load_logits(cfg: EvaluateConfig, run: RunDir, config: RunConfig) -> Compute:
    """Loads the model in another process; returns the function for its logits."""
    return _rescorer(cfg, run, config).batch_logits


def _rescorer(cfg: EvaluateConfig, run: RunDir, config: RunConfig) -> Rescorer:
    return Rescorer(run, config, cfg.device, cfg.batch_size, cfg.precision)


def _chosen_split(
    cfg: EvaluateConfig, config: RunConfig, labels: Sequence[str]
) -> Split:
    if cfg.path is not None:
        return load_split(config.data, cfg.path, labels)
    seeds = Seeds(config.training.seed, config.training.seeds)
    data = load_data(config.data, seeds)
    splits = {"train": data.train, "val": data.val, "test": data.test}
    split = splits.get(cfg.split)
    if split is None:
        remedy = "use train, val or test, or path=<file>"
        raise ConfigError([f"split={cfg.split}: this run has no such split; {remedy}"])
    return split
