"""Scores a finished run."""

from collections.abc import Sequence
from typing import Any

from ostinato.config import EvaluateConfig, RunConfig
from ostinato.data.splits import Split, load_data, load_split
from ostinato.errors import ConfigError
from ostinato.run_dir import RunDir
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
        ConfigError: there is no trained model, or the run does not have this split.
        DataError: rows that cannot be scored.
    """
    scorer = Rescorer(run, config, cfg.device, cfg.batch_size, cfg.precision)
    evaluated, _ = scorer.score(_chosen_split(cfg, config, scorer.labels))
    return describe(evaluated)


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
