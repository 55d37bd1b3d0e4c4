"""A whole run: prepare, train, score the best weights, and leave the run folder complete."""

import datetime
import logging
import time
from collections.abc import Mapping
from typing import Any

import torch

from ostinato import figures
from ostinato.config import EvaluateConfig, RunConfig, Task
from ostinato.data import load_data, load_split
from ostinato.device import choose
from ostinato.errors import ConfigError, UserError
from ostinato.evaluation import Evaluated, Scorer
from ostinato.metrics import probabilities
from ostinato.model import load_trained
from ostinato.prepare import Prepared, prepare
from ostinato.progress import progress_bar
from ostinato.provenance import environment
from ostinato.run_dir import RunDir, write_json
from ostinato.seeding import Seeds
from ostinato.tokenise import TokenisedSplit, tokenise
from ostinato.trackers import Trackers, build
from ostinato.training import Training

log = logging.getLogger(__name__)


def train(config: RunConfig, run: RunDir, resolved: Mapping[str, Any]) -> float:
    """Trains and scores, and leaves the run folder complete, whatever happens.

    Args:
        config: the run's config.
        run: its folder, already made.
        resolved: the config as plain data to be shown, secrets as references.

    Returns:
        The best monitored validation figure.

    Raises:
        UserError: whatever is wrong with config, data, model or learning rate; also in `results.json`.
    """
    trackers = build(config.tracker, run)
    results: dict[str, Any] = {"name": config.name, "status": "failed", "started": _now()}
    final: dict[str, float] = {}
    before = time.perf_counter()
    try:
        prepared = prepare(config)
        trackers.start(resolved, _write_provenance(run, prepared))
        with progress_bar() as bar:
            scorer = Scorer(
                prepared.data.task,
                prepared.data.labels,
                prepared.tokenizer.pad_token_id,
                config.training.eval_batch_size,
                prepared.compute,
                bar,
            )
            training = Training(config, run, prepared, trackers, scorer)
            training.run()
            final = _score_best(config, run, training, scorer, trackers, results)
        results["status"] = "finished"
        return float(training.state.best or 0.0)
    except BaseException as error:
        results["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        results["error"] = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise
    finally:
        results |= {"finished": _now(), "seconds": round(time.perf_counter() - before, 3)}
        write_json(run.results, results)
        trackers.finish(results["status"], final)


def _score_best(
    config: RunConfig, run: RunDir, training: Training, scorer: Scorer, trackers: Trackers, results: dict[str, Any]
) -> dict[str, float]:
    """Scores validation and test with the best weights as they stand on disk; fills `results`, returns the flat figures."""
    prepared, state = training.prepared, training.state
    model, _ = load_trained(run.best, config.model.attention)
    model.to(prepared.compute.device)
    final: dict[str, float] = {}
    for split in filter(None, (prepared.val, prepared.test)):
        evaluated = scorer.score(model, split)
        results[split.name] = describe(evaluated)
        final |= {f"{split.name}/{name}": value for name, value in evaluated.scores.figures.items()}
        _show(evaluated, split, scorer, trackers, state.best_step)
    trackers.log(state.step, {name: value for name, value in final.items() if name.startswith("test/")})
    results |= {
        "steps": state.step,
        "epochs": state.step / training.schedule.steps_per_epoch,
        "monitor": training.monitor,
        "best_step": state.best_step,
        "validation": state.validation,
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "labels": list(prepared.data.labels),
        "data": prepared.data.report,
    }
    return final


def _show(evaluated: Evaluated, split: TokenisedSplit, scorer: Scorer, trackers: Trackers, step: int) -> None:
    """Says a split's figures and gives its pictures to the trackers."""
    scores = evaluated.scores
    log.info("%s: %s", split.name, "  ".join(f"{name} {value:.4f}" for name, value in scores.figures.items()))
    log.info("%s, majority class: %s", split.name, "  ".join(f"{n} {v:.4f}" for n, v in scores.majority.items()))
    if scores.confusion is not None:
        trackers.figure(step, f"{split.name}/confusion_matrix", figures.confusion_matrix(scores.confusion, scorer.labels))
    if scorer.task is not Task.regression:
        values = probabilities(scorer.task, evaluated.logits)
        trackers.figure(step, f"{split.name}/pr_curves", figures.pr_curves(values, split.labels, scorer.labels))
        trackers.pr_curves(step, split.name, values, split.labels, scorer.labels)


def describe(evaluated: Evaluated) -> dict[str, Any]:
    """A split's figures as JSON-able data, as `results.json` holds them."""
    scores = evaluated.scores
    return {
        **scores.figures,
        "undefined": list(scores.undefined),
        "majority": scores.majority,
        "per_class": scores.per_class,
        "confusion": None if scores.confusion is None else scores.confusion.tolist(),
        "num_rows": len(evaluated.logits),
    }


def evaluate(cfg: EvaluateConfig, run: RunDir, config: RunConfig) -> dict[str, Any]:
    """Scores a finished run on one of its splits or on a file: the same weights, batches and figures as at training time.

    Raises:
        ConfigError: no trained model, or no such split.
        DataError: rows that cannot be scored.
    """
    training = config.training
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    model, tokenizer = load_trained(run.best, config.model.attention)
    compute = choose(cfg.device if cfg.device.value != "auto" else training.device, training.precision)
    if cfg.path is None:
        data = load_data(config.data, Seeds(training.seed, training.seeds))
        split, labels = {"train": data.train, "val": data.val, "test": data.test}.get(cfg.split), data.labels
        if split is None:
            raise ConfigError([f"split={cfg.split}: this run has no such split; take train, val or test, or path=<file>"])
    else:
        labels = tuple(model.config.id2label.values()) if config.data.task is not Task.regression else ()
        split = load_split(config.data, cfg.path, labels)
    rows = tokenise(split, tokenizer, config.model.max_length, config.data.num_workers)
    with progress_bar() as bar:
        size = cfg.batch_size or training.eval_batch_size
        scorer = Scorer(config.data.task, labels, tokenizer.pad_token_id, size, compute, bar)
        return describe(scorer.score(model.to(compute.device), rows))


def _write_provenance(run: RunDir, prepared: Prepared) -> dict[str, Any]:
    provenance = environment() | {
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "attention": prepared.model.config._attn_implementation,
        "data": {s.name: s.sha256 for s in (prepared.data.train, prepared.data.val, prepared.data.test) if s},
    }
    write_json(run.provenance, provenance)
    return provenance


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
