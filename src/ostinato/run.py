"""A whole run: prepare, train, score the best weights, and leave the run folder complete."""

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from rich.progress import Progress

from ostinato import figures
from ostinato.assets import asset_hashes
from ostinato.atomic import write_json
from ostinato.config import EvaluateConfig, RunConfig, Source, Task
from ostinato.data.splits import load_data, load_split
from ostinato.drift import config_drift, environment_drift
from ostinato.errors import ConfigError, Interrupted, ResumeRefused, UserError
from ostinato.evaluation import Evaluated, Scorer
from ostinato.fingerprint import digest_array, digest_weights, read_steps
from ostinato.interruption import stop_on_signals
from ostinato.logits import save_predictions
from ostinato.metrics import probabilities
from ostinato.model import load_trained
from ostinato.packing import collator_for
from ostinato.prepare import Prepared, prepare
from ostinato.progress import progress_bar
from ostinato.provenance import environment
from ostinato.redaction import redact, redacted, register_references
from ostinato.report.slices import check_slices
from ostinato.rescore import Rescorer
from ostinato.run_dir import RunDir, read_config, read_json, write_config
from ostinato.run_end import describe_model, show_run
from ostinato.seeding import Seeds, name_nondeterminism
from ostinato.tokenise import TokenisedSplit, tokenizer_digest
from ostinato.trackers import Trackers, build
from ostinato.training import Training

log = logging.getLogger(__name__)


def train(config: RunConfig, run: RunDir, resolved: Mapping[str, Any], until_step: int | None = None) -> float:
    """Trains and scores, and leaves the run folder complete, whatever happens.

    Args:
        config: the run's config; `resume.run` set: goes on from the folder's newest whole checkpoint.
        run: its folder, already made.
        resolved: the config as plain data to be shown, secrets as references.
        until_step: stop after this optimizer step and score nothing (for a quick comparison).

    Returns:
        The best monitored validation figure.

    Raises:
        UserError: whatever is wrong with config, data, model or learning rate; also in `results.json`.
        ResumeRefused: the run would not go on as it began; its folder is as it was.
        Interrupted: a signal stopped it; a checkpoint is written.
    """
    register_references(resolved)
    with stop_on_signals() as stop, progress_bar() as bar, _outcome(run, config.name) as outcome:
        # Killed before its provenance was written, a run has not taken a step: it begins again.
        began = run.config.is_file() and (run.provenance.is_file() or run.steps.is_file())
        resuming = config.resume.run is not None and began
        if not resuming:
            write_config(run, resolved)
        check_slices(config.data, config.report.slices)
        prepared = prepare(config)
        training = Training(config, run, prepared, _scorer(config, prepared, bar), stop)
        initial_weights = digest_weights(prepared.model.state_dict())
        provenance = environment() | {"assets": _assets(config)} | _identity(prepared)
        if resuming:
            provenance["resumed"] = _admit(config, run, resolved, provenance)
            training.resume()
            write_config(run, resolved)
        write_json(run.provenance, provenance)
        outcome.results["config"] = dict(resolved) | {"tracker": redacted(resolved.get("tracker"))}
        outcome.trackers = build(config.tracker, run, training.state.step)
        outcome.trackers.start(resolved, provenance)
        run.fingerprint.unlink(missing_ok=True)  # of an earlier end; `best/` is about to change
        with name_nondeterminism() as warned:
            training.run(outcome.trackers, until_step)
        write_json(run.provenance, provenance | {"not_deterministic": sorted(warned)})
        predictions = _score_best(config, run, training, outcome) if until_step is None else {}
        fingerprint = _fingerprint(run, training, initial_weights, predictions)
        write_json(run.fingerprint, fingerprint)
        if until_step is None:
            describe_model(run, config, outcome.results, provenance, fingerprint)
            outcome.show = partial(show_run, run, config, prepared.data)
        return float(training.state.best or 0.0)


def examine(config: RunConfig) -> dict[str, Any]:
    """What a run of this config would start from, here and now, as its `provenance.json` would say it; trains nothing.

    Raises:
        UserError: whatever is wrong with the data, the model or the machine's devices.
    """
    prepared = prepare(config)
    return environment() | {"assets": _assets(config)} | _identity(prepared)


@dataclass
class _Outcome:
    """What a run leaves when it ends, however it ends."""

    results: dict[str, Any]
    final: dict[str, float] = field(default_factory=dict)
    trackers: Trackers = field(default_factory=Trackers)
    show: Callable[[], None] = lambda: None


@contextmanager
def _outcome(run: RunDir, name: str) -> Iterator[_Outcome]:
    """Writes `results.json` and closes the trackers at the end; a refused resume touches nothing."""
    outcome = _Outcome({"name": name, "status": "finished", "started": _now()})
    before = time.perf_counter()
    try:
        yield outcome
    except ResumeRefused:
        raise
    except BaseException as error:
        told = isinstance(error, UserError | Interrupted)
        outcome.results |= {
            "status": "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed",
            "error": redact(str(error) if told else f"{type(error).__name__}: {error}"),
        }
        _close(run, outcome, before)
        raise
    _close(run, outcome, before)


def _close(run: RunDir, outcome: _Outcome, before: float) -> None:
    outcome.results |= {"finished": _now(), "seconds": round(time.perf_counter() - before, 3)}
    outcome.results["metrics"] = outcome.trackers.history.metrics
    write_json(run.results, outcome.results)
    if outcome.results["status"] == "finished" and run.best.is_dir():
        outcome.show()
        for path in (run.best, run.report):
            if path.exists():
                outcome.trackers.artefact(path)
    outcome.trackers.finish(outcome.results["status"], outcome.final)


def _admit(
    config: RunConfig, run: RunDir, resolved: Mapping[str, Any], provenance: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Compares what the run began with to what it would go on with; returns the record of all its resumptions.

    Raises:
        ResumeRefused: something that decides the result has changed.
    """
    began = read_json(run.provenance)
    drift = [*config_drift(read_config(run), resolved), *environment_drift(began, provenance)]
    if drift and not config.resume.allow_drift:
        remedy = "resume.allow_drift=true goes on all the same and records it; a new run needs no resume"
        raise ResumeRefused([f"resume={run.path}: {difference}" for difference in drift] + [remedy])
    return [*began.get("resumed", []), {"time": _now(), "drift": drift}]


def _score_best(config: RunConfig, run: RunDir, training: Training, outcome: _Outcome) -> dict[str, str]:
    """Scores validation and test with the best weights as they stand on disk; completes the results.

    Returns:
        Digest of each split's logits.
    """
    prepared, state, trackers = training.prepared, training.state, outcome.trackers
    model, _ = load_trained(run, config.model.attention)
    model.to(prepared.compute.device)
    collator_for(model, prepared.tokenizer.pad_token_id, config.training.batching, prepared.masks)
    predictions = {}
    for split in filter(None, (prepared.val, prepared.test)):
        evaluated = training.scorer.score(model, split)
        outcome.results[split.name] = describe(evaluated)
        outcome.final |= {f"{split.name}/{name}": value for name, value in evaluated.scores.figures.items()}
        save_predictions(run.predictions(split.name), evaluated.logits, split.labels)
        predictions[split.name] = digest_array(evaluated.logits)
        _show(evaluated, split, training.scorer, trackers, state.best_step)
    trackers.log(state.step, {name: value for name, value in outcome.final.items() if name.startswith("test/")})
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
        | {"truncated": {s.name: s.truncated for s in (prepared.train, prepared.val, prepared.test) if s}},
    }
    return predictions


def _fingerprint(run: RunDir, training: Training, initial_weights: str, predictions: dict[str, str]) -> dict[str, Any]:
    return {
        **_identity(training.prepared),
        "initial_weights": initial_weights,
        "steps": [asdict(step) for step in read_steps(run.steps)],
        "evaluations": {str(e["step"]): e for e in training.state.validation},
        "weights": digest_weights(training.prepared.model.state_dict()),
        "best_weights": training.state.best_sha256,
        "predictions": predictions,
    }


def _show(evaluated: Evaluated, split: TokenisedSplit, scorer: Scorer, trackers: Trackers, step: int) -> None:
    """Says a split's figures and gives its pictures to the trackers."""
    scores = evaluated.scores
    log.info("%s: %s", split.name, "  ".join(f"{name} {value:.4f}" for name, value in scores.figures.items()))
    log.info("%s, majority class: %s", split.name, "  ".join(f"{n} {v:.4f}" for n, v in scores.majority.items()))
    if scores.confusion is not None:
        trackers.figure(
            step, f"{split.name}/confusion_matrix", figures.confusion_matrix(scores.confusion, scorer.labels)
        )
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
    """Scores a finished run on one of its splits or on a file, as at training time: same weights, same batches.

    Raises:
        ConfigError: no trained model, or no such split.
        DataError: rows that cannot be scored.
    """
    scorer = Rescorer(run, config, cfg.device, cfg.batch_size)
    if cfg.path is None:
        data = load_data(config.data, Seeds(config.training.seed, config.training.seeds))
        split = {"train": data.train, "val": data.val, "test": data.test}.get(cfg.split)
        if split is None:
            raise ConfigError(
                [f"split={cfg.split}: this run has no such split; take train, val or test, or path=<file>"]
            )
    else:
        split = load_split(config.data, cfg.path, scorer.labels)
    return describe(scorer.score(split)[0])


def _scorer(config: RunConfig, prepared: Prepared, bar: Progress) -> Scorer:
    size = config.training.eval_batch_size
    return Scorer(prepared.data.task, prepared.data.labels, prepared.collator, size, prepared.compute, bar)


def _assets(config: RunConfig) -> dict[str, dict[str, str]]:
    """SHA-256 of each file of the model and data set that came in wheels."""
    names = [config.model.name.removeprefix("asset:")] if config.model.name.startswith("asset:") else []
    names += [config.data.name] if config.data.source is Source.asset and config.data.name else []
    return {name: asset_hashes(name) for name in names}


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What the run computes on and with: content digests of data and tokens, device, precision, attention."""
    splits = [split for split in (prepared.train, prepared.val, prepared.test) if split]
    return {
        "data": {
            split.name: split.sha256 for split in (prepared.data.train, prepared.data.val, prepared.data.test) if split
        },
        "tokenizer": tokenizer_digest(prepared.tokenizer),
        "tokens": {split.name: split.rows._fingerprint for split in splits},
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "attention": prepared.model.config._attn_implementation,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
