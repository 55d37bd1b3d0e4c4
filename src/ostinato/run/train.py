"""A whole run: prepare, train, score the best weights, and leave the run folder complete."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.progress import Progress

from ostinato.config import EvaluateConfig, RunConfig, Source, Task
from ostinato.data.assets import asset_hashes
from ostinato.data.splits import load_data, load_split
from ostinato.data.tokenise import TokenisedSplit, tokenizer_digest
from ostinato.errors import ConfigError, ResumeRefused
from ostinato.interruption import stop_on_signals
from ostinato.model.build import load_trained
from ostinato.model.packing import pack
from ostinato.progress import progress_bar
from ostinato.record.digests import digest_array, digest_file, digest_weights
from ostinato.record.drift import config_drift, environment_drift
from ostinato.record.provenance import environment
from ostinato.record.results import finished_metric
from ostinato.record.schema import Provenance
from ostinato.redaction import redacted, register_references
from ostinato.report.run_end import write_calibration_and_card, write_run_report
from ostinato.report.slices import check_slices
from ostinato.run.outcome import Outcome, mark_unfinished, now, outcome_of
from ostinato.run.session import check_new, session
from ostinato.run_dir import RunDir, read_config, read_json, write_config, write_record
from ostinato.scoring import plots
from ostinato.scoring.evaluation import Evaluated, Scorer, describe
from ostinato.scoring.metrics import probabilities
from ostinato.scoring.predictions import save_predictions
from ostinato.scoring.rescore import Rescorer
from ostinato.seeding import Seeds, name_nondeterminism
from ostinato.trackers import Trackers, build
from ostinato.training.loop import Training
from ostinato.training.prepare import Prepared, prepare

log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    run: RunDir,
    resolved: Mapping[str, Any],
    until_step: int | None = None,
) -> float:
    """Trains and scores, and leaves the run folder complete, whatever happens.

    Args:
        config: the run's config; `resume.run` set: goes on from the folder's newest whole checkpoint.
        run: its folder, already made.
        resolved: the config as plain data to be shown, secrets as references.
        until_step: stop after this optimizer step and score nothing (for a quick comparison).

    Returns:
        The best monitored validation metric; NaN where no evaluation defined it.

    Raises:
        UserError: whatever is wrong with config, data, model or learning rate; also in `results.json`.
        ResumeRefused: the run would not go on as it began; its folder is as it was.
        Interrupted: a signal stopped it; a checkpoint is written.
    """
    register_references(resolved)
    with session(run):
        if config.resume.run is None and run.began:
            check_new(run.path)
        if (
            config.resume.run is not None
            and (metric := _finished(config, run, resolved)) is not None
        ):
            log.info("finished already: %s", run.path)
            return metric
        return _train(config, run, resolved, until_step)


def _train(
    config: RunConfig, run: RunDir, resolved: Mapping[str, Any], until_step: int | None
) -> float:
    resuming = run.began
    with (
        stop_on_signals() as stop,
        progress_bar() as bar,
        outcome_of(run, config.name) as outcome,
    ):
        if not resuming:
            write_config(run, resolved)
        check_slices(config.data, config.report.slices)
        prepared = prepare(config)
        training = Training(config, run, prepared, _scorer(config, prepared, bar), stop)
        initial_weights = digest_weights(prepared.model.state_dict())
        provenance = (
            environment(config.provenance.diff)
            | {"assets": _assets(config)}
            | _identity(prepared)
        )
        if resuming:
            provenance["resumed"] = _admit(config, run, resolved, provenance)
            training.resume()
        outcome.results["config"] = dict(resolved) | {
            "tracker": redacted(resolved.get("tracker"))
        }
        outcome.trackers = build(config.tracker, run, training.state.step)
        outcome.trackers.start(resolved, provenance)
        begin = partial(_begin, run, outcome, resolved, provenance)
        if not resuming:
            begin()
        with name_nondeterminism() as warned:
            training.run(outcome.trackers, until_step, begin)
        begin()
        write_record(run.provenance, provenance | {"not_deterministic": sorted(warned)})
        predictions = (
            _score_best(config, run, training, outcome) if until_step is None else {}
        )
        fingerprint = _fingerprint(training, initial_weights, predictions)
        if until_step is None:
            write_calibration_and_card(
                run, config, outcome.results, provenance, fingerprint, prepared.val
            )
            outcome.show = partial(write_run_report, run, config, prepared.data)
            if run.calibration.is_file():
                fingerprint["best_files"][run.calibration.name] = digest_file(
                    run.calibration
                )
        write_record(run.fingerprint, fingerprint)
        return math.nan if training.state.best is None else training.state.best


def _finished(
    config: RunConfig, run: RunDir, resolved: Mapping[str, Any]
) -> float | None:
    """The best metric of a run that has finished with this very config: nothing is left to do."""
    metric = finished_metric(run)
    return (
        metric
        if metric is not None and not config_drift(read_config(run), resolved)
        else None
    )


def _begin(
    run: RunDir,
    outcome: Outcome,
    resolved: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Replaces what an earlier session left: called after the first step, as the first step can still fail."""
    if outcome.began:
        return
    # The config last: until it is there, a run that was finished is neither finished nor of another config.
    run.fingerprint.unlink(missing_ok=True)
    mark_unfinished(run, outcome)
    write_record(run.provenance, provenance)
    write_config(run, resolved)
    outcome.began = True


def examine(config: RunConfig) -> dict[str, Any]:
    """What a run of this config would start from, here and now, as its `provenance.json` would say it; trains nothing.

    Raises:
        UserError: whatever is wrong with the data, the model or the machine's devices.
    """
    prepared = prepare(config)
    return environment() | {"assets": _assets(config)} | _identity(prepared)


def _admit(
    config: RunConfig,
    run: RunDir,
    resolved: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Compares what the run began with to what it would go on with; returns the record of all its resumptions.

    Raises:
        ResumeRefused: something that decides the result has changed.
    """
    began = read_json(run.provenance, Provenance)
    drift = [
        *config_drift(read_config(run), resolved),
        *environment_drift(began, provenance),
    ]
    if drift and not config.resume.allow_drift:
        remedy = "resume.allow_drift=true goes on all the same and records it; a new run needs no resume"
        raise ResumeRefused(
            [f"resume={run.path}: {difference}" for difference in drift] + [remedy]
        )
    return [*began.get("resumed", []), {"time": now(), "drift": drift}]


def _score_best(
    config: RunConfig, run: RunDir, training: Training, outcome: Outcome
) -> dict[str, str]:
    """Scores validation and test with the best weights as they stand on disk; completes the results.

    Returns:
        Digest of each split's logits.
    """
    prepared, state, trackers = training.prepared, training.state, outcome.trackers
    training.check_best()
    model, _ = load_trained(run, config.model.attention)
    model.to(prepared.compute.device)
    if prepared.collator.packed:
        pack(model, prepared.masks)
    predictions = {}
    for split in filter(None, (prepared.val, prepared.test)):
        evaluated = training.scorer.score(model, split)
        outcome.results[split.name] = describe(evaluated)
        outcome.final |= {
            f"{split.name}/{name}": value
            for name, value in evaluated.scores.metrics.items()
        }
        save_predictions(run.predictions(split.name), evaluated.logits, split.labels)
        predictions[split.name] = digest_array(evaluated.logits)
        _show(evaluated, split, training.scorer, trackers, state.best_step)
    trackers.log(
        state.step,
        {
            name: value
            for name, value in outcome.final.items()
            if name.startswith("test/")
        },
    )
    outcome.results |= {
        "steps": state.step,
        "epochs": state.step / training.schedule.steps_per_epoch,
        "monitor": training.monitor,
        "best_step": state.best_step,
        "validation": state.validation,
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "labels": list(prepared.data.labels),
        "data": prepared.data.report
        | {
            "truncated": {
                s.name: s.truncated
                for s in (prepared.train, prepared.val, prepared.test)
                if s
            }
        },
    }
    return predictions


def _fingerprint(
    training: Training, initial_weights: str, predictions: dict[str, str]
) -> dict[str, Any]:
    return {
        **_identity(training.prepared),
        "initial_weights": initial_weights,
        "steps": [asdict(step) for step in training.steps()],
        "evaluations": {str(e["step"]): e for e in training.state.validation},
        "weights": digest_weights(training.prepared.model.state_dict()),
        "best_weights": training.state.best_sha256,
        "best_files": dict(training.check_best()),
        "predictions": predictions,
    }


def _show(
    evaluated: Evaluated,
    split: TokenisedSplit,
    scorer: Scorer,
    trackers: Trackers,
    step: int,
) -> None:
    """Says a split's metrics and gives its pictures to the trackers."""
    scores = evaluated.scores
    log.info(
        "%s: %s",
        split.name,
        "  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()),
    )
    log.info(
        "%s, majority class: %s",
        split.name,
        "  ".join(f"{n} {v:.4f}" for n, v in scores.majority.items()),
    )
    if scores.confusion is not None and len(scorer.labels) <= plots.MAX_CLASSES:
        trackers.plot(
            step,
            f"{split.name}/confusion_matrix",
            plots.confusion_matrix(scores.confusion, scorer.labels),
        )
    if scorer.task is not Task.regression:
        values = probabilities(scorer.task, evaluated.logits)
        trackers.plot(
            step,
            f"{split.name}/pr_curves",
            plots.pr_curves(values, split.labels, scorer.labels),
        )
        trackers.pr_curves(step, split.name, values, split.labels, scorer.labels)


def evaluate(cfg: EvaluateConfig, run: RunDir, config: RunConfig) -> dict[str, Any]:
    """Scores a finished run on one of its splits or on a file, as at training time: same weights, same batches.

    Raises:
        ConfigError: no trained model, or no such split.
        DataError: rows that cannot be scored.
    """
    scorer = Rescorer(run, config, cfg.device, cfg.batch_size, cfg.precision)
    if cfg.path is None:
        data = load_data(
            config.data, Seeds(config.training.seed, config.training.seeds)
        )
        split = {"train": data.train, "val": data.val, "test": data.test}.get(cfg.split)
        if split is None:
            raise ConfigError(
                [
                    f"split={cfg.split}: this run has no such split; take train, val or test, or path=<file>"
                ]
            )
    else:
        split = load_split(config.data, cfg.path, scorer.labels)
    return describe(scorer.score(split)[0])


def _scorer(config: RunConfig, prepared: Prepared, bar: Progress) -> Scorer:
    size = config.training.eval_batch_size
    return Scorer(
        prepared.data.task,
        prepared.data.labels,
        prepared.collator,
        size,
        prepared.compute,
        bar,
    )


def _assets(config: RunConfig) -> dict[str, dict[str, str]]:
    """SHA-256 of each file of the model and data set that came in wheels."""
    names = (
        [config.model.name.removeprefix("asset:")]
        if config.model.name.startswith("asset:")
        else []
    )
    names += (
        [config.data.name]
        if config.data.source is Source.asset and config.data.name
        else []
    )
    return {name: asset_hashes(name) for name in names}


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What the run computes on and with: content digests of data and tokens, device, precision, attention."""
    splits = [split for split in (prepared.train, prepared.val, prepared.test) if split]
    return {
        "data": {
            split.name: split.sha256
            for split in (prepared.data.train, prepared.data.val, prepared.data.test)
            if split
        },
        "tokenizer": tokenizer_digest(prepared.tokenizer),
        "token_ids": {split.name: split.sha256 for split in splits},
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "attention": prepared.model.config._attn_implementation,
    }
