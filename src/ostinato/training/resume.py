"""Whether a training can resume from a checkpoint, and the command that resumes it."""

import signal
from pathlib import Path

from ostinato.command_line import command, override
from ostinato.errors import CheckpointError, Interrupted, ResumeRefused
from ostinato.run_dir import RunDir
from ostinato.training.checkpoint import TrainState


def resume_command(run: RunDir) -> str:
    """The command line that resumes a run."""
    return command("train", override("resume", str(run.path)))


def check_resumable(
    run: RunDir, state: TrainState, *, monitor: str, total_steps: int
) -> None:
    """Checks that the state of a checkpoint fits the config.

    Args:
        run: the run folder.
        state: the state of the checkpoint.
        monitor: the validation metric that chooses the best weights.
        total_steps: optimizer steps of the whole training.

    Raises:
        ResumeRefused: it does not fit.
    """
    if state.step > total_steps:
        steps = f"its checkpoint is of step {state.step}, this config has {total_steps}"
        keys = "training.epochs or training.max_steps"
        raise _refused(run, f"{steps}; type the {keys} of the last session")
    evaluated = [evaluation["step"] for evaluation in state.validation]
    if state.step == total_steps and state.step not in evaluated:
        steps = f"this config ends at its checkpoint of step {state.step}"
        raise _refused(run, f"{steps}, which was not evaluated; train more steps")
    if state.monitor and state.monitor != monitor:
        chosen = f"its best weights were chosen by training.monitor={state.monitor}"
        remedy = "keep that monitor, or start a new run"
        raise _refused(run, f"{chosen}, not {monitor}; {remedy}")


def interrupted(run: RunDir, number: int, progress: str) -> Interrupted:
    """The error for a training that a signal stopped.

    Args:
        run: the run folder, with a checkpoint of the last step.
        number: the signal.
        progress: the last step, as "step 3 of 8".
    """
    name = signal.Signals(number).name
    hint = f"resume with: {resume_command(run)}"
    return Interrupted(f"stopped by {name} after {progress}; {hint}", number)


def changed_while_training(run: RunDir, path: Path) -> CheckpointError:
    """The error for a file or folder that is not what this training wrote."""
    return CheckpointError(
        f"{path}: damaged or changed while the run trained; resume from the last "
        f"complete checkpoint with: {resume_command(run)}"
    )


def checkpoint_not_written(run: RunDir, step: int, error: OSError) -> CheckpointError:
    """The error for a checkpoint that could not be written."""
    return CheckpointError(
        f"step {step}: the checkpoint could not be written ({error}); the previous one "
        f"is kept. Free some space, then resume with: {resume_command(run)}"
    )


def _refused(run: RunDir, problem: str) -> ResumeRefused:
    return ResumeRefused([f"resume={run.path}: {problem}"])
