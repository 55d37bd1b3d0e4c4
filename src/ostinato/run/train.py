"""A whole run: prepares, trains, scores the best weights, completes the run folder."""

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from rich.progress import Progress

from ostinato.config import RunConfig
from ostinato.interruption import Stop, stop_on_signals
from ostinato.progress import progress_bar
from ostinato.record.digests import digest_file, digest_weights
from ostinato.record.files import write_fingerprint, write_provenance
from ostinato.record.schema import Fingerprint, Provenance
from ostinato.redaction import redacted, register_references
from ostinato.report.run_end import write_calibration_and_card, write_run_report
from ostinato.report.slices import check_slices
from ostinato.run.final_scores import score_best
from ostinato.run.identity import fingerprint_of, provenance_of
from ostinato.run.outcome import Outcome, outcome_of
from ostinato.run.process_numbers import with_threads
from ostinato.run.processes import processes_of
from ostinato.run.resumption import begin_session, check_drift, metric_if_finished
from ostinato.run.session import check_new, session
from ostinato.run_dir import RunDir, write_config
from ostinato.seeding import name_nondeterminism
from ostinato.trackers import build
from ostinato.training.loop import Training
from ostinato.training.prepare import prepare
from ostinato.training.roles import Leader, SharedScoring

log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    run: RunDir,
    resolved: Mapping[str, Any],
    until_step: int | None = None,
) -> float:
    """Trains and scores, and completes the run folder.

    Args:
        config: the run's config; if `resume.run` is set, the run resumes from the
            folder's newest complete checkpoint.
        run: its folder, which must exist.
        resolved: the config as plain data to be shown, secrets as references.
        until_step: stop after this optimizer step and score nothing (for a quick
            comparison).

    Returns:
        The best monitored validation metric; NaN if no evaluation defined it.

    Raises:
        UserError: config, data, model or learning rate are wrong; `results.json` has
            the message, too.
        ResumeRefused: the run would not continue as it began; its folder is unchanged.
        Interrupted: a signal stopped it; a checkpoint is written.
    """
    register_references(resolved)
    resumes = config.resume.run is not None
    with session(run):
        if run.began and not resumes:
            check_new(run.path)
        if resumes:
            metric = metric_if_finished(run, resolved)
            if metric is not None:
                log.info("finished already: %s", run.path)
                return metric
        return _train(with_threads(config, run), run, resolved, until_step)


def _train(
    config: RunConfig, run: RunDir, resolved: Mapping[str, Any], until_step: int | None
) -> float:
    resuming = run.began
    with (
        stop_on_signals() as stop,
        progress_bar() as bar,
        outcome_of(run, config.name) as outcome,
        processes_of(config, run, stop) as processes,
    ):
        if not resuming:
            write_config(run, resolved)
        training = _prepare_training(config, run, bar, stop, processes.leader)
        initial_weights = digest_weights(training.prepared.model.state_dict())

        provenance = provenance_of(config, training.prepared, config.provenance.diff)
        provenance["processes"] = processes.connect(provenance, initial_weights)
        if resuming:
            provenance["resumed"] = check_drift(config, run, resolved, provenance)
            training.resume()

        shown_tracker = redacted(resolved.get("tracker"))
        outcome.results["config"] = {**resolved, "tracker": shown_tracker}
        trackers = build(config.tracker, run, training.state.step)

        begin = partial(begin_session, run, outcome, trackers, resolved, provenance)
        if not resuming:
            begin()
        with name_nondeterminism() as warned:
            training.run(trackers, until_step, after_step=begin)
        begin()
        write_provenance(run, {**provenance, "not_deterministic": sorted(warned)})

        if until_step is None:
            digests = score_best(config, run, training, outcome)
            fingerprint = fingerprint_of(training, initial_weights, digests)
            _describe(config, run, training, outcome, provenance, fingerprint)
        else:
            fingerprint = fingerprint_of(training, initial_weights, {})
        write_fingerprint(run, fingerprint)
        best = training.state.best
        return math.nan if best is None else best


def _prepare_training(
    config: RunConfig, run: RunDir, bar: Progress, stop: Stop, leader: Leader
) -> Training:
    check_slices(config.data, config.report.slices)
    prepared = prepare(config)
    sharing = None
    if leader.team is not None:
        sharing = SharedScoring(leader.team, leader, prepared.model)
    scorer = prepared.scorer(config.training.eval_batch_size, bar, sharing)
    return Training(config, run, prepared, scorer, stop, leader)


def _describe(
    config: RunConfig,
    run: RunDir,
    training: Training,
    outcome: Outcome,
    provenance: Provenance,
    fingerprint: Fingerprint,
) -> None:
    """Calibrates and describes the best weights; the report follows at the end."""
    prepared = training.prepared
    write_calibration_and_card(
        run, config, outcome.results, provenance, fingerprint, prepared.val
    )
    outcome.write_report = partial(write_run_report, run, config, prepared.data)
    if run.calibration.is_file():
        digest = digest_file(run.calibration)
        fingerprint["best_files"][run.calibration.name] = digest
